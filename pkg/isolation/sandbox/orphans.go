package sandbox

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes this process the parent of what kernels leave behind: the processes in which systrap executes code, which end with
// their kernel. Where nobody takes note of that, as process 1 of most pods does not, they would count against the
// pod's limit of processes.
func adoptOrphans() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// orphansTime is how long what a kernel leaves behind may take to end. It has been killed by then.
const orphansTime = time.Second

// reapOrphans takes note of the end of what kernels have left behind.
func reapOrphans() {
	groups := map[int]bool{}
	for _, p := range children() {
		// A kernel's processes are in a group of their own, which one of them leads; a kernel is alone in its own.
		if p.group != p.pid && p.group != unix.Getpgrp() {
			groups[p.group] = true
		}
	}
	deadline := time.Now().Add(orphansTime)
	for group := range groups {
		for time.Now().Before(deadline) {
			pid, err := unix.Wait4(-group, nil, unix.WNOHANG, nil)
			if pid == 0 && err == nil {
				time.Sleep(time.Millisecond)
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				break // there is none
			}
		}
	}
}

// child is a process whose parent is this one.
type child struct{ pid, group int }

// children lists those that /proc shows.
func children() []child {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []child
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it is gone
		}
		// PID (NAME) STATE PARENT GROUP …, where NAME may have anything in it: proc_pid_stat(5).
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 3 || string(fields[1]) != strconv.Itoa(os.Getpid()) {
			continue
		}
		if group, err := strconv.Atoi(string(fields[2])); err == nil {
			all = append(all, child{pid, group})
		}
	}
	return all
}
