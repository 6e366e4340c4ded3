package cache

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
)

// Record is the result of one operation: for each of its outputs the layer that the operation put on
// top of the tree it started from.
type Record struct {
	// Key is the key of the operation.
	Key op.Key
	// Reads is zero in a record that is kept under Key. Under a key in which trees that the operation
	// only reads count by their own keys, it says what these trees were: with others,
	// the record does not hold.
	Reads Identity
	// Created is the build's time.
	Created time.Time
	// Step is what the user saw: "[build 2/6] RUN make".
	Step string
	// Outputs has at least one element.
	Outputs []Output
}

// Output is one output of an operation.
type Output struct {
	// Base is the tree that the operation started from.
	Base Identity
	// Layer is the layer's blob, in the form Form.
	Layer  v1.Descriptor
	DiffID v1.Hash
	Form   layer.Form
	// Index is the blob with the layer's index, as [layer.Index.MarshalBinary] gives it. Its
	// times are those before Form's epoch, and the tar's whole seconds, cut them off.
	Index v1.Descriptor
	// Content is the digest of the layer's content without times.
	Content layer.Sum
}

// A record is kept as an OCI image manifest (OCI image spec, manifest.md, "Guidelines for Artifact
// Usage"): the layers are, for each output, its blob and its index; all else is in one
// annotation, so that a hit costs nothing but the manifest.
const (
	recordType    = "application/vnd.slipway.cache.record.v1"
	indexType     = types.MediaType("application/vnd.slipway.layer.index.v1")
	recordField   = "vnd.slipway.cache.record"
	recordVersion = 1

	emptyType = types.MediaType("application/vnd.oci.empty.v1+json")

	// manifestLimit bounds what is accepted, in bytes.
	manifestLimit = 1 << 20
)

var emptyContent = []byte("{}")

// emptyBlob is the config of manifests that have none.
func emptyBlob() v1.Descriptor {
	digest, size, err := v1.SHA256(bytes.NewReader(emptyContent))
	if err != nil { // reading memory does not fail
		panic(err)
	}
	return v1.Descriptor{MediaType: emptyType, Digest: digest, Size: size}
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        v1.Descriptor     `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Annotations   map[string]string `json:"annotations"`
}

type recordJSON struct {
	Version int          `json:"version"`
	Key     digest       `json:"key"`
	Reads   *digest      `json:"reads,omitempty"`
	Created time.Time    `json:"created"`
	Step    string       `json:"step,omitempty"`
	Outputs []outputJSON `json:"outputs"`
}

type outputJSON struct {
	Base    digest  `json:"base"`
	DiffID  v1.Hash `json:"diffID"`
	Form    string  `json:"form"`
	Content digest  `json:"content"`
}

// digest is a SHA-256 in hexadecimal.
type digest [32]byte

// MarshalText implements encoding.TextMarshaler.
func (d digest) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(d[:])), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *digest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(d) {
		return fmt.Errorf("%q is not a SHA-256", text)
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// Marshal gives the manifest.
func (r *Record) Marshal() ([]byte, error) {
	j := recordJSON{Version: recordVersion, Key: digest(r.Key), Created: r.Created.UTC(), Step: r.Step}
	if r.Reads != (Identity{}) {
		reads := digest(r.Reads)
		j.Reads = &reads
	}
	m := manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: recordType, Config: emptyBlob(),
	}
	for _, o := range r.Outputs {
		j.Outputs = append(j.Outputs, outputJSON{
			Base: digest(o.Base), DiffID: o.DiffID, Form: o.Form.String(), Content: digest(o.Content),
		})
		m.Layers = append(m.Layers, o.Layer, o.Index)
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	m.Annotations = map[string]string{recordField: string(text)}
	return json.Marshal(m)
}

// errForeign is what a manifest that is no record fails with.
var errForeign = errors.New("it is not a record of Slipway's cache")

func parseManifest(data []byte) (*manifest, error) {
	if len(data) > manifestLimit {
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are accepted", len(data), manifestLimit)
	}
	m := new(manifest)
	return m, json.Unmarshal(data, m)
}

// Unmarshal reads a manifest.
func Unmarshal(data []byte) (*Record, error) {
	m, err := parseManifest(data)
	if err != nil {
		return nil, err
	}
	text, ok := m.Annotations[recordField]
	if !ok || m.ArtifactType != recordType {
		return nil, foreign(m)
	}
	var j recordJSON
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return nil, err
	}
	if j.Version != recordVersion {
		return nil, fmt.Errorf("it has version %d, and this is for version %d", j.Version, recordVersion)
	}
	if len(j.Outputs) == 0 || len(m.Layers) != 2*len(j.Outputs) {
		return nil, fmt.Errorf("it has %d outputs and %d blobs", len(j.Outputs), len(m.Layers))
	}
	r := &Record{Key: op.Key(j.Key), Created: j.Created, Step: j.Step}
	if j.Reads != nil {
		r.Reads = Identity(*j.Reads)
	}
	for i, o := range j.Outputs {
		out, err := o.output(m.Layers[2*i], m.Layers[2*i+1])
		if err != nil {
			return nil, fmt.Errorf("output %d: %w", i, err)
		}
		r.Outputs = append(r.Outputs, *out)
	}
	return r, nil
}

// foreign says what a manifest is that is no record.
func foreign(m *manifest) error {
	for _, d := range append(m.Layers, m.Config) {
		if d.MediaType == BuildKitType {
			return fmt.Errorf("%w but BuildKit's, whose keys are made otherwise", errForeign)
		}
	}
	return errForeign
}

// BuildKitType is the config of BuildKit's cache manifests (BuildKit, cache/remotecache/v1).
const BuildKitType = types.MediaType("application/vnd.buildkit.cacheconfig.v0")

func (j *outputJSON) output(blob, index v1.Descriptor) (*Output, error) {
	o := &Output{Base: Identity(j.Base), Layer: blob, DiffID: j.DiffID, Index: index, Content: layer.Sum(j.Content)}
	var err error
	if o.Form, err = layer.ParseForm(j.Form); err != nil {
		return nil, err
	}
	for _, d := range []v1.Descriptor{blob, index, {Digest: j.DiffID}} {
		if _, err := v1.NewHash(d.Digest.String()); err != nil || d.Digest.Algorithm != "sha256" || d.Size < 0 {
			return nil, fmt.Errorf("a blob has the digest %q and %d bytes", d.Digest, d.Size)
		}
	}
	if index.MediaType != indexType || !blob.MediaType.IsLayer() {
		return nil, fmt.Errorf("its blobs are of the types %q and %q", blob.MediaType, index.MediaType)
	}
	return o, nil
}
