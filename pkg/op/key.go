package op

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// keyVersion changes when the meaning of keys changes, so that old cache records stop
// matching instead of matching wrongly.
const keyVersion = 1

// keyHash computes a cache key from framed fields: every field is written with its length or in
// a fixed width, so that no two different sequences of fields hash alike.
type keyHash struct {
	h     hash.Hash
	trace *Trace // nil for none
}

// newKey starts the key of an operation of the given kind.
func newKey(kind string) *keyHash {
	k := &keyHash{h: sha256.New()}
	return k.str("slipway key").int(keyVersion).str(kind)
}

func (k *keyHash) int(n int64) *keyHash {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	k.write(b[:])
	return k
}

// write never fails, as no hash.Hash does.
func (k *keyHash) write(b []byte) {
	k.h.Write(b)
	if k.trace != nil && k.trace.hash != nil {
		k.trace.hash.Write(b)
	}
}

func (k *keyHash) bool(b bool) *keyHash {
	if b {
		return k.int(1)
	}
	return k.int(0)
}

func (k *keyHash) bytes(b []byte) *keyHash {
	k.int(int64(len(b)))
	k.write(b)
	return k
}

func (k *keyHash) str(s string) *keyHash { return k.bytes([]byte(s)) }

func (k *keyHash) strs(ss []string) *keyHash {
	k.int(int64(len(ss)))
	for _, s := range ss {
		k.str(s)
	}
	return k
}

// key adds the key of an input or the digest of content.
func (k *keyHash) key(in Key) *keyHash {
	k.write(in[:])
	return k
}

func (k *keyHash) sum() Key {
	k.part("")
	return Key(k.h.Sum(nil))
}

// OutputKey is the key of an operation's output beyond the first, which has the key of the
// operation itself.
func OutputKey(k Key, output int) Key {
	return newKey("output").key(k).int(int64(output)).sum()
}
