package bucket

import "regexp"

// Redacted is err with a text that has no credentials in it: clients of clouds quote the URLs of their
// requests, some of which are signed.
func Redacted(err error) error {
	if err == nil {
		return nil
	}
	return &redactedError{err}
}

type redactedError struct{ err error }

var (
	query    = regexp.MustCompile(`(://[^\s"'?]+)\?[^\s"']*`)
	userinfo = regexp.MustCompile(`://[^\s"'/@]+@`)
)

// Error implements error.
func (e *redactedError) Error() string { return redact(e.err.Error()) }

// Unwrap returns the cause.
func (e *redactedError) Unwrap() error { return e.err }

// redact takes user names, passwords and queries out of the URLs in a text.
func redact(text string) string {
	return userinfo.ReplaceAllString(query.ReplaceAllString(text, "$1"), "://")
}
