package layer_test

import (
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/layer"
)

func TestForm(t *testing.T) {
	epoch := time.Unix(1_700_000_000, 0).UTC()
	for text, form := range map[string]layer.Form{
		"gzip":                    {},
		"gzip:-1":                 {Compression: compression.Options{Level: compression.Stored}},
		"zstd:19":                 {Compression: compression.Options{Algorithm: compression.Zstd, Level: 19}},
		"uncompressed@1700000000": {Compression: compression.Options{Algorithm: compression.None}, Epoch: epoch},
		"gzip:9@1700000000":       {Compression: compression.Options{Level: 9}, Epoch: epoch},
		"gzip@0":                  {Epoch: time.Unix(0, 0).UTC()},
		"gzip@-1":                 {Epoch: time.Unix(-1, 0).UTC()},
	} {
		if got := form.String(); got != text {
			t.Errorf("%+v is %q, expected %q", form, got, text)
		}
		if got, err := layer.ParseForm(text); err != nil || !got.Equal(form) {
			t.Errorf("%q is %+v (%v), expected %+v", text, got, err, form)
		}
	}
	for _, text := range []string{"", "rot13", "gzip:", "gzip:99", "gzip@", "gzip@soon", "@1"} {
		if got, err := layer.ParseForm(text); err == nil {
			t.Errorf("%q was accepted as %+v", text, got)
		}
	}
}

func TestContentDigest(t *testing.T) {
	entry := layer.Entry{Path: "a", Type: layer.Regular, Mode: 0o644, Size: 1, Sum: layer.Sum{1}, ModTime: time.Unix(5, 0).UTC()}
	digest := func(change func(*layer.Entry)) layer.Sum {
		e := entry
		change(&e)
		x := try(layer.NewIndex([]layer.Entry{e}))(t)
		return try(x.ContentDigest())(t)
	}
	same := digest(func(*layer.Entry) {})
	if got := digest(func(e *layer.Entry) { e.ModTime = time.Unix(6, 0).UTC() }); got != same {
		t.Error("the modification time makes a difference")
	}
	for name, change := range map[string]func(*layer.Entry){
		"path":    func(e *layer.Entry) { e.Path = "b" },
		"mode":    func(e *layer.Entry) { e.Mode = 0o755 },
		"owner":   func(e *layer.Entry) { e.UID = 1 },
		"group":   func(e *layer.Entry) { e.GID = 1 },
		"content": func(e *layer.Entry) { e.Sum = layer.Sum{2} },
		"xattrs":  func(e *layer.Entry) { e.Xattrs = map[string]string{"user.a": "b"} },
		"type":    func(e *layer.Entry) { e.Type, e.Size, e.Sum = layer.Fifo, 0, layer.Sum{} },
		"removal": func(e *layer.Entry) { e.Type, e.Size, e.Sum = layer.Whiteout, 0, layer.Sum{} },
	} {
		if digest(change) == same {
			t.Errorf("%s makes no difference", name)
		}
	}
	x := try(layer.NewIndex([]layer.Entry{{Path: "a", Type: layer.Regular}}))(t)
	if _, err := x.ContentDigest(); err == nil {
		t.Error("a content without sum was accepted")
	}
}
