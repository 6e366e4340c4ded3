package server

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
)

// The bytes of a connection are those of the build that ended it, also if the relay is still passing them on.
func TestTrafficIsThatOfEndedConnections(t *testing.T) {
	behind, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // gives back what it gets
		c, err := behind.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c) // as far as the client reads
		_ = c.Close()
	}()
	r := &Registry{behind: behind.Addr().String()}
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	r.accepting.Go(r.accept)
	t.Cleanup(func() {
		if err := errors.Join(r.listener.Close(), behind.Close()); err != nil {
			t.Error(err)
		}
		r.accepting.Wait()
		r.relay.Wait()
	})
	client, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	const size = 3000
	if _, err := client.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := r.Traffic(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("while a connection is open, traffic is %v, %v", got, err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Traffic(t.Context()); err != nil || got != (Traffic{Received: size, Sent: size}) {
		t.Errorf("traffic is %v, %v", got, err)
	}
}
