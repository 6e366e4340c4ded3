package op

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Exec is RUN.
type Exec struct {
	Args, Env []string
	Cwd, User string
	Hostname  string
	// ProxyEnv reaches the process but neither the key nor the image.
	ProxyEnv  []string
	Hosts     []isolation.Host
	Ulimits   []isolation.Ulimit
	Network   isolation.Network
	Insecure  bool
	SecretEnv []SecretEnv
	Mounts    []ExecMount
	// FreshCaches asks that cache mounts have nothing from builds before; see Env.Fresh.
	FreshCaches bool
	// AbsentDevices are the optional devices that the process goes without.
	AbsentDevices []string
	CgroupParent  string
	Resources     *isolation.Resources
	Platform      Platform
}

// SecretEnv passes a secret as an environment variable.
type SecretEnv struct {
	ID, Name string
	Optional bool
}

// ExecMount is one mount of an [Exec]; the one at "/" is the root.
type ExecMount struct {
	Type     isolation.MountType
	Input    int // index of the vertex's input, -1 for none
	Output   int // index of the output, -1 to discard the changes
	Selector string
	Dest     string
	ReadOnly bool

	CacheID string
	Sharing CacheSharing

	TmpfsSize int64 // bytes

	SecretID string // also the id of an ssh agent
	Optional bool
	UID, GID uint32
	Mode     uint32
}

// CacheSharing says what happens when two RUNs use one cache mount at the same time.
type CacheSharing uint8

// The values of --mount=type=cache,sharing=.
const (
	CacheShared  CacheSharing = iota // both use it
	CachePrivate                     // the second gets another one
	CacheLocked                      // the second waits
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (m *ExecMount) isRoot() bool { return m.Dest == "/" }

// hasOutput reports whether the mount's changes are asked for. Secrets and agents carry an
// output number in LLB that means nothing.
func (m *ExecMount) hasOutput() bool {
	return m.Type == isolation.MountBind && m.Output >= 0 && !m.ReadOnly
}

// byContent reports whether the content of the mount's input counts in the key.
func (m *ExecMount) byContent() bool {
	return !m.isRoot() && !m.hasOutput() && m.Type != isolation.MountCache
}

// Key implements Op. The root counts by its own key, other trees that the process can only read
// by their content. Addresses in /etc/hosts, proxies, resource limits and the values of
// secrets are left out.
func (e *Exec) Key(ctx context.Context, _ *Env, in []Input) (Key, error) {
	h := newKey("exec").traced(ctx).
		part("the platform").str(e.Platform.String()).
		part("the command").strs(e.Args).
		part("the environment").strs(e.Env).
		part("the working directory").str(e.Cwd).
		part("the user").str(e.User).
		part("the host name").str(e.Hostname).
		part("network, security or cgroup").int(int64(e.Network)).bool(e.Insecure).str(e.CgroupParent)
	h.part("--add-host").int(int64(len(e.Hosts)))
	for _, host := range e.Hosts {
		h.str(host.Name)
	}
	h.part("--ulimit").int(int64(len(e.Ulimits)))
	for _, u := range e.Ulimits {
		h.str(u.Name).int(u.Soft).int(u.Hard)
	}
	h.part("secrets in variables").int(int64(len(e.SecretEnv)))
	for _, s := range e.SecretEnv {
		h.str(s.ID).str(s.Name).bool(s.Optional)
	}
	h.part("the number of mounts").int(int64(len(e.Mounts)))
	for i := range e.Mounts {
		if err := e.Mounts[i].addKey(ctx, h, in); err != nil {
			return Key{}, err
		}
	}
	return h.sum(), nil
}

// belowLabel is the part of a key that is the key of the step below.
const belowLabel = "the step below"

func (m *ExecMount) addKey(ctx context.Context, h *keyHash, in []Input) error {
	h.part("the options of the mount " + m.Dest).int(int64(m.Type)).str(m.Dest).bool(m.ReadOnly).int(int64(m.Output)).
		str(m.CacheID).int(int64(m.Sharing)).int(m.TmpfsSize).
		str(m.SecretID).bool(m.Optional).int(int64(m.UID)).int(int64(m.GID)).int(int64(m.Mode))
	if m.Input < 0 {
		h.str("none")
		return nil
	}
	if m.isRoot() {
		h.part(belowLabel)
	} else {
		h.part("what is mounted at " + m.Dest)
	}
	if m.Input >= len(in) {
		return fmt.Errorf("mount %s: there is no input %d", m.Dest, m.Input)
	}
	if !m.byContent() || in[m.Input].ByKey {
		k, err := in[m.Input].Key(ctx)
		if err != nil {
			return err
		}
		h.str("key").key(k).str(m.Selector)
		return nil
	}
	v, err := in[m.Input].Tree.View(ctx)
	if err != nil {
		return err
	}
	sum, err := v.Digest(ctx, m.Selector)
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.Dest, err)
	}
	h.str("content").key(sum)
	return nil
}

// Permitted reports whether whoever starts the build allows what e asks for beyond the usual.
func (e *Exec) Permitted(env *Env) error {
	if e.Insecure && !env.AllowInsecure {
		return errors.New("entitlement security.insecure is not allowed: RUN --security=insecure needs it, and whoever starts the build can give it with --allow security.insecure")
	}
	if e.Network == isolation.NetworkHost && !env.AllowHostNetwork {
		return errors.New("entitlement network.host is not allowed: RUN --network=host needs it, and whoever starts the build can give it with --allow network.host")
	}
	if env.Hermetic && (e.Network != isolation.NetworkNone || e.Insecure) {
		return errors.New("the build is hermetic: RUN has no network, and can ask neither for one (--network) nor for privileges that give it one (--security=insecure)")
	}
	return nil
}

// Demands are the part of e's process that not every pod can give, and that is to be known before anything is run: a control group of its
// own and, for hermetic builds, no network; nil if there is none.
func (e *Exec) Demands(env *Env) *isolation.Process {
	if e.CgroupParent == "" && (e.Resources == nil || *e.Resources == isolation.Resources{}) && !env.Hermetic {
		return nil
	}
	return &isolation.Process{Args: e.Args, Cwd: e.Cwd, CgroupParent: e.CgroupParent, Resources: e.Resources, Network: e.Network}
}

// Run implements Op.
func (e *Exec) Run(ctx context.Context, env *Env, in []Input) ([]*tree.Tree, error) {
	if err := e.Permitted(env); err != nil {
		return nil, err
	}
	for _, name := range e.AbsentDevices {
		if env.Stderr == nil {
			break
		}
		if _, err := fmt.Fprintf(env.Stderr, "optional device %s is left out: Slipway has no CDI devices\n", name); err != nil {
			return nil, err
		}
	}
	p, release, err := e.process(ctx, env, in)
	if err != nil {
		return nil, err
	}
	defer release()
	changes, err := env.Isolation.Run(ctx, p.Process)
	if err != nil {
		return nil, err
	}
	return e.outputs(p, in, changes)
}

// process is what the backend is asked to run, and which of its mounts came from which of ours.
type process struct {
	*isolation.Process
	origin []int // by index into Process.Mounts: index into Exec.Mounts
}

// process prepares the call of the backend; release gives back the caches that it holds.
func (e *Exec) process(ctx context.Context, env *Env, in []Input) (_ *process, release func(), err error) {
	p := &process{Process: &isolation.Process{
		Args: e.Args, Cwd: e.Cwd,
		Hostname: e.Hostname, Hosts: e.Hosts, Network: e.Network, Insecure: e.Insecure,
		Ulimits: e.Ulimits, CgroupParent: e.CgroupParent, Resources: e.Resources,
		Stdout: env.Stdout, Stderr: env.Stderr,
	}}
	caches, release, err := e.holdCaches(ctx, env, in)
	if err != nil {
		return nil, nil, err
	}
	if err := e.fill(ctx, env, p, in, caches); err != nil {
		release()
		return nil, nil, err
	}
	return p, release, nil
}

// fill adds the mounts, the user and the environment to p.
func (e *Exec) fill(ctx context.Context, env *Env, p *process, in []Input, caches map[int]string) error {
	for i := range e.Mounts {
		m := &e.Mounts[i]
		if m.Input >= len(in) {
			return fmt.Errorf("mount %s: there is no input %d", m.Dest, m.Input)
		}
		if m.isRoot() {
			if m.Selector != "" && m.Selector != "/" {
				return fmt.Errorf("a root filesystem below %s of its image is not supported", m.Selector)
			}
			if m.Input >= 0 {
				p.Root = in[m.Input].Tree
			}
			continue
		}
		if m.Type == isolation.MountTmpfs && m.Dest == "/dev/shm" && m.TmpfsSize > 0 {
			p.ShmSize = m.TmpfsSize
			continue
		}
		mount, err := m.mount(ctx, env, in, caches[i])
		if err != nil {
			return err
		}
		if mount != nil {
			p.Mounts = append(p.Mounts, *mount)
			p.origin = append(p.origin, i)
		}
	}
	view, err := p.Root.View(ctx)
	if err != nil {
		return err
	}
	if p.User, err = view.User(ctx, e.User); err != nil {
		return err
	}
	p.Env, err = e.environ(ctx, env, p.User)
	return err
}

// environ is the whole environment of the process: the image's, and what Docker adds to it.
func (e *Exec) environ(ctx context.Context, env *Env, user tree.User) ([]string, error) {
	vars := slices.Clone(e.Env)
	for _, kv := range e.ProxyEnv {
		name, value, _ := strings.Cut(kv, "=")
		for _, n := range []string{strings.ToUpper(name), strings.ToLower(name)} {
			if !hasVar(vars, n) {
				vars = append(vars, n+"="+value)
			}
		}
	}
	for _, s := range e.SecretEnv {
		value, err := secret(ctx, env, s.ID, s.Optional)
		if err != nil {
			return nil, err
		}
		if value != nil {
			vars = append(vars, s.Name+"="+string(value))
		}
	}
	if !hasVar(vars, "PATH") {
		vars = append(vars, "PATH="+defaultPath)
	}
	if !hasVar(vars, "HOME") {
		vars = append(vars, "HOME="+user.Home)
	}
	return vars, nil
}

func hasVar(vars []string, name string) bool {
	return slices.ContainsFunc(vars, func(kv string) bool {
		return len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name
	})
}

// secret returns a secret's value, nil for an optional one that was not given.
func secret(ctx context.Context, env *Env, id string, optional bool) ([]byte, error) {
	value, err := env.Secrets.Secret(ctx, id)
	switch {
	case err == nil && value == nil:
		return []byte{}, nil
	case errors.Is(err, fs.ErrNotExist) && optional:
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("secret %s: not found, and it is required: add --secret id=%s,src=FILE", id, id)
	}
	return value, err
}

// outputs stacks what changed onto the trees that the outputs started from.
func (e *Exec) outputs(p *process, in []Input, c *isolation.Changes) ([]*tree.Tree, error) {
	var trees []*tree.Tree
	set := func(i int, t *tree.Tree) {
		for len(trees) <= i {
			trees = append(trees, nil)
		}
		trees[i] = t
	}
	for i := range e.Mounts {
		m := &e.Mounts[i]
		if !m.hasOutput() {
			continue
		}
		if m.isRoot() {
			set(m.Output, p.Root.Push(c.Root))
			continue
		}
		l := c.Outputs[slices.Index(p.origin, i)]
		if l == nil {
			return nil, fmt.Errorf("mount %s: the backend returned no changes", m.Dest)
		}
		var base *tree.Tree
		if m.Input >= 0 {
			base = in[m.Input].Tree
		}
		set(m.Output, base.Push(l))
	}
	return trees, nil
}
