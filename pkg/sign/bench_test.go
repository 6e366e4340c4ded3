package sign_test

import (
	"testing"

	"github.com/slipway-build/slipway/internal/testbase/sigstore"
	"github.com/slipway-build/slipway/pkg/sign"
)

// BenchmarkReadKey is what a build with a key pays at its beginning: the password's scrypt.
func BenchmarkReadKey(b *testing.B) {
	dir, _ := keyPair(b)
	for b.Loop() {
		signer(b, sign.Options{Method: sign.Key, Key: dir})
	}
}

// BenchmarkSign is one signature, with all requests to a registry on loopback and, where it is keyless, to a Sigstore there. Each is of an
// image of its own, whose push is not counted.
func BenchmarkSign(b *testing.B) {
	services := sigstore.Serve(b)
	dir, _ := keyPair(b)
	for name, o := range map[string]sign.Options{"key": {Method: sign.Key, Key: dir}, "keyless": keyless(b, services)} {
		for _, format := range formats() {
			b.Run(name+"/"+string(format), func(b *testing.B) {
				o.Format = format
				s, host := signer(b, o), withReferrers(b)
				for b.Loop() {
					b.StopTimer()
					ref := image(b, host+"/app")
					b.StartTimer()
					if err := s.Sign(b.Context(), ref); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
