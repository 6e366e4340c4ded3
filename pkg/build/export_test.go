package build

import (
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/image"
)

// An output's own epoch goes before the build's, also where it says that there is none.
func TestMergedEpoch(t *testing.T) {
	one, two := time.Unix(1, 0), time.Unix(2, 0)
	for name, c := range map[string]struct {
		general, own image.Options
		want         *time.Time
	}{
		"the build's":     {image.Options{Epoch: &one}, image.Options{}, &one},
		"the output's":    {image.Options{Epoch: &one}, image.Options{OwnEpoch: true, Epoch: &two}, &two},
		"none by request": {image.Options{Epoch: &one}, image.Options{OwnEpoch: true}, nil},
		"none":            {image.Options{}, image.Options{}, nil},
	} {
		got := merged(c.general, c.own)
		if got.Epoch != c.want || got.OwnEpoch != c.own.OwnEpoch {
			t.Errorf("%s: got %v, own %t", name, got.Epoch, got.OwnEpoch)
		}
	}
}
