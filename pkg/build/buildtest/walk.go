// Package buildtest tells whether a build with a cache gives what it gives without: it changes a Dockerfile and its
// context at random, step by step.
package buildtest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Outcome is what a build gave.
type Outcome struct {
	Summary     string // is compared
	Description string // is shown if it differs
}

// Build builds the program after its change number i, with a cache that has seen all its earlier forms or without
// any.
type Build func(t *testing.T, p *Program, i int, cached bool) (*Outcome, error)

// Walk changes a program n times, and has it built with and without the cache each time.
func Walk(t *testing.T, n int, build Build) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("SLIPWAY_TEST_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("the seed is %d: with SLIPWAY_TEST_SEED, it is the same again", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	p := NewProgram()
	failed := 0
	for i := range n {
		before := p.clone()
		what := p.mutate(r)
		want, wantErr := build(t, p, i, false)
		got, gotErr := build(t, p, i, true)
		if (wantErr == nil) != (gotErr == nil) || (want != nil && want.Summary != got.Summary) {
			t.Fatalf("mutation %d, %s\n%s\nwith cache: %v\n%+v\nwithout: %v\n%+v", i, what, p.Dockerfile(), gotErr, got, wantErr, want)
		}
		if wantErr != nil {
			failed++
			p = before // most of what follows would fail the same way
		}
	}
	t.Logf("%d builds, %d of them failed", n, failed)
	if failed > n/2 {
		t.Errorf("%d of %d builds failed: they show too little", failed, n)
	}
}
