package sentry

import (
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/log"
)

// lackingPrefix begins the line of the kernel's log that names the system calls which processes asked for in vain.
const lackingPrefix = "lacking: "

// Lacking takes such a line out of what a kernel wrote.
func Lacking(said string) (names []string, rest string) {
	for line := range strings.Lines(said) {
		if list, ok := strings.CutPrefix(line, lackingPrefix); ok {
			names = append(names, strings.Split(strings.TrimSpace(list), ", ")...)
		} else {
			rest += line
		}
	}
	return names, rest
}

// rseq tells nothing of why a process failed: glibc asks for it in every process that begins, since 2.35, and goes on
// without.
const rseq = "rseq"

// listener hears of what the kernel lacks. gVisor tells of it in its log, of which nothing else is kept.
type listener struct {
	mu    sync.Mutex
	names []string
}

// Emit implements log.Emitter.
func (l *listener) Emit(_ int, _ log.Level, _ time.Time, format string, args ...any) {
	if !strings.HasPrefix(format, "Unsupported syscall %s") || len(args) == 0 {
		return
	}
	name, ok := args[0].(string)
	if !ok || name == rseq {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.names, name) {
		l.names = append(l.names, name)
	}
}

// write writes the line for [Lacking], if there is something to tell.
func (l *listener) write(to io.Writer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.names) == 0 {
		return nil
	}
	slices.Sort(l.names)
	_, err := io.WriteString(to, lackingPrefix+strings.Join(l.names, ", ")+"\n")
	return err
}
