package pod

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// inMountNamespace calls f on an operating system thread of its own, in a mount
// namespace of its own: what f mounts is seen by f and by the processes that it starts, and
// vanishes with them, however the test ends. It returns at once.
func inMountNamespace(f func(), failed func(error)) {
	go func() {
		// Never unlocked: Go then ends the thread with the goroutine.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// Go does not end the first thread, which also is what /proc/self shows.
			// While this goroutine waits there, another one cannot get it.
			ended := make(chan struct{})
			inMountNamespace(func() { defer close(ended); f() }, func(err error) { defer close(ended); failed(err) })
			<-ended
			runtime.UnlockOSThread()
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			failed(fmt.Errorf("making a mount namespace: %w", err))
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			failed(fmt.Errorf("making mounts private: %w", err))
			return
		}
		f()
	}()
}
