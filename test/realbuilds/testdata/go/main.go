// Command app prints a checksum of its arguments.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
)

func main() {
	fmt.Printf("%.4x\n", sha256.Sum256([]byte(strings.Join(os.Args[1:], " "))))
}
