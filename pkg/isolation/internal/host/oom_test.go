package host

import (
	"slices"
	"testing"
)

func TestOOMCount(t *testing.T) {
	for _, c := range []struct {
		name, data string
		want       int
		ok         bool
	}{
		{"cgroup v2", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n", 2, true},
		{"cgroup v1", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5, true},
		{"old kernel", "oom_kill_disable 0\nunder_oom 0\n", 0, false},
		{"no number", "oom_kill many\n", 0, false},
		{"nothing", "", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := oomCount(c.data); got != c.want || ok != c.ok {
				t.Errorf("got %d, %v, want %d, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestOOMFiles(t *testing.T) {
	const v2, v1 = "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"
	for _, c := range []struct {
		name, own string
		want      []string
	}{
		{"cgroup v2", "0::/kubepods/pod1\n", []string{"/sys/fs/cgroup/kubepods/pod1/memory.events", v2, v1}},
		{"cgroup v2 in a namespace", "0::/\n", []string{v2, v2, v1}},
		{"cgroup v1", "5:cpu,cpuacct:/a\n4:memory:/b\n0::/c\n", []string{"/sys/fs/cgroup/memory/b/memory.oom_control", "/sys/fs/cgroup/c/memory.events", v2, v1}},
		{"outside of the namespace", "0::/../../x\n", []string{v2, v1}},
		{"unreadable", "", []string{v2, v1}},
		{"garbage", "::\nx\n", []string{v2, v1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := oomFiles(c.own); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
