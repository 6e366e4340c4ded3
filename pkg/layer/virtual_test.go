package layer_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
)

func TestNewRefuses(t *testing.T) {
	content := layer.Bytes([]byte("x"))
	for name, files := range map[string][]layer.File{
		"content of a directory": {{Entry: layer.Entry{Path: "a", Type: layer.Directory}, Content: content}},
		"size without content":   {{Entry: layer.Entry{Path: "a", Type: layer.Regular, Size: 1}}},
		"path twice":             {{Entry: layer.Entry{Path: "a", Type: layer.Directory}}, {Entry: layer.Entry{Path: "a", Type: layer.Directory}}},
		"path that climbs":       {{Entry: layer.Entry{Path: "a/../..", Type: layer.Directory}}},
	} {
		if _, err := layer.New(files); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestContentOfWrongLength(t *testing.T) {
	tests := []struct {
		name    string
		content layer.Content
		want    string
		is      error
	}{
		{"shorter", layer.Bytes([]byte("1234")), "after 4 of 5 bytes", io.ErrUnexpectedEOF},
		{"nothing", layer.Bytes(nil), "after 0 of 5 bytes", io.ErrUnexpectedEOF},
		{"longer", layer.Bytes([]byte("123456")), "longer than 5 bytes", nil},
		{"gone", layer.From(layer.Empty(), "b"), `"a"`, fs.ErrNotExist},
	}
	for _, tt := range tests {
		l := try(layer.New([]layer.File{{Entry: layer.Entry{Path: "a", Type: layer.Regular, Size: 5}, Content: tt.content}}))(t)
		rc, err := l.Open(t.Context(), "a")
		if err == nil {
			_, err = io.ReadAll(rc)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: error is %v", tt.name, err)
		}
	}
}

func TestFromIsLazy(t *testing.T) {
	l := try(layer.New([]layer.File{{
		Entry:   layer.Entry{Path: "a", Type: layer.Regular, Size: 5},
		Content: layer.From(unreadable{t}, "b"),
	}}))(t)
	if _, err := l.Index(t.Context()); err != nil {
		t.Error(err)
	}
}

type unreadable struct{ t *testing.T }

func (u unreadable) Index(context.Context) (*layer.Index, error) {
	u.t.Error("the other layer's index was asked for")
	return nil, errors.New("unreadable")
}

func (u unreadable) Open(context.Context, string) (io.ReadCloser, error) {
	u.t.Error("the other layer's content was asked for")
	return nil, errors.New("unreadable")
}

func TestClamp(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
	l := try(layer.New([]layer.File{
		{Entry: layer.Entry{Path: "early", Type: layer.Fifo, ModTime: at(50)}},
		{Entry: layer.Entry{Path: "exact", Type: layer.Fifo, ModTime: at(100)}},
		{Entry: layer.Entry{Path: "late", Type: layer.Fifo, ModTime: at(100).Add(1)}},
	}))(t)
	clamped := layer.Clamp(l, time.Unix(100, 0).In(time.FixedZone("", 3600)))
	for e := range try(clamped.Index(t.Context()))(t).All() {
		want := at(100)
		if e.Path == "early" {
			want = at(50)
		}
		if e.ModTime != want {
			t.Errorf("%s: %v, want %v", e.Path, e.ModTime, want)
		}
	}
	if e := try(try(l.Index(t.Context()))(t).Lookup("late"))(t); e.ModTime != at(100).Add(1) {
		t.Error("the layer itself was changed")
	}
	if x := try(layer.Clamp(l, at(200)).Index(t.Context()))(t); x != try(l.Index(t.Context()))(t) {
		t.Error("the index was copied although nothing is late")
	}
	failing := layer.Clamp(badLayer{Layer: l, index: errStopped}, at(0))
	if _, err := failing.Index(t.Context()); !errors.Is(err, errStopped) {
		t.Errorf("error is %v", err)
	}
}
