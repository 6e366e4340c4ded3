package doctor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/doctor"
)

func TestExamine(t *testing.T) {
	dir := t.TempDir()
	r, err := doctor.Examine(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Backends) == 0 {
		t.Fatal("no backend was tried")
	}
	for _, b := range r.Backends {
		if b.Works == (b.Reason != "") {
			t.Errorf("%s: works %v, reason %q: there is a reason if and only if it does not work", b.Name, b.Works, b.Reason)
		}
	}
	for _, f := range r.Facts {
		if f.Name == "" || f.Value == "" {
			t.Errorf("fact %q is %q", f.Name, f.Value)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "builds", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the examination left %v, %v", left, err)
	}
}

func TestStateDirectoryThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := doctor.Examine(t.Context(), filepath.Join(file, "state"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Works() || !strings.Contains(r.Backends[0].Reason, "not a directory") {
		t.Errorf("got %+v", r.Backends)
	}
}
