package lowers

import "testing"

func TestDeepStacksAreDividedAtStablePlaces(t *testing.T) {
	for _, c := range []struct{ depth, flat int }{
		{1, 0}, {499, 0}, {500, 0}, {501, 400}, {899, 400}, {900, 800}, {901, 800}, {1300, 1200},
	} {
		got := flatLayers(c.depth)
		if got != c.flat {
			t.Errorf("of %d layers, %d are joined, want %d", c.depth, got, c.flat)
		}
		if lowers := c.depth - got + min(got, 1); lowers > 500 {
			t.Errorf("%d layers need %d lower directories", c.depth, lowers)
		}
	}
}
