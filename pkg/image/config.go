package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// configHead is what we read of a config.
type configHead struct {
	OS           string            `json:"os"`
	Architecture string            `json:"architecture"`
	Variant      string            `json:"variant"`
	OSVersion    string            `json:"os.version"`
	OSFeatures   []string          `json:"os.features"`
	Created      *time.Time        `json:"created"`
	History      []ocispec.History `json:"history"`
}

// defaultPath is the PATH of an image whose config nobody made, as in BuildKit.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// defaultConfig is the config of an image that is nothing but a filesystem.
func defaultConfig(p v1.Platform) ([]byte, error) {
	n := normalize(p)
	return json.Marshal(ocispec.Image{
		Platform: n,
		Config:   ocispec.ImageConfig{Env: []string{defaultPath}, WorkingDir: "/"},
		RootFS:   ocispec.RootFS{Type: "layers"},
	})
}

// patchConfig completes the frontend's config: root filesystem, history, created time and labels.
// All other fields, known and unknown, pass through.
func patchConfig(p *Platform, diffIDs []v1.Hash, info []LayerInfo, o *Options) (raw []byte, head configHead, err error) {
	raw = p.Config
	if len(raw) == 0 {
		if raw, err = defaultConfig(p.Platform); err != nil {
			return nil, head, err
		}
	}
	var fields map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(raw, &fields), json.Unmarshal(raw, &head)); err != nil {
		return nil, head, fmt.Errorf("image config: %w", err)
	}
	if head.OS == "" || head.Architecture == "" {
		return nil, head, errors.New("image config: it names no os or no architecture")
	}
	if err := finishHistory(&head, p, info, o); err != nil {
		return nil, head, err
	}
	patch := map[string]any{
		"rootfs":  rootFS{Type: "layers", DiffIDs: diffIDs},
		"history": head.History,
		"created": created(&head, fields, o.Epoch),
	}
	if len(o.Labels) > 0 {
		if patch["config"], err = withLabels(fields["config"], o.Labels); err != nil {
			return nil, head, err
		}
	}
	for key, value := range patch {
		if fields[key], err = json.Marshal(value); err != nil {
			return nil, head, fmt.Errorf("image config: %s: %w", key, err)
		}
	}
	raw, err = json.Marshal(fields) // keys are sorted
	return raw, head, err
}

type rootFS struct {
	Type    string    `json:"type"`
	DiffIDs []v1.Hash `json:"diff_ids"`
}

func finishHistory(head *configHead, p *Platform, info []LayerInfo, o *Options) error {
	head.History = normalizeHistory(head.History, len(info), info)
	if o.Epoch == nil {
		return nil
	}
	var base configHead
	if len(p.Base) > 0 {
		if err := json.Unmarshal(p.Base, &base); err != nil {
			return fmt.Errorf("base image config: %w", err)
		}
	}
	clampHistory(head.History, base.History, o.Epoch.UTC())
	return nil
}

// created is the image's time: what the config says, but no later than epoch, else that of the
// last history entry that has one.
func created(head *configHead, fields map[string]json.RawMessage, epoch *time.Time) *time.Time {
	if _, stated := fields["created"]; stated {
		if epoch != nil && head.Created != nil && head.Created.After(*epoch) {
			t := epoch.UTC()
			return &t
		}
		return head.Created
	}
	var last *time.Time
	for _, h := range head.History {
		if h.Created != nil {
			last = h.Created
		}
	}
	return last
}

// withLabels adds labels to the "config" object.
func withLabels(config json.RawMessage, add map[string]string) (map[string]json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	labels := map[string]string{}
	if len(config) > 0 {
		if err := json.Unmarshal(config, &fields); err != nil {
			return nil, fmt.Errorf("image config: %w", err)
		}
	}
	if fields == nil { // it was null
		fields = map[string]json.RawMessage{}
	}
	if raw, ok := fields["Labels"]; ok {
		if err := json.Unmarshal(raw, &labels); err != nil {
			return nil, fmt.Errorf("image config: labels: %w", err)
		}
	}
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, add)
	raw, err := json.Marshal(labels)
	fields["Labels"] = raw
	return fields, err
}
