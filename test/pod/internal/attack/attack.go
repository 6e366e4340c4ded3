// Package attack is what a hostile RUN does: it looks for what belongs to the builder, to the pod and to other RUNs, and
// tries to get out of its root filesystem. Tests put canaries where those are, texts that begin as no other text does.
package attack

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Report has, by the names of the attacks, what each of them has reached.
type Report map[string][]string

// Write prints the report for Read.
func (r Report) Write() error { return json.NewEncoder(os.Stdout).Encode(r) }

// Read parses what Write has printed.
func Read(text string) (Report, error) {
	var r Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return nil, fmt.Errorf("reading the report %q: %w", text, err)
	}
	return r, nil
}

// attack is one way of reaching what is not the RUN's.
type attack struct {
	name string
	try  func(*attacker) []string
}

func attacks() []attack {
	return []attack{
		// First, before this process opens anything itself.
		{"inherited descriptors", (*attacker).inherited},
		{"service account token", (*attacker).token},
		{"registry logins", (*attacker).logins},
		{"all files", (*attacker).allFiles},
		{"secrets of other stages", (*attacker).secrets},
		{"directories of the sandbox's kernel", (*attacker).kernelDirectories},
		{"arguments of other processes", (*attacker).arguments},
		{"environment of other processes", (*attacker).environments},
		{"working directories of other processes", (*attacker).workingDirectories},
		{"descriptors of other processes", (*attacker).descriptors},
		{"namespaces of other processes", (*attacker).namespaces},
		{"memory by /proc", (*attacker).memory},
		{"memory by process_vm_readv", (*attacker).readMemory},
		{"tracing", (*attacker).trace},
		{"signals", (*attacker).signals},
		{"abstract sockets", (*attacker).sockets},
		{"devices", (*attacker).devices},
		{"file handles", (*attacker).handles},
		{"the kernel's files", (*attacker).kernelFiles},
		{"mounting", (*attacker).mounts},
		{"read-only mounts", (*attacker).remounts},
		{"all again as root of a new user namespace", (*attacker).nested},
	}
}

// Names lists the attacks.
func Names() []string {
	var names []string
	for _, a := range attacks() {
		names = append(names, a.name)
	}
	return names
}

// attacker is the hostile process.
type attacker struct {
	victim string // a file that is to be only read
	canary *regexp.Regexp
	others []string // the directories in /proc of the other processes
	own    []int    // processes that are there for this one alone
}

func newAttacker(victim string, own ...int) (*attacker, error) {
	// The text itself must be nowhere in this program, whose own memory may be looked at.
	begin := []byte("yranac")
	slices.Reverse(begin)
	a := &attacker{victim: victim, canary: regexp.MustCompile(string(begin) + "-[a-z]+"), own: own}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != os.Getpid() {
			a.others = append(a.others, "/proc/"+e.Name())
		}
	}
	return a, nil
}

// Attack tries everything while the process that [Hold] is in is running, or at once if address is empty. victim is a file that
// must not be written to.
func Attack(address, victim string) (_ Report, err error) {
	inherited, err := inheritedDescriptors()
	if err != nil {
		return nil, err
	}
	if address != "" {
		connection, err := meet(address)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, connection.Close()) }()
	}
	a, err := newAttacker(victim, os.Getppid())
	if err != nil {
		return nil, err
	}
	report := Report{}
	for _, attack := range attacks() {
		report[attack.name] = attack.try(a)
	}
	report["inherited descriptors"] = inherited
	return report, nil
}

// patience is how long the two RUNs wait for each other.
const patience = 2 * time.Minute

func meet(address string) (net.Conn, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			// Accepted by the other process, and not only by its kernel.
			_, err = connection.Read(make([]byte, 1))
			return connection, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the other RUN does not come: %w", err)
		}
	}
}

// Hold is an innocent RUN: it has a secret in its memory and open in a file, and a socket, until one attacker has come and gone.
func Hold(address, secret string) error {
	f, err := os.Open(secret)
	if err != nil {
		return err
	}
	defer f.Close()
	data := make([]byte, 1000)
	if _, err := f.Read(data); err != nil {
		return err
	}
	abstract, err := net.Listen("unix", "@innocent")
	if err != nil {
		return err
	}
	defer abstract.Close()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	connection, err := listener.Accept()
	if err != nil {
		return fmt.Errorf("the attacker does not come: %w", err)
	}
	defer connection.Close()
	if _, err := connection.Write([]byte("x")); err != nil {
		return err
	}
	_, _ = connection.Read(make([]byte, 1)) // until it has gone
	if data[0] == 0 {
		return errors.New("the secret is empty")
	}
	return nil
}
