package bucket

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// Redacted is err with a text of one line that has no credentials in it: clients of clouds quote the URLs of their
// requests, some of which are signed, and Azure's quotes whole answers.
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
func (e *redactedError) Error() string {
	text := e.err.Error()
	var azure *azcore.ResponseError
	if errors.As(e.err, &azure) {
		text = strings.Replace(text, azure.Error(), fmt.Sprintf("the server answered %d %s", azure.StatusCode, azure.ErrorCode), 1)
	}
	return redact(text)
}

// Unwrap returns the cause.
func (e *redactedError) Unwrap() error { return e.err }

// redact takes user names, passwords and queries out of the URLs in a text.
func redact(text string) string {
	return userinfo.ReplaceAllString(query.ReplaceAllString(text, "$1"), "://")
}
