package launch

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// orphansTime is how long what the process leaves behind may take to end. It has been killed by then.
const orphansTime = time.Second

// reapOrphans takes note of the end of what a process of this group, which has ended, leaves behind, as the sandbox's kernel does: where the
// builder is process 1 of a pod, nobody else does, and they would count against the pod's limit of processes.
func reapOrphans(group int) {
	for deadline := time.Now().Add(orphansTime); time.Now().Before(deadline); {
		pid, err := unix.Wait4(-group, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR) || pid > 0:
		case err != nil:
			return // there is none
		default:
			time.Sleep(time.Millisecond)
		}
	}
}
