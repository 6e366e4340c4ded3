package op

import (
	"errors"
	"fmt"
	"strings"
)

// Location is a range of lines in a Dockerfile.
type Location struct {
	Filename string
	Data     []byte // the whole file
	Start    int    // first line, from 1
	End      int    // last line, inclusive
}

// LocatedError is an error with the place of the user's Dockerfile that it comes from.
type LocatedError struct {
	Location Location
	Err      error
}

// Error implements error; it names the place in the manner of compilers.
func (e *LocatedError) Error() string {
	return fmt.Sprintf("%s:%d: %v", e.Location.Filename, e.Location.Start, e.Err)
}

// Unwrap returns the error without its place.
func (e *LocatedError) Unwrap() error { return e.Err }

// Locate attaches the first of locations to err, unless err has a place already.
func Locate(err error, locations []Location) error {
	var located *LocatedError
	if err == nil || len(locations) == 0 || errors.As(err, &located) {
		return err
	}
	return &LocatedError{Location: locations[0], Err: err}
}

// Snippet renders the lines of the location with up to context lines around them, the
// lines meant marked with ">>>".
func (l Location) Snippet(context int) string {
	lines := strings.Split(strings.TrimSuffix(string(l.Data), "\n"), "\n")
	first, last := max(l.Start-context, 1), min(l.End+context, len(lines))
	if l.Start < 1 || first > last {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d\n", l.Filename, l.Start)
	rule := "--------------------\n"
	b.WriteString(rule)
	for n := first; n <= last; n++ {
		mark := "   "
		if n >= l.Start && n <= l.End {
			mark = ">>>"
		}
		fmt.Fprintf(&b, " %3d | %s %s\n", n, mark, strings.TrimSuffix(lines[n-1], "\r"))
	}
	b.WriteString(rule)
	return b.String()
}
