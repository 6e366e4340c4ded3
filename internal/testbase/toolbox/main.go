// Command toolbox stands in for busybox where there is none: one static program that is a few
// commands and just enough of a shell to run the RUN lines of the repository's examples.
package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run executes the command that args[0] names, or args[1] if args[0] is the program itself.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	all := commands()
	args = slices.Clone(args)
	args[0] = filepath.Base(args[0])
	if _, known := all[args[0]]; !known && len(args) > 1 {
		args = args[1:]
	}
	if args[0] == "--list" {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			fmt.Fprintln(stdout, name)
		}
		return 0
	}
	command, known := all[args[0]]
	if !known {
		fmt.Fprintf(stderr, "toolbox: %s: not found\n", args[0])
		return 127
	}
	if err := command(args[1:], stdio{stdin, stdout, stderr}); err != nil {
		var exit exitError
		if errors.As(err, &exit) {
			return int(exit)
		}
		fmt.Fprintf(stderr, "%s: %v\n", args[0], err)
		return 1
	}
	return 0
}

// stdio is what a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// command is one of the program's commands; its arguments do not include its name.
type command func(args []string, s stdio) error

// exitError is an exit code that needs no message.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func commands() map[string]command {
	return map[string]command{
		"cat": cat, "chmod": chmod, "cp": cp, "echo": echo, "false": fail, "id": id, "ln": ln, "mkdir": mkdir,
		"pwd": pwd, "rm": rm, "sh": shell, "sha256sum": sha256sum, "true": succeed, "wc": wc,
	}
}
