package progress

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// minSecret is the length in bytes below which a secret is not masked: "1" would
// turn the log into asterisks and tell everybody what it is.
const minSecret = 4

// stream is one output of a process. Secrets are found across writes: as many bytes are held
// back as may be the beginning of one.
type stream struct {
	d      *Display
	vertex digest.Digest
	number int // 1 stdout, 2 stderr

	mu   sync.Mutex
	held []byte
}

func (d *Display) stream(vertex digest.Digest, number int) *stream {
	return &stream{d: d, vertex: vertex, number: number}
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data := mask(append(s.held, p...), s.d.secrets)
	keep := beginning(data, s.d.secrets)
	s.held = slices.Clone(data[len(data)-keep:])
	s.emit(data[:len(data)-keep])
	return len(p), nil
}

// flush shows what was held back.
func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emit(s.held)
	s.held = nil
}

func (s *stream) emit(data []byte) {
	if len(data) == 0 {
		return
	}
	s.d.send(&client.SolveStatus{Logs: []*client.VertexLog{{
		Vertex: s.vertex, Stream: s.number, Data: slices.Clone(data), Timestamp: time.Now(),
	}}})
}

// maskable returns the secrets that are long enough to be masked, longest first, so that one that
// contains another is masked whole; each also without the newline that files end with.
func maskable(secrets [][]byte) [][]byte {
	var out [][]byte
	for _, s := range secrets {
		if s = bytes.TrimRight(s, "\r\n"); len(s) >= minSecret {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b []byte) int { return len(b) - len(a) })
	return out
}

func mask(data []byte, secrets [][]byte) []byte {
	for _, s := range secrets {
		data = bytes.ReplaceAll(data, s, []byte("***"))
	}
	return data
}

// beginning is the length of the longest end of data that is the beginning of a secret.
func beginning(data []byte, secrets [][]byte) int {
	longest := 0
	for _, s := range secrets {
		for n := min(len(s)-1, len(data)); n > longest; n-- {
			if bytes.Equal(data[len(data)-n:], s[:n]) {
				longest = n
			}
		}
	}
	return longest
}

// Mask replaces the values in secrets in text, as the display does in everything that it shows.
func Mask(text string, secrets [][]byte) string { return string(mask([]byte(text), maskable(secrets))) }
