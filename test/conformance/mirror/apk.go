package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// apk stands for Alpine's package manager where there are no packages: what may be added is there already.
const apk = `#!/bin/sh
# apk add PROGRAM...
set -e
[ "$1" = add ]
shift
for program; do command -v "$program"; done
`

// programs are this machine's own, with the libraries that they need, in the places that these have here.
func programs(ctx context.Context, names ...string) (map[string]string, error) {
	files := map[string]string{}
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, err
		}
		if err := read(files, path, "usr/bin/"+name); err != nil {
			return nil, err
		}
		var stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, "ldd", path)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			if strings.Contains(stderr.String(), "not a dynamic executable") {
				continue
			}
			return nil, fmt.Errorf("libraries of %s: %w\n%s", name, err, stderr.Bytes())
		}
		for field := range strings.FieldsSeq(string(out)) {
			if !filepath.IsAbs(field) {
				continue
			}
			if err := read(files, field, strings.TrimPrefix(field, "/")); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

func read(files map[string]string, from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return errors.Join(fmt.Errorf("reading %s", from), err)
	}
	files[to] = string(data)
	return nil
}
