package layer_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/layer/layertest"
	"github.com/slipway-build/slipway/pkg/state"
)

var (
	modTime = time.Unix(1700000000, 0).UTC()
	epoch   = time.Unix(0, 0).UTC()
	bigFile = strings.Repeat("0123456789abcdef", 40000) // 640 kB
)

// sample has every type of entry and every attribute.
var sample = []layertest.Want{
	{Entry: layer.Entry{Path: "", Type: layer.Directory, Mode: 0o755, ModTime: modTime}},
	{Entry: layer.Entry{Path: "bin", Type: layer.Directory, Mode: 0o755, ModTime: modTime, Opaque: true}},
	{Entry: layer.Entry{Path: "bin/ping", Type: layer.Regular, Mode: 0o4755, ModTime: modTime,
		Xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00", "user.empty": ""}}, Content: "#!"},
	{Entry: layer.Entry{Path: "bin-link", Type: layer.Symlink, Mode: 0o777, ModTime: modTime, Link: "../bin/./ping"}},
	{Entry: layer.Entry{Path: "dev/null", Type: layer.CharDevice, Mode: 0o666, ModTime: modTime, Major: 1, Minor: 3}},
	{Entry: layer.Entry{Path: "dev/sda", Type: layer.BlockDevice, Mode: 0o660, GID: 6, ModTime: modTime, Major: 8}},
	{Entry: layer.Entry{Path: "empty", Type: layer.Regular, Mode: 0o600, ModTime: epoch}},
	{Entry: layer.Entry{Path: "gone", Type: layer.Whiteout, ModTime: epoch}},
	{Entry: layer.Entry{Path: "srv/big", Type: layer.Regular, Mode: 0o644, UID: 4000000000, GID: 3000000, ModTime: modTime}, Content: bigFile},
	{Entry: layer.Entry{Path: "srv/hard", Type: layer.Hardlink, Mode: 0o644, UID: 4000000000, GID: 3000000, ModTime: modTime, Link: "srv/big"}},
	{Entry: layer.Entry{Path: "srv/lower", Type: layer.Hardlink, Mode: 0o644, ModTime: modTime, Link: "usr/lower"}},
	{Entry: layer.Entry{Path: "tmp", Type: layer.Directory, Mode: 0o1777, ModTime: time.Unix(-5, 0).UTC()}},
	{Entry: layer.Entry{Path: "tmp/" + strings.Repeat("name ", 40) + "ÿ", Type: layer.Regular, Mode: 0o644, ModTime: modTime}, Content: "long"},
	{Entry: layer.Entry{Path: "tmp/pipe", Type: layer.Fifo, Mode: 0o600, ModTime: modTime}},
}

// opener returns a new layer with the entries of want.
type opener func(t *testing.T, want []layertest.Want) layer.Layer

func implementations() map[string]opener {
	return map[string]opener{
		"New":  fromNew,
		"From": fromOther,
		"Dir":  fromDir,
		"Tar": func(t *testing.T, want []layertest.Want) layer.Layer {
			return try(layer.FromTar(t.Context(), bytes.NewReader(tarOf(t, want)), stateDir(t)))(t)
		},
		"Blob gzip":         blobOpener(compression.Options{Algorithm: compression.Gzip}),
		"Blob zstd":         blobOpener(compression.Options{Algorithm: compression.Zstd}),
		"Blob uncompressed": blobOpener(compression.Options{Algorithm: compression.None}),
		"Blob indexed": func(t *testing.T, want []layertest.Want) layer.Layer {
			blob := blobOf(t, want, compression.Options{})
			x := try(layer.ReadTar(t.Context(), bytes.NewReader(tarOf(t, want))))(t)
			x = try(layer.DecodeIndex(try(x.MarshalBinary())(t)))(t)
			return layer.FromIndexedBlob(blob, known(x), stateDir(t))
		},
		"Blob kept": func(t *testing.T, want []layertest.Want) layer.Layer {
			dir, blob := stateDir(t), blobOf(t, want, compression.Options{})
			if _, err := layer.FromBlob(blob, dir).Index(t.Context()); err != nil {
				t.Fatal(err)
			}
			return layer.FromBlob(offline{blob}, dir)
		},
		"Write": func(t *testing.T, want []layertest.Want) layer.Layer {
			return try(layer.Write(t.Context(), fromNew(t, want), stateDir(t), compression.Options{}))(t)
		},
		"Clamp without effect": func(t *testing.T, want []layertest.Want) layer.Layer {
			return layer.Clamp(fromNew(t, want), modTime)
		},
		"Clamp": func(t *testing.T, want []layertest.Want) layer.Layer {
			later := make([]layertest.Want, len(want))
			for i, w := range want {
				if w.ModTime.Equal(modTime) {
					w.ModTime = modTime.Add(time.Duration(i+1) * time.Nanosecond)
				}
				later[i] = w
			}
			return layer.Clamp(fromNew(t, later), modTime)
		},
	}
}

func TestContract(t *testing.T) {
	for name, open := range implementations() {
		t.Run(name, func(t *testing.T) {
			layertest.Run(t, func(t *testing.T) layer.Layer { return open(t, sample) }, sample)
		})
		t.Run(name+"/empty", func(t *testing.T) {
			layertest.Run(t, func(t *testing.T) layer.Layer { return open(t, nil) }, nil)
		})
	}
	t.Run("Empty", func(t *testing.T) {
		layertest.Run(t, func(*testing.T) layer.Layer { return layer.Empty() }, nil)
	})
}

func fromNew(t *testing.T, want []layertest.Want) layer.Layer {
	files := make([]layer.File, len(want))
	for i, w := range want {
		files[len(want)-1-i] = fileOf(w, layer.Bytes([]byte(w.Content)))
	}
	return try(layer.New(files))(t)
}

// fromOther has its contents in another layer, under other names.
func fromOther(t *testing.T, want []layertest.Want) layer.Layer {
	var moved []layertest.Want
	for _, w := range want {
		if w.Type == layer.Regular {
			w.Path = "moved/" + w.Path
			moved = append(moved, w)
		}
	}
	other := fromNew(t, moved)
	files := make([]layer.File, len(want))
	for i, w := range want {
		files[i] = fileOf(w, layer.From(other, "moved/"+w.Path))
	}
	return try(layer.New(files))(t)
}

func fileOf(w layertest.Want, content layer.Content) layer.File {
	f := layer.File{Entry: w.Entry}
	if w.Type == layer.Regular {
		f.Size, f.Content = int64(len(w.Content)), content
	}
	return f
}

// fromDir has its contents in a directory, which need not look like the entries.
func fromDir(t *testing.T, want []layertest.Want) layer.Layer {
	path := t.TempDir()
	files := make([]layer.DirFile, len(want))
	for i, w := range want {
		files[i].Entry = w.Entry
		if w.Type != layer.Regular {
			continue
		}
		name := filepath.Join(path, w.Path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(w.Content), 0o600)); err != nil {
			t.Fatal(err)
		}
		files[i].Stamp = try(layer.StampOf(try(os.Lstat(name))(t)))(t)
		files[i].Size = int64(len(w.Content))
	}
	root := try(os.OpenRoot(path))(t)
	t.Cleanup(func() { _ = root.Close() })
	return try(layer.FromDir(root, files))(t)
}

func blobOpener(o compression.Options) opener {
	return func(t *testing.T, want []layertest.Want) layer.Layer {
		return layer.FromBlob(blobOf(t, want, o), stateDir(t))
	}
}

func tarOf(t *testing.T, want []layertest.Want) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := layer.WriteTar(t.Context(), &b, fromNew(t, want)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func blobOf(t *testing.T, want []layertest.Want, o compression.Options) v1.Layer {
	t.Helper()
	return try(layer.Write(t.Context(), fromNew(t, want), stateDir(t), o))(t).Blob()
}

func stateDir(t *testing.T) *state.Dir {
	t.Helper()
	dir := try(state.Open(t.TempDir()))(t)
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// try returns what a function returned, or ends the test: try(f())(t).
func try[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// offline is a blob whose content cannot be had.
type offline struct{ v1.Layer }

func (offline) Compressed() (io.ReadCloser, error) { return nil, errors.New("offline") }
