package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// runImage starts the image's entrypoint in a root filesystem unpacked from it.
func (d *demo) runImage(ctx context.Context, image v1.Image) error {
	d.heading("The image, running")
	if os.Geteuid() != 0 {
		d.printf("Left out: changing the root directory needs root.\n")
		return nil
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	root := d.paths().rootfs
	if err := unpack(image, root); err != nil {
		return fmt.Errorf("unpacking the image: %w", err)
	}
	entrypoint := config.Config.Entrypoint
	if len(entrypoint) == 0 {
		return errors.New("the image has no entrypoint")
	}
	user, err := credential(config.Config.User)
	if err != nil {
		return err
	}
	d.printf("$ %s\n", strings.Join(entrypoint, " "))
	var out strings.Builder
	cmd := exec.CommandContext(ctx, entrypoint[0], entrypoint[1:]...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(d.stdout, &out), d.stderr
	cmd.Env, cmd.Dir = config.Config.Env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: user}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running the image: %w", err)
	}
	if out.Len() == 0 {
		return errors.New("the image printed nothing")
	}
	return nil
}

// credential reads a USER of the form UID:GID; "" is root.
func credential(user string) (*syscall.Credential, error) {
	if user == "" {
		return &syscall.Credential{}, nil
	}
	uid, gid, _ := strings.Cut(user, ":")
	u, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %q: only numbers can be looked up without the image's help", user)
	}
	g, err := strconv.ParseUint(gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %q: only numbers can be looked up without the image's help", user)
	}
	return &syscall.Credential{Uid: uint32(u), Gid: uint32(g)}, nil
}

// unpack writes the image's files, as far as the example has kinds of them, below dir.
func unpack(image v1.Image, dir string) (err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	content := mutate.Extract(image)
	defer func() { err = errors.Join(err, content.Close()) }()
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpackOne(root, h, r); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func unpackOne(root *os.Root, h *tar.Header, content io.Reader) error {
	name := path.Clean(strings.Trim(h.Name, "/"))
	if name == "." {
		return nil
	}
	// Extract gives the upper layers first, so a directory may come after its files.
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
		return root.Chmod(name, fs.FileMode(h.Mode).Perm())
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Chmod(fs.FileMode(h.Mode).Perm()), f.Chown(h.Uid, h.Gid), f.Close())
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(strings.Trim(h.Linkname, "/"), name)
	}
	return fmt.Errorf("the demo does not unpack entries of type %q", h.Typeflag)
}
