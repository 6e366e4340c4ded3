package image

import (
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// historyComment marks entries that we made up, as BuildKit's exporter marks its own.
const historyComment = "slipway.image.v0"

// normalizeHistory makes history fit n layers and gives every entry a time. The rules are those
// of BuildKit (exporter/containerimage/writer.go, normalizeLayersAndHistory):
//
//   - Too many entries with a layer: the topmost ones lose theirs.
//   - Too few: entries from info are added.
//   - An entry with a layer and no time gets that of its layer.
//   - Entries without a layer and a time get that of the next entry that has one, where they
//     are the first such; later ones that of the entry below them.
func normalizeHistory(history []ocispec.History, n int, info []LayerInfo) []ocispec.History {
	out := make([]ocispec.History, 0, len(history)+n)
	layers := 0
	for _, h := range history {
		if layers >= n {
			h.EmptyLayer = true
		}
		if !h.EmptyLayer {
			if h.Created == nil {
				h.Created = timeOf(info, layers)
			}
			layers++
		}
		out = append(out, h)
	}
	for ; layers < n; layers++ {
		h := ocispec.History{Created: timeOf(info, layers), CreatedBy: "created by slipway", Comment: historyComment}
		if layers < len(info) && info[layers].Description != "" {
			h.CreatedBy = info[layers].Description
		}
		out = append(out, h)
	}
	fillTimes(out)
	return out
}

func timeOf(info []LayerInfo, i int) *time.Time {
	if i >= len(info) || info[i].Created.IsZero() {
		return nil
	}
	t := info[i].Created.UTC()
	return &t
}

// fillTimes gives a time to entries that have none. Below the first gap are the base image's, so the
// time to start from is the first one after the gap, and the last one before it only where
// nothing follows: otherwise the first metadata instruction would be as old as the base.
func fillTimes(history []ocispec.History) {
	var last *time.Time
	gap := false
	for _, h := range history {
		if h.Created == nil {
			gap = true
			continue
		}
		last = h.Created
		if gap {
			break
		}
	}
	gap = false
	for i := range history {
		switch {
		case history[i].Created == nil:
			gap = true
			history[i].Created = last
		case gap:
			last = history[i].Created
		}
	}
}

// clampHistory sets what is later than epoch, or has no time, to epoch. What history has in common
// with the base image keeps its times.
func clampHistory(history, base []ocispec.History, epoch time.Time) {
	shared := 0
	for shared < min(len(history), len(base)) && sameHistory(history[shared], base[shared]) {
		shared++
	}
	for i := shared; i < len(history); i++ {
		if c := history[i].Created; c == nil || c.After(epoch) {
			history[i].Created = &epoch
		}
	}
}

func sameHistory(a, b ocispec.History) bool {
	ta, tb := a.Created, b.Created
	a.Created, b.Created = nil, nil
	return a == b && (ta == nil) == (tb == nil) && (ta == nil || ta.Equal(*tb))
}
