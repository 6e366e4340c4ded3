package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	gcrtypes "github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// local gives the directory that a test knows under a name; what is not one is written to one.
func (i *invocation) local(ctx context.Context, name string) (string, error) {
	source := i.opt.LocalMounts[name]
	if source == nil {
		return "", fmt.Errorf("there is no local directory %q", name)
	}
	if dir, ok := source.(interface{ Path() string }); ok {
		return dir.Path(), nil
	}
	dir := filepath.Join(i.dir, "local-"+name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	return dir, write(ctx, source, dir)
}

// write copies a file system into an empty directory.
func write(ctx context.Context, source fsutil.FS, dir string) error {
	type dated struct {
		path string
		time time.Time
	}
	var dirs []dated
	err := source.Walk(ctx, "", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*types.Stat)
		if !ok {
			return fmt.Errorf("%s: no stat but a %T", path, info.Sys())
		}
		to, modified := filepath.Join(dir, path), time.Unix(0, stat.ModTime)
		switch mode := fs.FileMode(stat.Mode); {
		case mode.IsDir():
			dirs = append(dirs, dated{to, modified})
			return os.MkdirAll(to, mode.Perm())
		case mode&fs.ModeSymlink != 0:
			return os.Symlink(stat.Linkname, to)
		case !mode.IsRegular():
			return fmt.Errorf("%s: cannot copy a file of type %s", path, mode.Type())
		case stat.Linkname != "":
			return os.Link(filepath.Join(dir, stat.Linkname), to)
		default:
			return errors.Join(copyFile(source, path, to, mode.Perm()), os.Chtimes(to, modified, modified))
		}
	})
	for _, d := range dirs {
		err = errors.Join(err, os.Chtimes(d.path, d.time, d.time))
	}
	return err
}

func copyFile(source fsutil.FS, path, to string, mode fs.FileMode) error {
	r, err := source.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// layout writes a content store as an OCI layout whose index has the content of the digest in
// STORE@DIGEST, and gives DIR@DIGEST.
func (i *invocation) layout(ctx context.Context, ref string) (string, error) {
	id, dgst, ok := strings.Cut(ref, "@")
	store := i.opt.OCIStores[id]
	if !ok || store == nil {
		return "", fmt.Errorf("there is no OCI store with content %s", ref)
	}
	id = strings.NewReplacer("/", "_", ":", "_").Replace(id)
	path := filepath.Join(i.dir, "store-"+id)
	dir, err := layout.Write(path, empty.Index)
	if err != nil {
		return "", err
	}
	err = store.Walk(ctx, func(info content.Info) error {
		r, err := store.ReaderAt(ctx, ociDescriptor(info))
		if err != nil {
			return err
		}
		defer r.Close()
		hash, err := v1.NewHash(info.Digest.String())
		if err != nil {
			return err
		}
		return dir.WriteBlob(hash, io.NopCloser(content.NewReader(r)))
	})
	if err != nil {
		return "", err
	}
	root, err := i.root(ctx, store, dgst)
	if err != nil {
		return "", err
	}
	return path + "@" + dgst, dir.AppendDescriptor(root)
}

// root describes the manifest or index that a store has under a digest.
func (i *invocation) root(ctx context.Context, store content.Store, dgst string) (v1.Descriptor, error) {
	hash, err := v1.NewHash(dgst)
	if err != nil {
		return v1.Descriptor{}, err
	}
	info, err := store.Info(ctx, digest.Digest(dgst))
	if err != nil {
		return v1.Descriptor{}, err
	}
	data, err := content.ReadBlob(ctx, store, ociDescriptor(info))
	if err != nil {
		return v1.Descriptor{}, err
	}
	mediaType := gcrtypes.OCIManifestSchema1
	if strings.Contains(string(data), `"manifests"`) {
		mediaType = gcrtypes.OCIImageIndex
	}
	return v1.Descriptor{MediaType: mediaType, Size: info.Size, Digest: hash}, nil
}

func ociDescriptor(info content.Info) ocispecs.Descriptor {
	return ocispecs.Descriptor{Digest: info.Digest, Size: info.Size}
}
