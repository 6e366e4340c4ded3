package build

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// fixed is a backend that does nothing.
type fixed struct{ name string }

func (f fixed) Name() string { return f.name }
func (f fixed) Close() error { return nil }
func (f fixed) Run(context.Context, *isolation.Process) (*isolation.Changes, error) {
	return &isolation.Changes{}, nil
}

func works(name string) candidate {
	return candidate{name: name, open: func() (isolation.Backend, error) { return fixed{name}, nil }}
}

func fails(name string, err error) candidate {
	return candidate{name: name, open: func() (isolation.Backend, error) { return nil, err }}
}

func TestLazyBackend(t *testing.T) {
	refuse := func(name, reason string) candidate {
		return fails(name, &isolation.UnsupportedError{Backend: name, What: "RUN", Reason: reason})
	}
	broken := errors.New("disk on fire")
	for _, c := range []struct {
		name       string
		candidates []candidate
		log        string
		backend    string
		err        string
	}{
		{"first", []candidate{works("a"), works("b")}, "isolation: a (asked for)\n", "a", ""},
		{
			"second", []candidate{refuse("a", "seccomp forbids it"), works("b")},
			"isolation: b (RUN is not possible with isolation \"a\": seccomp forbids it)\n", "b", "",
		},
		{
			"none", []candidate{refuse("a", "x"), refuse("b", "y")}, "", "auto",
			"RUN is not possible with isolation \"a\": x\nRUN is not possible with isolation \"b\": y",
		},
		{"an error of another kind ends the search", []candidate{fails("a", broken), works("b")}, "", "auto", "disk on fire"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &lazyBackend{candidates: c.candidates, why: "asked for"}
			var log bytes.Buffer
			for range 2 { // the second RUN does not say it again
				_, err := l.Run(t.Context(), &isolation.Process{Stderr: &log})
				if got := errorText(err); got != c.err {
					t.Errorf("error is %q, want %q", got, c.err)
				}
			}
			if log.String() != c.log {
				t.Errorf("the log is %q, want %q", log.String(), c.log)
			}
			if l.Name() != c.backend {
				t.Errorf("the backend is %q, want %q", l.Name(), c.backend)
			}
		})
	}
}

// The choice is told in the log of a RUN, also if it was made before any.
func TestChoiceBeforeTheFirstRun(t *testing.T) {
	l := &lazyBackend{candidates: []candidate{works("a")}, why: "asked for"}
	if _, err := l.get(nil); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if _, err := l.get(&log); err != nil || log.String() != "isolation: a (asked for)\n" {
		t.Errorf("the log is %q (%v)", log.String(), err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestIsolation(t *testing.T) {
	for name, count := range map[string]int{"": 3, "auto": 3, "namespace": 1, "inplace": 1, "sandbox": 1} {
		s := &session{Options: Options{Isolation: name}, plan: &plan{}}
		b, err := s.isolation()
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if got := len(b.candidates); got != count {
			t.Errorf("%q: %d candidates, want %d", name, got, count)
		}
	}
	s := &session{Options: Options{Isolation: "chroot"}, plan: &plan{}}
	_, err := s.isolation()
	var usage *UsageError
	if !errors.As(err, &usage) {
		t.Errorf("chroot: error is %v, want a usage error", err)
	}
}
