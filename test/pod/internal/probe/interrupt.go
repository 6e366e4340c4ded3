package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"

	"github.com/slipway-build/slipway/test/pod"
)

// journal is the file that is there while the in-place backend has a tree in the root directory.
const journal = "/.slipway/journal"

// tick is how often the journal is looked at.
const tick = 50 * time.Microsecond

// The phases of a build in place, as the journal names them but for the first and the last.
const (
	Before    = "before"
	Hiding    = "hiding"
	Placed    = "placed"
	Restoring = "restoring"
	After     = "after"
)

func phases() []string { return []string{Before, Hiding, Placed, Restoring, After} }

// Interruptions is how a command fared that was interrupted again and again.
type Interruptions struct {
	// Took is how long the phases took at least when nothing disturbed the command; the last one
	// is up to its end.
	Took  map[string]time.Duration
	Tries []Attempt
}

// Attempt is one run of the command.
type Attempt struct {
	// It got the signal a Delay after the phase At had begun.
	At    string
	Delay time.Duration
	// Phase is the one that was under way just before the signal.
	Phase string
	End
	// Next is how the run after this one ended, which nothing disturbed; nil unless the signal
	// was SIGKILL.
	Next *End
}

// End is how one run ended.
type End struct {
	Code   int // exit code, or 128 and the signal
	Output string
	// Made says whether the command's output file is there.
	Made bool
	// Changed is what is different in the root directory, and in the pod's files and memory, from
	// before the first run. Not looked at after SIGKILL: what the command ran may still be dying,
	// and what it leaves is for the next run to mend.
	Changed []string
}

// Interrupt runs a command, then once more for each of the tries, with a signal at another
// moment each time: as many in each of the phases. made is what the command writes.
func Interrupt(signal syscall.Signal, tries int, seed uint64, made string, args []string) (*Interruptions, error) {
	c := &interrupted{args: args, made: made}
	var err error
	if c.before, err = surroundings(); err != nil {
		return nil, err
	}
	all := &Interruptions{Took: map[string]time.Duration{}}
	for range 2 { // the first one finds cold caches
		first, took, err := c.undisturbed()
		if err != nil {
			return nil, err
		}
		for phase, d := range took {
			if least, known := all.Took[phase]; !known || d < least {
				all.Took[phase] = d
			}
		}
		if first.Code != 0 || !first.Made || len(first.Changed) > 0 {
			return nil, fmt.Errorf("undisturbed, the command ended with %d, changed %q:\n%s", first.Code, first.Changed, first.Output)
		}
	}
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range tries {
		at := phases()[1+i%4]
		try, err := c.disturbed(signal, at, time.Duration(r.Float64()*float64(all.Took[at])))
		if err != nil {
			return nil, err
		}
		all.Tries = append(all.Tries, try)
	}
	return all, nil
}

// Write prints what happened, for ReadInterruptions.
func (i *Interruptions) Write() error { return json.NewEncoder(os.Stdout).Encode(i) }

// ReadInterruptions reads what Write has written.
func ReadInterruptions(text string) (*Interruptions, error) {
	i := new(Interruptions)
	if err := json.Unmarshal([]byte(text), i); err != nil {
		return nil, fmt.Errorf("%w in\n%s", err, text)
	}
	return i, nil
}

type interrupted struct {
	args   []string
	made   string
	before map[string]string
}

// build is one run of the command that is under way.
type build struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	ended  chan error
	phase  string
}

func (c *interrupted) start() (*build, error) {
	if err := os.RemoveAll(c.made); err != nil {
		return nil, err
	}
	b := &build{cmd: exec.Command(c.args[0], c.args[1:]...), ended: make(chan error, 1), phase: Before}
	b.cmd.Stdout, b.cmd.Stderr = &b.output, &b.output
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { b.ended <- b.cmd.Wait() }()
	return b, nil
}

// look finds out which phase is under way.
func (b *build) look() {
	switch now := journalPhase(); {
	case now != "":
		b.phase = now
	case b.phase != Before:
		b.phase = After
	}
}

// await waits for a phase, or a later one.
func (b *build) await(phase string) error {
	for {
		b.look()
		if slices.Index(phases(), b.phase) >= slices.Index(phases(), phase) {
			return nil
		}
		select {
		case err := <-b.ended:
			return fmt.Errorf("the command ended without exchanging the root: %w\n%s", err, b.output.String())
		case <-time.After(tick):
		}
	}
}

// end describes the end of a run.
func (c *interrupted) end(b *build) (End, error) {
	waitErr := <-b.ended
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) {
		return End{}, waitErr
	}
	e := End{Code: b.cmd.ProcessState.ExitCode(), Output: b.output.String()}
	if status, ok := b.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Code = 128 + int(status.Signal())
	}
	_, err := os.Lstat(c.made)
	e.Made = err == nil
	if e.Code == 128+int(syscall.SIGKILL) {
		return e, nil
	}
	now, err := surroundings()
	if err != nil {
		return End{}, err
	}
	for path, was := range c.before {
		if is, there := now[path]; is != was {
			e.Changed = append(e.Changed, fmt.Sprintf("%s: was %s, is %s (there: %v)", path, was, is, there))
		}
	}
	for path := range now {
		if _, there := c.before[path]; !there {
			e.Changed = append(e.Changed, path+": added")
		}
	}
	slices.Sort(e.Changed)
	return e, nil
}

// undisturbed runs the command to its end.
func (c *interrupted) undisturbed() (End, map[string]time.Duration, error) {
	b, err := c.start()
	if err != nil {
		return End{}, nil, err
	}
	took := map[string]time.Duration{}
	last, begin := Before, time.Now()
	for b.phase != After {
		if err := b.await(phases()[slices.Index(phases(), last)+1]); err != nil {
			return End{}, nil, err
		}
		took[last] = time.Since(begin)
		last, begin = b.phase, time.Now()
	}
	e, err := c.end(b)
	took[After] = time.Since(begin)
	return e, took, err
}

func (c *interrupted) disturbed(signal syscall.Signal, at string, delay time.Duration) (Attempt, error) {
	b, err := c.start()
	if err != nil {
		return Attempt{}, err
	}
	if err := b.await(at); err != nil {
		return Attempt{}, err
	}
	time.Sleep(delay)
	b.look()
	try := Attempt{At: at, Delay: delay, Phase: b.phase}
	if err := b.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return Attempt{}, err
	}
	if try.End, err = c.end(b); err != nil {
		return Attempt{}, err
	}
	if signal != syscall.SIGKILL {
		return try, nil
	}
	next, err := c.start()
	if err != nil {
		return Attempt{}, err
	}
	end, err := c.end(next)
	try.Next = &end
	return try, err
}

// journalPhase reads what the journal says that the root holds; "" if there is none.
func journalPhase() string {
	data, err := os.ReadFile(journal)
	if err != nil {
		return ""
	}
	var j struct{ Phase string }
	if err := json.Unmarshal(data, &j); err != nil {
		return "damaged: " + err.Error()
	}
	return j.Phase
}

// surroundings describes the root filesystem without mounts, and what builds touch beside.
func surroundings() (map[string]string, error) {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	err = filepath.WalkDir("/", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != "/" && slices.ContainsFunc(mounts, func(m *mountinfo.Info) bool { return m.Mountpoint == path }) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if pod.LeftTree(path) {
			return nil
		}
		found[path], err = state(path)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"} {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		found[name] = fmt.Sprintf("%q", data)
	}
	memory, err := os.ReadDir("/dev/shm")
	if err != nil {
		return nil, err
	}
	for _, e := range memory {
		found["/dev/shm/"+e.Name()] = "there"
	}
	return found, nil
}

// state describes a file by its attributes.
func state(path string) (string, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return "", &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	text := fmt.Sprintf("mode %#o, owner %d:%d, modified %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		text += fmt.Sprintf(", size %d", st.Size)
	}
	return text, nil
}
