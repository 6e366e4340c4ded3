// Command probe prints, as JSON, what a process may do where it runs.
//
//	probe look DIR FILE…    prints the report, with the contents of files
//	probe try CALL DIR      makes one call, in the way of probe look
//	probe hog BYTES         uses that much memory
//	probe wait              says "waiting", then ends with status 3 at SIGTERM
//	probe write FILE        copies its standard input to a file
//	probe spoil             changes the root filesystem in various ways
//	probe attack ADDRESS VICTIM
//	                        prints, as JSON, what a hostile RUN reaches
//	probe hold ADDRESS FILE is another RUN with a secret, until it was attacked
//	probe interrupt SIGNAL TRIES SEED OUTPUT COMMAND…
//	                        interrupts a build at many moments, and prints what became of it
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/slipway-build/slipway/test/pod/internal/attack"
	"github.com/slipway-build/slipway/test/pod/internal/probe"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 2 && args[0] == "look":
		report, err := probe.Look(args[1], args[2:])
		if err != nil {
			return err
		}
		return report.Write()
	case len(args) == 3 && args[0] == "try":
		return probe.Try(args[1], args[2])
	case len(args) == 2 && args[0] == "hog":
		return hog(args[1])
	case len(args) == 2 && args[0] == "write":
		return write(args[1])
	case len(args) == 1 && args[0] == "wait":
		return wait()
	case len(args) == 1 && args[0] == "spoil":
		return spoil()
	case len(args) == 3 && args[0] == "attack":
		report, err := attack.Attack(args[1], args[2])
		if err != nil {
			return err
		}
		return report.Write()
	case len(args) == 3 && args[0] == "attack-nested":
		own, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return attack.Nested(args[1], own)
	case len(args) == 3 && args[0] == "hold":
		return attack.Hold(args[1], args[2])
	case len(args) >= 6 && args[0] == "interrupt":
		return interrupt(args[1:])
	}
	return fmt.Errorf("unknown arguments %q", args)
}

func interrupt(args []string) error {
	signal, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	tries, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	report, err := probe.Interrupt(syscall.Signal(signal), tries, seed, args[3], args[4:])
	if err != nil {
		return err
	}
	return report.Write()
}

func hog(size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	memory := make([]byte, n)
	for i := 0; i < n; i += os.Getpagesize() {
		memory[i] = 1
	}
	_, err = fmt.Fprintln(os.Stdout, "used", len(memory))
	return err
}

func wait() error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	if _, err := fmt.Fprintln(os.Stdout, "waiting"); err != nil {
		return err
	}
	<-signals
	os.Exit(3)
	return nil
}

func write(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, os.Stdin)
	return errors.Join(err, f.Close())
}

func spoil() error {
	return errors.Join(
		os.WriteFile("/image/changed", []byte("after"), 0o644),
		os.Chmod("/image/mode", 0o600),
		os.Remove("/image/removed"),
		os.WriteFile("/image/added", nil, 0o644),
		os.WriteFile("/dev/termination-log", []byte("spoiled"), 0o644),
		os.WriteFile("/work/on-volume", nil, 0o644),
	)
}
