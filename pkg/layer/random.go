package layer

import (
	"io"
	"os"
)

// RandomAccess looks behind what [Layer.Open] returned, before anything was read from it: if the content
// is a file of the host, it gives that to be read from any place without a copy. unchanged, to be asked when
// all is read and before rc is closed, says whether it has been the file of the index all along; what is
// read past the size of the entry is no content.
func RandomAccess(rc io.ReadCloser) (file io.ReaderAt, unchanged func() error, ok bool) {
	unchanged = func() error { return nil }
	for {
		switch r := rc.(type) {
		case *exactReader:
			if r.check != nil {
				unchanged = r.check
			}
			rc = r.ReadCloser
		case osFile:
			return r, unchanged, true
		case *rawFile:
			return r, unchanged, true
		case *os.File:
			return r, unchanged, true
		default:
			return nil, nil, false
		}
	}
}
