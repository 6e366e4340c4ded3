package isolation

// Sandbox is the value of --isolation for the backend that needs no permission at all: a kernel in
// user space.
const Sandbox = "sandbox"

// NoSandbox is why [Sandbox] cannot be chosen.
func NoSandbox() error {
	return &UnsupportedError{Backend: Sandbox, What: "RUN", Reason: "this version of slipway does not have it"}
}
