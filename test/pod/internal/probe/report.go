// Package probe finds out, from inside of a container, what a process may do there.
package probe

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Report is what a process in the container sees.
type Report struct {
	UID, GID int
	Groups   []int
	Env      []string
	Hostname string
	Cwd      string
	// Status are the lines of /proc/self/status, by name.
	Status map[string]string
	// UIDMap is /proc/self/uid_map with single spaces.
	UIDMap string
	// Mounts is /proc/self/mountinfo.
	Mounts []*mountinfo.Info
	// Calls has the outcome of each of the system calls tried, by the names of the
	// functions in calls: "ok", or the error's name as "EPERM".
	Calls map[string]string
	// Files has the content of each of the files asked for, or the error's name.
	Files map[string]string
}

// OK is the outcome of a system call that worked.
const OK = "ok"

// Look makes a report. Files are written in dir only, and in the root directory for the calls
// that say so; files are to be read.
func Look(dir string, files []string) (*Report, error) {
	r := &Report{UID: os.Getuid(), GID: os.Getgid(), Env: os.Environ(), Calls: map[string]string{}, Files: map[string]string{}}
	var err error
	if r.Groups, err = os.Getgroups(); err != nil {
		return nil, err
	}
	if r.Hostname, err = os.Hostname(); err != nil {
		return nil, err
	}
	if r.Cwd, err = os.Getwd(); err != nil {
		return nil, err
	}
	if r.Status, err = status(); err != nil {
		return nil, err
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return nil, err
	}
	r.UIDMap = strings.Join(strings.Fields(string(ids)), " ")
	if r.Mounts, err = mountinfo.GetMounts(nil); err != nil {
		return nil, err
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		r.Files[name] = string(data)
		if err != nil {
			r.Files[name] = errorName(err)
		}
	}
	// Last, because they can unmount things.
	for _, name := range callNames() {
		if r.Calls[name], err = inOwnProcess(name, dir); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Write prints the report for Read.
func (r *Report) Write() error { return json.NewEncoder(os.Stdout).Encode(r) }

// Read parses what Write has printed.
func Read(text string) (*Report, error) {
	r := new(Report)
	if err := json.Unmarshal([]byte(text), r); err != nil {
		return nil, fmt.Errorf("reading the report %q: %w", text, err)
	}
	return r, nil
}

func status() (map[string]string, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	lines := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		lines[name] = strings.TrimSpace(value)
	}
	return lines, nil
}

// inOwnProcess tries a call in a process of its own, since calls change their process.
func inOwnProcess(name, dir string) (string, error) {
	out, err := exec.Command("/proc/self/exe", "try", name, dir).Output()
	if err != nil {
		return "", fmt.Errorf("trying %s: %w", name, err)
	}
	return string(out), nil
}
