package testbase

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// npmVersion is one that the Node.js of Debian's release can run.
const npmVersion = "10.9.2"

// NPM downloads npm, without the 400 packages that Debian's needs, and gives the path of its archive in dir.
func NPM(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "npm", "pack", "npm@"+npmVersion)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm pack: %w\n%s", err, out)
	}
	return filepath.Join(dir, "npm-"+npmVersion+".tgz"), nil
}

// NPMRegistry is where this machine has modules of Node from.
func NPMRegistry(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "npm", "config", "get", "registry").Output()
	if err != nil {
		return "https://registry.npmjs.org/"
	}
	return strings.TrimSpace(string(out))
}
