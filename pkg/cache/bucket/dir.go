package bucket

import (
	"context"

	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
)

// Dir opens the store in a directory, which is made if there is none. Several machines may share it
// over a network, if a rename on its filesystem replaces a file at once.
func Dir(ctx context.Context, path string) (*Store, error) {
	b, err := fileblob.OpenBucket(path, &fileblob.Options{
		CreateDir: true,
		// What is being written lies on the same filesystem, and nothing lies beside it.
		NoTempDir: true,
		Metadata:  fileblob.MetadataDontWrite,
	})
	if err != nil {
		return nil, err
	}
	return New(ctx, b, "", path), nil
}

// Memory makes a store that lasts as long as the process.
func Memory(ctx context.Context) *Store {
	return New(ctx, memblob.OpenBucket(nil), "", "mem://")
}
