package credentials

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// A login is got once while it holds, and anew before it expires, in the middle of a long build.
func TestRenewal(t *testing.T) {
	for name, test := range map[string]struct {
		lives time.Duration // 0 if nobody says it
		fails bool
		after time.Duration
		want  int
	}{
		"at once":                        {12 * time.Hour, false, 0, 1},
		"while ECR's token holds":        {12 * time.Hour, false, 8 * time.Hour, 1},
		"before ECR's token expires":     {12 * time.Hour, false, 10 * time.Hour, 2},
		"while Google's token holds":     {time.Hour, false, 40 * time.Minute, 1},
		"before Google's token expires":  {time.Hour, false, 50 * time.Minute, 2},
		"a life that is not known":       {0, false, 4 * time.Minute, 1},
		"a life that is not known, past": {0, false, 6 * time.Minute, 2},
		"one that has expired":           {-time.Hour, false, time.Second, 2},
		"a failure":                      {0, true, 30 * time.Second, 1},
		"a failure that may have passed": {0, true, 2 * time.Minute, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				r := &renewed{get: func(context.Context) (login, error) {
					calls++
					if test.fails {
						return login{}, errors.New("no")
					}
					l := login{AuthConfig: authn.AuthConfig{Username: fmt.Sprint(calls)}}
					if test.lives != 0 {
						l.expires = time.Now().Add(test.lives)
					}
					return l, nil
				}}
				_, first := r.AuthorizationContext(t.Context())
				time.Sleep(test.after)
				l, err := r.AuthorizationContext(t.Context())
				if (err != nil) != test.fails || (first != nil) != test.fails || calls != test.want || err == nil && l.Username != fmt.Sprint(calls) {
					t.Errorf("asked %d times, want %d: %v", calls, test.want, err)
				}
			})
		})
	}
}

// One build step that is given up says nothing about the login of the others.
func TestGivingUp(t *testing.T) {
	r := &renewed{get: func(ctx context.Context) (login, error) {
		return login{AuthConfig: authn.AuthConfig{Username: "ann"}}, ctx.Err()
	}}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.AuthorizationContext(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if l, err := r.AuthorizationContext(t.Context()); err != nil || l.Username != "ann" {
		t.Errorf("got %v, %v", l, err)
	}
}

// A service that does not answer is not waited for forever, and counts as one that has no login.
func TestSilentService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &renewed{get: func(ctx context.Context) (login, error) { <-ctx.Done(); return login{}, ctx.Err() }}
		var unavailable *UnavailableError
		if _, err := r.AuthorizationContext(t.Context()); !errors.As(err, &unavailable) {
			t.Errorf("got %v", err)
		}
	})
}

// A service that is down for a moment does not take a login away that still holds; when it has expired, that is an error.
func TestRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down bool
		calls := 0
		r := &renewed{get: func(context.Context) (login, error) {
			calls++
			if down {
				return login{}, errors.New("down")
			}
			return login{authn.AuthConfig{Username: fmt.Sprint(calls)}, time.Now().Add(time.Hour)}, nil
		}}
		for _, step := range []struct {
			after time.Duration
			down  bool
			want  string
		}{
			{0, false, "1"},
			{50 * time.Minute, true, "1"},
			{30 * time.Second, false, "1"}, // not asked again yet
			{time.Minute, false, "3"},
			{50 * time.Minute, true, "3"},
			{20 * time.Minute, true, ""},
			{2 * time.Minute, false, "6"},
		} {
			time.Sleep(step.after)
			down = step.down
			l, err := r.AuthorizationContext(t.Context())
			if (err != nil) != (step.want == "") || err == nil && l.Username != step.want {
				t.Errorf("%s later: got %v, %v, want %q", step.after, l, err, step.want)
			}
		}
	})
}
