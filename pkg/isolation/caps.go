package isolation

// Capabilities is a set of Linux capabilities: bit n stands for capability n of
// <linux/capability.h>.
type Capabilities uint64

// Has reports whether capability n is in the set.
func (c Capabilities) Has(n int) bool { return c&(1<<n) != 0 }

// DefaultCapabilities is what a process gets without --security=insecure: Docker's set,
// which is also what container runtimes give to a pod by default.
func DefaultCapabilities() Capabilities {
	var set Capabilities
	for _, n := range []int{
		0,  // CHOWN
		1,  // DAC_OVERRIDE
		3,  // FOWNER
		4,  // FSETID
		5,  // KILL
		6,  // SETGID
		7,  // SETUID
		8,  // SETPCAP
		10, // NET_BIND_SERVICE
		13, // NET_RAW
		18, // SYS_CHROOT
		27, // MKNOD
		29, // AUDIT_WRITE
		31, // SETFCAP
	} {
		set |= 1 << n
	}
	return set
}
