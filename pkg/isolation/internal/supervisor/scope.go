package supervisor

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scopesVersion is that of Landlock's interface which has scopes: Linux 6.12.
const scopesVersion = 6

// scope puts the calling thread, and what it starts, into a domain of Landlock (landlock(7)) that signals and connections to
// abstract sockets do not leave. Namespaces do not do that: where parts of the pod's /proc are masked, a RUN shares the PID
// namespace of the builder, whose user is the same, and the network's namespace, to which abstract sockets belong, is the pod's.
//
// A kernel that does not have it, or does not let it be used, is no error: what a signal can do is to make the build fail.
func scope() error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version < scopesVersion {
		return nil
	}
	attr := unix.LandlockRulesetAttr{Scoped: unix.LANDLOCK_SCOPE_SIGNAL | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET}
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	defer unix.Close(int(rules))
	_, _, errno = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0)
	if errno != 0 && !errors.Is(errno, unix.EPERM) && !errors.Is(errno, unix.E2BIG) { // E2BIG: too many domains around it already
		return fmt.Errorf("landlock_restrict_self: %w", errno)
	}
	return nil
}
