package mirror

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestMirror(t *testing.T) {
	var asked atomic.Int32
	var upstream *httptest.Server
	upstream = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.EscapedPath() {
		case "/npm/@a%2fb":
			_, _ = io.WriteString(w, `{"tarball": "`+upstream.URL+`/npm/b.tgz"}`)
		case "/npm/b.tgz":
			_, _ = io.WriteString(w, "archive "+upstream.URL+"/npm/")
		default:
			http.NotFound(w, r)
		}
	}))
	defer upstream.Close()
	m, err := Start(t.TempDir(), map[string]string{"modules": upstream.URL + "/npm/"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []struct {
		path, want string
		status     int
	}{
		{"/modules/@a%2fb", `{"tarball": "http://` + m.Host + `/modules/b.tgz"}`, 200},
		{"/modules/b.tgz", "archive " + upstream.URL + "/npm/", 200}, // as it is
		{"/modules/missing", "Not Found", 404},
		{"/elsewhere", "404", 404},
	} {
		for range 2 {
			before := asked.Load()
			response, err := http.Get("http://" + m.Host + c.path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != c.status || !strings.Contains(string(body), c.want) {
				t.Errorf("%s: %d %q, want %d %q", c.path, response.StatusCode, body, c.status, c.want)
			}
			if asked.Load()-before > 1 {
				t.Errorf("%s: the upstream was asked more than once", c.path)
			}
		}
	}
	if n := asked.Load(); n != 4 { // twice for what it does not have
		t.Errorf("the upstream was asked %d times, want 4", n)
	}
}
