package argo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
)

// apiServer is as much of Kubernetes' API as the executor uses to tell the controller what came out: it takes
// WorkflowTaskResults and merges changes into them.
type apiServer struct {
	t          *testing.T
	kubeconfig string // a directory with the file config

	mu       sync.Mutex
	result   map[string]any
	progress []string // all that were reported, in order
}

func serveAPI(t *testing.T) *apiServer {
	t.Helper()
	a := &apiServer{t: t, kubeconfig: t.TempDir()}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	config := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": [{"name": "c", "cluster": {"server": %q}}],
		"contexts": [{"name": "c", "context": {"cluster": "c", "namespace": %q}}]}`, server.URL, namespace)
	if err := os.WriteFile(filepath.Join(a.kubeconfig, "config"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return a
}

// ServeHTTP answers POST and PATCH of task results.
func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	const place = "/apis/argoproj.io/v1alpha1/namespaces/" + namespace + "/workflowtaskresults"
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		a.t.Errorf("the executor sent %v", err)
	}
	switch {
	case r.Method == http.MethodPost && r.URL.Path == place:
		a.result = body
	case r.Method == http.MethodPatch && r.URL.Path == place+"/"+nodeID && a.result != nil &&
		strings.HasPrefix(r.Header.Get("Content-Type"), "application/merge-patch+json"):
		merge(a.result, body)
	default:
		a.t.Errorf("the executor asked for %s %s", r.Method, r.URL.Path)
		http.NotFound(w, r)
		return
	}
	if p, ok := body["progress"].(string); ok && p != "" {
		a.progress = append(a.progress, p)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a.result); err != nil {
		a.t.Errorf("answering the executor: %v", err)
	}
}

// merge is a JSON merge patch.
func merge(into, patch map[string]any) {
	for key, value := range patch {
		change, isMap := value.(map[string]any)
		old, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(old, change)
		default:
			into[key] = value
		}
	}
}

// taskResult is what the controller would read.
func (a *apiServer) taskResult() (wfv1.WorkflowTaskResult, []string) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	data, err := json.Marshal(a.result)
	if err != nil {
		a.t.Fatal(err)
	}
	var r wfv1.WorkflowTaskResult
	if err := json.Unmarshal(data, &r); err != nil {
		a.t.Fatal(err)
	}
	return r, a.progress
}
