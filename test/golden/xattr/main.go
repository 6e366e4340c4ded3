// Command xattr sets an extended attribute, which busybox cannot: xattr PATH NAME VALUE. VALUE may
// have the escapes of Go strings.
package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "xattr: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("3 arguments are needed (PATH NAME VALUE), there are %d", len(args))
	}
	value, err := strconv.Unquote(`"` + args[2] + `"`)
	if err != nil {
		return fmt.Errorf("value %s: %w", args[2], err)
	}
	return syscall.Setxattr(args[0], args[1], []byte(value), 0)
}
