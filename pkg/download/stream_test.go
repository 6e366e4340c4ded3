package download_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/op"
)

// A stream gives what has come before all has, and keeps nothing.
func TestStream(t *testing.T) {
	rest := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", "Mon, 05 May 2025 05:05:05 GMT")
		_, _ = io.WriteString(w, "con")
		w.(http.Flusher).Flush()
		<-rest
		_, _ = io.WriteString(w, "tent")
	})
	dir := t.TempDir()
	c := newClient(t, dir, secrets{"HTTP_AUTH_TOKEN_127.0.0.1": "t"})
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.Open(t.Context(), &op.HTTP{URL: s.URL + "/x"})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	first := make([]byte, 3)
	if _, err := io.ReadFull(stream, first); err != nil || string(first) != "con" {
		t.Errorf("got %q, %v", first, err)
	}
	close(rest)
	if last, err := io.ReadAll(stream); err != nil || string(last) != "tent" {
		t.Errorf("got %q, %v", last, err)
	}
	if stream.ModTime.Unix() != 1746421505 || !stream.Counted || s.last().Header.Get("Authorization") != "Bearer t" {
		t.Errorf("of %s, asked with %v", stream.ModTime, s.last().Header)
	}
	after, err := os.ReadDir(dir)
	if err != nil || len(after) != len(before) {
		t.Errorf("the state directory had %v, has %v, %v", before, after, err)
	}
}

func TestBrokenStream(t *testing.T) {
	for name, tt := range map[string]struct {
		answer  func(w http.ResponseWriter, attempt int)
		passing bool
		message string
	}{
		"not found":   {status(404), false, "404 Not Found"},
		"denied":      {status(403), false, "HTTP_AUTH_TOKEN_"},
		"unavailable": {status(503, 503, 503), true, "503"},
		"broken off":  {brokenUntil(9), true, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := 0
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				attempts++
				tt.answer(w, attempts)
			})
			stream, err := newClient(t, t.TempDir(), nil).Open(t.Context(), &op.HTTP{URL: s.URL + "/x?token=hidden"})
			if err == nil {
				defer stream.Close()
				_, err = io.ReadAll(stream)
			}
			var source *op.SourceError
			if !errors.As(err, &source) || source.Temporary() != tt.passing || !strings.Contains(err.Error(), tt.message) {
				t.Fatalf("error %v", err)
			}
			if strings.Contains(err.Error(), "hidden") {
				t.Errorf("the error shows the query: %v", err)
			}
		})
	}
}
