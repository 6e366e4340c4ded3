package progress_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/progress"
)

func TestMeter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "progress")
	m, err := progress.NewMeter(path)
	if err != nil {
		t.Fatal(err)
	}
	e := m.Observe(printing{})
	step := func() {
		if _, err := e.Execute(t.Context(), &op.Vertex{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	step() // nobody knows yet of how many
	m.Expect(4)
	for range 5 { // one more than was expected
		step()
	}
	failing := m.Observe(printing{err: os.ErrClosed})
	if _, err := failing.Execute(t.Context(), &op.Vertex{}, nil); err == nil {
		t.Error("the error is gone")
	}
	if err := m.Finish(); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "50/100 75/100 99/100 100/100"; strings.Join(strings.Fields(string(got)), " ") != want {
		t.Errorf("the file holds %q, want %q", got, want)
	}
}

func TestMeterWithoutFile(t *testing.T) {
	m, err := progress.NewMeter("")
	if err != nil {
		t.Fatal(err)
	}
	m.Expect(1)
	if _, err := m.Observe(printing{}).Execute(t.Context(), &op.Vertex{}, nil); err != nil {
		t.Error(err)
	}
	if err := m.Finish(); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if _, err := progress.NewMeter(filepath.Join(t.TempDir(), "missing/file")); err == nil {
		t.Error("a file in a directory that is missing: no error")
	}
}
