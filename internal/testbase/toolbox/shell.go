package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// shell runs "sh -c SCRIPT". A script is made of simple commands, joined by "&&", ";" or new
// lines; words may be quoted and may hold $NAME or ${NAME}; ">" and ">>" send the output
// to a file. Anything else of the shell's language is an error, not a guess.
func shell(args []string, s stdio) error {
	if len(args) < 2 || args[0] != "-c" {
		return errors.New("only sh -c SCRIPT is supported")
	}
	tokens, err := split(args[1])
	if err != nil {
		return err
	}
	var words []token
	skip := false
	var last error
	for _, t := range append(tokens, token{text: ";", operator: true}) {
		if !t.operator || strings.HasPrefix(t.text, ">") {
			words = append(words, t)
			continue
		}
		if len(words) > 0 && !skip {
			last = simple(words, s)
			var exit exitError
			if last != nil && !errors.As(last, &exit) {
				return ended(last)
			}
		}
		words = nil
		skip = t.text == "&&" && last != nil
	}
	return last
}

// ended is what a script returns that ends early: by exit, or because a command could not run.
func ended(err error) error {
	var exit exitedError
	switch {
	case !errors.As(err, &exit):
		return err
	case exit.exitError == 0:
		return nil
	}
	return exit.exitError
}

// simple runs one command without operators other than redirections.
func simple(words []token, s stdio) (err error) {
	var args []string
	for i := 0; i < len(words); i++ {
		w := words[i]
		if !w.operator {
			args = append(args, w.text)
			continue
		}
		if i+1 == len(words) || words[i+1].operator {
			return fmt.Errorf("syntax error: no file after %s", w.text)
		}
		flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		if w.text == ">>" {
			flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
		}
		i++
		f, err := os.OpenFile(words[i].text, flags, 0o644)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		s.out = f
	}
	switch {
	case len(args) == 0:
		return nil
	case args[0] == "cd" && len(args) == 2:
		return os.Chdir(args[1])
	case args[0] == "exit":
		return exitWith(args[1:])
	}
	if _, known := commands()[args[0]]; known {
		if code := run(args, s.in, s.out, s.err); code != 0 {
			return exitError(code)
		}
		return nil
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.in, s.out, s.err
	failure := cmd.Run()
	var exit *exec.ExitError
	if errors.As(failure, &exit) {
		return exitError(exit.ExitCode())
	}
	return failure
}

// exitedError ends a script at once.
type exitedError struct{ exitError }

func exitWith(args []string) error {
	if len(args) == 0 {
		return exitedError{0}
	}
	code, err := strconv.ParseUint(args[0], 10, 8)
	if err != nil {
		return fmt.Errorf("exit %s: not an exit code", args[0])
	}
	return exitedError{exitError(code)}
}

// token is a word, or an operator: "&&", ";", ">" or ">>".
type token struct {
	text     string
	operator bool
}

// split cuts a script into tokens and expands its variables.
func split(script string) ([]token, error) {
	var tokens []token
	var word strings.Builder
	inWord := false
	end := func() {
		if inWord {
			tokens = append(tokens, token{text: word.String()})
			word.Reset()
			inWord = false
		}
	}
	for i := 0; i < len(script); i++ {
		switch c := script[i]; {
		case c == ' ' || c == '\t':
			end()
		case c == '\n' || c == ';':
			end()
			tokens = append(tokens, token{";", true})
		case strings.HasPrefix(script[i:], "&&") || strings.HasPrefix(script[i:], ">>"):
			end()
			tokens = append(tokens, token{script[i : i+2], true})
			i++
		case c == '>':
			end()
			tokens = append(tokens, token{">", true})
		case c == '\'' || c == '"':
			length := strings.IndexByte(script[i+1:], c)
			if length < 0 {
				return nil, fmt.Errorf("syntax error: no closing %c", c)
			}
			quoted := script[i+1 : i+1+length]
			if c == '"' {
				quoted = os.ExpandEnv(quoted)
			}
			word.WriteString(quoted)
			inWord = true
			i += length + 1
		case c == '$':
			name := variable(script[i:])
			word.WriteString(os.ExpandEnv(name))
			inWord = true
			i += len(name) - 1
		case strings.IndexByte("|&<()`*?[\\#", c) >= 0:
			return nil, fmt.Errorf("syntax error: %q is not supported", c)
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	end()
	return tokens, nil
}

// variable is the $NAME or ${NAME} that s begins with, "$" if neither.
func variable(s string) string {
	if strings.HasPrefix(s, "${") {
		if end := strings.IndexByte(s, '}'); end > 0 {
			return s[:end+1]
		}
		return "$"
	}
	end := 1
	for end < len(s) && (s[end] == '_' || s[end] >= '0' && s[end] <= '9' || s[end]|0x20 >= 'a' && s[end]|0x20 <= 'z') {
		end++
	}
	return s[:end]
}
