package main

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

func succeed([]string, stdio) error { return nil }

func fail([]string, stdio) error { return exitError(1) }

func echo(args []string, s stdio) error {
	_, err := fmt.Fprintln(s.out, strings.Join(args, " "))
	return err
}

func pwd(_ []string, s stdio) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, dir)
	return err
}

func id(args []string, s stdio) error {
	if len(args) == 1 && args[0] == "-u" {
		_, err := fmt.Fprintln(s.out, os.Getuid())
		return err
	}
	_, err := fmt.Fprintf(s.out, "uid=%d gid=%d\n", os.Getuid(), os.Getgid())
	return err
}

// cat copies files, or its input, to its output.
func cat(args []string, s stdio) error {
	return eachInput(args, s, func(r io.Reader, _ string) error {
		_, err := io.Copy(s.out, r)
		return err
	})
}

func sha256sum(args []string, s stdio) error {
	return eachInput(args, s, func(r io.Reader, name string) error {
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		_, err := fmt.Fprintf(s.out, "%x  %s\n", h.Sum(nil), name)
		return err
	})
}

// wc counts lines; -l is the only form.
func wc(args []string, s stdio) error {
	if len(args) == 0 || args[0] != "-l" {
		return errors.New("only -l is supported")
	}
	return eachInput(args[1:], s, func(r io.Reader, name string) error {
		lines := 0
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			lines++
		}
		_, err := fmt.Fprintln(s.out, strings.TrimSuffix(fmt.Sprintf("%d %s", lines, name), " -"))
		return err
	})
}

// eachInput calls f with each named file, or with the input if none is named.
func eachInput(names []string, s stdio, f func(r io.Reader, name string) error) error {
	if len(names) == 0 {
		return f(s.in, "-")
	}
	for _, name := range names {
		r, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(f(r, name), r.Close()); err != nil {
			return err
		}
	}
	return nil
}

func mkdir(args []string, _ stdio) error {
	makeOne := os.Mkdir
	if len(args) > 0 && args[0] == "-p" {
		makeOne, args = os.MkdirAll, args[1:]
	}
	for _, dir := range args {
		if err := makeOne(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func chmod(args []string, _ stdio) error {
	if len(args) < 2 {
		return errors.New("usage: chmod MODE FILE…")
	}
	mode, err := strconv.ParseUint(args[0], 8, 9)
	if err != nil {
		return fmt.Errorf("mode %q: only octal permission bits are supported", args[0])
	}
	for _, file := range args[1:] {
		if err := os.Chmod(file, fs.FileMode(mode)); err != nil {
			return err
		}
	}
	return nil
}

func cp(args []string, _ stdio) error {
	if len(args) != 2 {
		return errors.New("usage: cp SOURCE TARGET")
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	info, err := os.Stat(args[0])
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], data, info.Mode().Perm())
}

func ln(args []string, _ stdio) error {
	switch {
	case len(args) == 3 && args[0] == "-s":
		return os.Symlink(args[1], args[2])
	case len(args) == 2:
		return os.Link(args[0], args[1])
	}
	return errors.New("usage: ln [-s] TARGET NAME")
}

func rm(args []string, _ stdio) error {
	remove, force := os.Remove, false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		force = force || strings.Contains(args[0], "f")
		if strings.Contains(args[0], "r") {
			remove = os.RemoveAll
		}
		args = args[1:]
	}
	for _, file := range args {
		if err := remove(file); err != nil && !(force && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}
