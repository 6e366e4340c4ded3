package layer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

func TestFanout(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, chunkSize, chunkSize + 1, 20*chunkSize + 5} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(rnd.Uint32())
		}
		var a, b bytes.Buffer
		f := newFanout(t.Context(), copyTo(&a), func(_ context.Context, r io.Reader) error {
			_, err := io.Copy(&b, onlyReader{r}) // by Read instead of WriteTo
			return err
		}, func(context.Context, io.Reader) error { return nil }) // reads nothing
		for rest := want; len(rest) > 0; {
			n := min(1+rnd.IntN(2*chunkSize), len(rest))
			if _, err := f.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), want) || !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%d bytes became %d and %d", size, a.Len(), b.Len())
		}
		if err := f.Close(); err != nil {
			t.Errorf("closing again: %v", err)
		}
	}
}

func TestFanoutFails(t *testing.T) {
	broken := errors.New("broken")
	data := make([]byte, chunkSize)
	t.Run("consumer", func(t *testing.T) {
		f := newFanout(t.Context(), copyTo(io.Discard), func(_ context.Context, r io.Reader) error {
			_, err := io.ReadFull(r, make([]byte, 100))
			return errors.Join(err, broken)
		})
		var err error
		for range 100 { // at some time writing fails instead of blocking
			if _, err = f.Write(data); err != nil {
				break
			}
		}
		if !errors.Is(err, broken) {
			t.Errorf("Write: %v", err)
		}
		if err := f.Close(); !errors.Is(err, broken) {
			t.Errorf("Close: %v", err)
		}
	})
	t.Run("producer", func(t *testing.T) {
		var seen error
		f := newFanout(t.Context(), func(_ context.Context, r io.Reader) error {
			_, seen = io.Copy(io.Discard, r)
			return seen
		})
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := f.CloseWithError(broken); err != broken || seen != broken {
			t.Errorf("CloseWithError: %v; the consumer saw %v", err, seen)
		}
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		f := newFanout(ctx, copyTo(io.Discard))
		cancel(broken)
		if err := f.CloseWithError(broken); !errors.Is(err, broken) {
			t.Errorf("CloseWithError: %v", err)
		}
	})
}
