package client

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/session/filesync"
)

// pending is an output that slipway writes to a file and somebody wants as a stream.
type pending struct {
	path string
	open filesync.FileOutputFunc
}

func (p pending) deliver(response map[string]string) error {
	w, err := p.open(response)
	if err != nil || w == nil {
		return err
	}
	f, err := os.Open(p.path)
	if err != nil {
		return errors.Join(err, w.Close())
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return errors.Join(err, w.Close())
}

// translateExports turns outputs into --output flags.
func (i *invocation) translateExports() error {
	stored := 0
	for n, e := range i.opt.Exports {
		attrs := maps.Clone(e.Attrs)
		if attrs == nil {
			attrs = map[string]string{}
		}
		switch {
		case e.OutputStore != nil:
			return unsupported("an output to a client's content store")
		case e.Type == ExporterImage && attrs["push"] != "true" && !mirrored(attrs["name"]):
			// An image for the daemon's store, of which there is none.
			stored++
			continue
		case e.Type == ExporterImage:
			attrs["push"] = "true"
			delete(attrs, "store")
			delete(attrs, "unpack")
		case e.OutputDir != "":
			attrs["dest"] = e.OutputDir
		case e.Output != nil:
			p := pending{path: filepath.Join(i.dir, fmt.Sprintf("output-%d", n)), open: e.Output}
			i.outputs = append(i.outputs, p)
			attrs["dest"] = p.path
		default:
			return fmt.Errorf("the output of type %s has neither a directory nor a stream", e.Type)
		}
		i.flag("output", field("type", e.Type)+fields(attrs))
	}
	if stored == len(i.opt.Exports) {
		i.flags = append(i.flags, "--no-push")
	}
	return nil
}

// mirrored reports whether package mirror takes an image of this name in the place of a daemon's store.
func mirrored(name string) bool {
	return strings.HasPrefix(name, "docker.io/") || strings.HasPrefix(name, "example.com/")
}

func fields(attrs map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		b.WriteString("," + field(key, attrs[key]))
	}
	return b.String()
}

// field is an element of the comma separated values that --output is made of.
func field(key, value string) string {
	s := key + "=" + value
	if strings.ContainsAny(s, `",`) {
		s = `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	return s
}
