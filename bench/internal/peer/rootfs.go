package peer

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// KanikoRootfs makes the files of Kaniko's image in a new directory below work.
func KanikoRootfs(executor, work string) (string, error) {
	rootfs := filepath.Join(work, "kaniko-rootfs")
	for _, dir := range []string{"kaniko/ssl/certs", "kaniko/.docker", "etc", "tmp", "workspace", "root", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(rootfs, dir), 0o755); err != nil {
			return "", err
		}
	}
	if err := copyFile(filepath.Join(rootfs, "kaniko/executor"), executor, 0o755); err != nil {
		return "", err
	}
	err := copyFile(filepath.Join(rootfs, "kaniko/ssl/certs/ca-certificates.crt"), "/etc/ssl/certs/ca-certificates.crt", 0o644)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for name, content := range map[string]string{"etc/passwd": "root:x:0:0:root:/root:\n", "etc/group": "root:x:0:\n", "etc/nsswitch.conf": "hosts: files dns\n"} {
		if err := os.WriteFile(filepath.Join(rootfs, name), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	return rootfs, nil
}

func copyFile(to, from string, mode fs.FileMode) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
