package layer

import (
	"fmt"
	"unsafe"
)

// limits bound what a tar can make us keep in memory.
type limits struct {
	nodes  int
	memory int64
}

// A layer that Linux could unpack within reason stays far below these.
const (
	maxNodes  = 4 << 20
	maxMemory = 1 << 30 // bytes of paths, links and attributes
)

var errTooMany = fmt.Errorf("is one of more than %d files or of metadata beyond %d MiB", maxNodes, maxMemory>>20)

func (l *limits) add(e *Entry) error {
	l.memory += int64(len(e.Path) + len(e.Link))
	for k, v := range e.Xattrs {
		l.memory += int64(len(k)+len(v)) + int64(unsafe.Sizeof(k)+unsafe.Sizeof(v))
	}
	if l.memory > maxMemory {
		return errTooMany
	}
	return nil
}

func (l *limits) addNode() error {
	if l.nodes++; l.nodes > maxNodes {
		return errTooMany
	}
	return nil
}
