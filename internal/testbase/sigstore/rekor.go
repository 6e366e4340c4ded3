package sigstore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"github.com/go-openapi/runtime"
	"github.com/go-openapi/strfmt"
	"github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1"         // the log takes
	_ "github.com/sigstore/rekor/pkg/types/hashedrekord/v0.0.1" // entries of these kinds
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
)

// treeID is the identity of the log's tree.
const treeID = 0x1234567890abcdef

// logServer is a Rekor in memory.
type logServer struct {
	key    *ecdsa.PrivateKey
	id     string
	signer signature.Signer

	mu      sync.Mutex
	tree    *testonly.Tree
	entries map[string]logEntry // by the hash of the leaf, in hexadecimal
}

type logEntry struct {
	index int64
	time  int64
	body  []byte
}

func newLog(t testing.TB) *logServer {
	t.Helper()
	key := newKey(t)
	signer, err := signature.LoadECDSASignerVerifier(key, crypto.SHA256)
	check(t, err)
	return &logServer{
		key: key, id: hex.EncodeToString(logID(t, key.Public())), signer: signer,
		tree: testonly.New(rfc6962.DefaultHasher), entries: map[string]logEntry{},
	}
}

func (l *logServer) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// ServeHTTP implements http.Handler: what clients need of Rekor's API v1.
func (l *logServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const entries = "/api/v1/log/entries"
	switch {
	case r.Method == http.MethodPost && r.URL.Path == entries:
		l.create(w, r, entries)
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, entries+"/"):
		l.get(w, r)
	default:
		refuse(w, http.StatusNotFound, "there is no "+r.Method+" "+r.URL.Path)
	}
}

// create verifies an entry, and puts it into the log.
func (l *logServer) create(w http.ResponseWriter, r *http.Request, entries string) {
	body, err := canonical(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	leaf := hex.EncodeToString(rfc6962.DefaultHasher.HashLeaf(body))
	w.Header().Set("Location", entries+"/"+entryID(leaf))
	if _, there := l.entries[leaf]; there {
		refuse(w, http.StatusConflict, "an equivalent entry already exists in the transparency log")
		return
	}
	l.entries[leaf] = logEntry{int64(len(l.entries)), time.Now().Unix(), body}
	l.tree.AppendData(body)
	w.Header().Set("ETag", entryID(leaf))
	l.answer(w, http.StatusCreated, leaf)
}

// canonical reads a proposed entry, whose signature must be right, as it is logged.
func canonical(r *http.Request) ([]byte, error) {
	proposed, err := models.UnmarshalProposedEntry(r.Body, runtime.JSONConsumer())
	if err != nil {
		return nil, err
	}
	if err := proposed.Validate(strfmt.Default); err != nil {
		return nil, err
	}
	entry, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		return nil, err
	}
	return types.CanonicalizeEntry(r.Context(), entry)
}

func entryID(leaf string) string { return hex.EncodeToString(binaryTreeID()) + leaf }

func binaryTreeID() []byte {
	var id [8]byte
	for i := range id {
		id[i] = byte(uint64(treeID) >> (8 * (7 - i)))
	}
	return id[:]
}

func (l *logServer) get(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	leaf := strings.TrimPrefix(path.Base(r.URL.Path), hex.EncodeToString(binaryTreeID()))
	if _, there := l.entries[leaf]; !there {
		refuse(w, http.StatusNotFound, "there is no such entry")
		return
	}
	l.answer(w, http.StatusOK, leaf)
}

// answer sends an entry with the log's promise and its proof.
func (l *logServer) answer(w http.ResponseWriter, status int, leaf string) {
	entry, err := l.proven(l.entries[leaf])
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	answer(w, status, map[string]any{entryID(leaf): entry})
}

func (l *logServer) proven(e logEntry) (*models.LogEntryAnon, error) {
	body := base64.StdEncoding.EncodeToString(e.body)
	promise, err := l.promise(bundle.RekorPayload{Body: body, IntegratedTime: e.time, LogIndex: e.index, LogID: l.id})
	if err != nil {
		return nil, err
	}
	size := l.tree.Size()
	proof, err := l.tree.InclusionProof(uint64(e.index), size)
	if err != nil {
		return nil, err
	}
	top := l.tree.Hash()
	checkpoint, err := util.CreateAndSignCheckpoint(context.Background(), "rekor.localhost", treeID, size, top, l.signer)
	if err != nil {
		return nil, err
	}
	hashes := []string{}
	for _, h := range proof {
		hashes = append(hashes, hex.EncodeToString(h))
	}
	treeSize, rootHash, note := int64(size), hex.EncodeToString(top), string(checkpoint)
	return &models.LogEntryAnon{
		Body: body, IntegratedTime: &e.time, LogIndex: &e.index, LogID: &l.id,
		Verification: &models.LogEntryAnonVerification{
			SignedEntryTimestamp: promise,
			InclusionProof:       &models.InclusionProof{LogIndex: &e.index, TreeSize: &treeSize, RootHash: &rootHash, Hashes: hashes, Checkpoint: &note},
		},
	}, nil
}

// promise is the signed entry timestamp.
func (l *logServer) promise(p bundle.RekorPayload) ([]byte, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	canonical, err := jsoncanonicalizer.Transform(raw)
	if err != nil {
		return nil, err
	}
	return l.signer.SignMessage(bytes.NewReader(canonical))
}
