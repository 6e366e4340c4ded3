package lowers

import "testing"

func TestDeepStacksAreDividedAtStablePlaces(t *testing.T) {
	for _, c := range []struct{ depth, most, flat int }{
		{1, 500, 0}, {499, 500, 0}, {500, 500, 0}, {501, 500, 400}, {899, 500, 400}, {900, 500, 800}, {901, 500, 800}, {1300, 500, 1200},
		{60, 60, 0}, {61, 60, 48}, {107, 60, 48}, {108, 60, 96}, {1, 1, 0}, {2, 1, 2}, {9, 1, 9}, {3, 2, 2}, {4, 2, 3},
	} {
		got := flatLayers(c.depth, c.most)
		if got != c.flat {
			t.Errorf("of %d layers, %d are joined, want %d", c.depth, got, c.flat)
		}
		if lowers := c.depth - got + min(got, 1); lowers > c.most {
			t.Errorf("%d layers need %d lower directories, more than %d", c.depth, lowers, c.most)
		}
	}
}
