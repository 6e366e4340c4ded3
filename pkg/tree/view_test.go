package tree

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
)

func TestOpen(t *testing.T) {
	v := specView(t, "f d/f content; l l d/f; h h d/f; f empty; p p; l loop loop")
	for _, tt := range []struct {
		path, want string
		err        error
	}{
		{"d/f", "content", nil},
		{"/l", "content", nil},
		{"h", "content", nil},
		{"empty", "", nil},
		{"d", "", fs.ErrInvalid},
		{"p", "", fs.ErrInvalid},
		{"gone", "", fs.ErrNotExist},
		{"d/f/x", "", syscall.ENOTDIR},
		{"loop", "", syscall.ELOOP},
	} {
		data, err := v.ReadFile(t.Context(), tt.path, 7)
		if string(data) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ReadFile %s: %q, %v; want %q, %v", tt.path, data, err, tt.want, tt.err)
		}
		r, err := v.Open(t.Context(), tt.path)
		if !errors.Is(err, tt.err) {
			t.Errorf("Open %s: %v, want %v", tt.path, err, tt.err)
		}
		if err == nil {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := v.ReadFile(t.Context(), "d/f", 6); !errors.Is(err, ErrTooLong) {
		t.Errorf("a file of 7 bytes with a limit of 6: %v", err)
	}
}

func TestEmptyView(t *testing.T) {
	var scratch *Tree
	v, err := scratch.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := v.Root().Entry()
	if v.Len() != 1 || !v.Root().IsDir() || v.Root().Name() != "" || v.Root().Layer() != nil || e.Mode != 0o755 || e.UID != 0 || e.ModTime.Unix() != 0 {
		t.Errorf("the root of nothing is %+v", e)
	}
}
