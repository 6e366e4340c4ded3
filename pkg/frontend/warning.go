package frontend

import (
	"bytes"
	"regexp"
	"strings"

	gw "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/slipway-build/slipway/pkg/op"
)

// Warning is one finding of the Dockerfile checks.
type Warning struct {
	Rule    string // "FromAsCasing"; "" if the warning does not belong to a rule
	Message string
	Level   int
	URL     string // documentation of the rule
	Detail  string // what the rule is about
	// Location is the place in the Dockerfile; nil if there is none.
	Location *op.Location
}

// report hands w to the caller of [Build].
func (b *build) report(w Warning) {
	if b.warn == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.warn(w)
}

// lintMessage is how BuildKit's linter composes messages: "Rule: text (line 3)".
var lintMessage = regexp.MustCompile(`(?s)^([A-Z][A-Za-z]+): (.*?)(?: \(line \d+\))?$`)

func newWarning(msg string, opts gw.WarnOpts) Warning {
	w := Warning{
		Message: msg,
		Level:   opts.Level,
		URL:     opts.URL,
		Detail:  strings.TrimSpace(string(bytes.Join(opts.Detail, []byte("\n")))),
	}
	if m := lintMessage.FindStringSubmatch(msg); m != nil {
		w.Rule, w.Message = m[1], m[2]
	}
	if info := opts.SourceInfo; info != nil {
		if l, ok := newLocation(info.GetFilename(), info.GetData(), opts.Range); ok {
			w.Location = &l
		}
	}
	return w
}
