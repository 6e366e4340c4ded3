package op

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-build/slipway/pkg/tree"
)

// Run implements [Op]. Each output is the tree that its chain of actions started from plus one
// layer, whose files refer to the content of other layers.
func (f *File) Run(ctx context.Context, env *Env, in []Input) ([]*tree.Tree, error) {
	r := newFileRun(f, env, in)
	outputs, err := r.plan()
	if err != nil {
		return nil, err
	}
	trees := make([]*tree.Tree, len(outputs))
	for i, action := range outputs {
		if trees[i], err = r.output(ctx, len(in)+action); err != nil {
			return nil, err
		}
	}
	return trees, nil
}

// fileRun is one execution of a [File].
type fileRun struct {
	op     *File
	env    *Env
	in     []Input
	inputs []*draft      // of in, for reading only; nil until needed
	done   []*fileResult // of the actions
	uses   []int         // how often each action's result is referred to
	noted  []string      // unknown owners that the user was told of
}

func newFileRun(f *File, env *Env, in []Input) *fileRun {
	return &fileRun{
		op: f, env: env, in: in,
		inputs: make([]*draft, len(in)),
		done:   make([]*fileResult, len(f.Actions)),
		uses:   make([]int, len(f.Actions)),
	}
}

// fileResult is what an action leaves behind.
type fileResult struct {
	draft *draft
	base  int // the input that the chain of actions started from, or -1
	// running marks an action that is not finished, to find actions that depend on
	// themselves.
	running bool
}

// plan checks the indexes of all actions, counts references, and returns the action of each
// output.
func (r *fileRun) plan() ([]int, error) {
	limit := len(r.in) + len(r.op.Actions)
	use := func(what string, index, least int) error {
		if index < least || index >= limit {
			return fmt.Errorf("invalid %s index %d, %d provided", what, index, limit)
		}
		if index >= len(r.in) {
			r.uses[index-len(r.in)]++
		}
		return nil
	}
	byOutput := map[int]int{}
	for i := range r.op.Actions {
		a := &r.op.Actions[i]
		if err := use("input", a.Input, -1); err != nil {
			return nil, err
		}
		if err := use("secondary input", a.Secondary, -1); err != nil {
			return nil, err
		}
		for _, p := range a.owner().principals() {
			if p.Name == "" {
				continue
			}
			if err := use("user", p.Input, 0); err != nil {
				return nil, err
			}
		}
		if a.Output == -1 {
			continue
		}
		if _, taken := byOutput[a.Output]; taken {
			return nil, fmt.Errorf("duplicate output %d", a.Output)
		}
		byOutput[a.Output] = i
		r.uses[i]++
	}
	if len(byOutput) == 0 {
		return nil, fmt.Errorf("no outputs specified")
	}
	outputs := make([]int, len(byOutput))
	for o := range outputs {
		i, ok := byOutput[o]
		if !ok {
			return nil, fmt.Errorf("missing output index %d", o)
		}
		outputs[o] = i
	}
	return outputs, nil
}

func (r *fileRun) output(ctx context.Context, index int) (*tree.Tree, error) {
	res, err := r.result(ctx, index)
	if err != nil {
		return nil, err
	}
	var base *tree.Tree
	if res.base >= 0 {
		base = r.in[res.base].Tree
	}
	v, err := base.View(ctx)
	if err != nil {
		return nil, err
	}
	l, err := res.draft.layer(ctx, v)
	if err != nil {
		return nil, err
	}
	return base.Push(l), nil
}

// result returns what an action leaves behind, after running it and all that it takes. Only
// who clones the draft, or is its only user, may change it.
func (r *fileRun) result(ctx context.Context, index int) (*fileResult, error) {
	i := index - len(r.in)
	if r.done[i] == nil {
		r.done[i] = &fileResult{running: true}
		res, err := r.run(ctx, &r.op.Actions[i])
		if err != nil {
			return nil, err
		}
		r.done[i] = res
	}
	if r.done[i].running {
		return nil, fmt.Errorf("file action %d depends on its own result", i)
	}
	return r.done[i], nil
}

// input returns an input for reading; -1 is the empty tree.
func (r *fileRun) input(ctx context.Context, index int) (*draft, error) {
	if index < 0 {
		return r.draft(ctx, nil)
	}
	if r.inputs[index] == nil {
		d, err := r.draft(ctx, r.in[index].Tree)
		if err != nil {
			return nil, err
		}
		r.inputs[index] = d
	}
	return r.inputs[index], nil
}

// noteUnknown tells the user once about each owner that does not exist: the build goes on, as with
// BuildKit, but hardly ever is that what was meant.
func (r *fileRun) noteUnknown(names []string) {
	for _, name := range names {
		if slices.Contains(r.noted, name) || r.env.Stderr == nil {
			continue
		}
		r.noted = append(r.noted, name)
		fmt.Fprintf(r.env.Stderr, "warning: there is no %s in the image: the files get root's\n", name)
	}
}

func (r *fileRun) draft(ctx context.Context, t *tree.Tree) (*draft, error) {
	v, err := t.View(ctx)
	if err != nil {
		return nil, err
	}
	return newDraft(v, r.env.Now), nil
}

func (r *fileRun) run(ctx context.Context, a *FileAction) (*fileResult, error) {
	target, err := r.target(ctx, a.Input)
	if err != nil {
		return nil, err
	}
	own, unknown, err := a.owner().resolve(ctx, r.sources(ctx))
	if err != nil {
		return nil, err
	}
	r.noteUnknown(unknown)
	d := target.draft
	switch {
	case a.Copy != nil:
		src, err := r.source(ctx, a.Secondary)
		if err != nil {
			return nil, err
		}
		c := copyAction{Copy: a.Copy, env: r.env, src: src, dst: d, own: own, summed: r.onlyRead(a.Secondary)}
		return target, r.missingIn(a.Secondary, c.run(ctx))
	case a.Mkdir != nil:
		return target, a.Mkdir.apply(d, own)
	case a.Mkfile != nil:
		return target, a.Mkfile.apply(d, own)
	}
	return nil, fmt.Errorf("file action of no known type")
}

// missingIn adds to a NotFoundError which input, if it is one, lacks the path.
func (r *fileRun) missingIn(index int, err error) error {
	var missing *NotFoundError
	if errors.As(err, &missing) && index >= 0 && index < len(r.in) {
		missing.In = r.in[index].Name
	}
	return err
}

// onlyRead reports whether an index is that of an input that no action changes: its content, not
// its key, goes into the cache key.
func (r *fileRun) onlyRead(index int) bool {
	if index < 0 || index >= len(r.in) {
		return false
	}
	return !slices.ContainsFunc(r.op.Actions, func(a FileAction) bool { return a.Input == index })
}

// target returns a state that may be changed.
func (r *fileRun) target(ctx context.Context, index int) (*fileResult, error) {
	if index < len(r.in) {
		var t *tree.Tree
		if index >= 0 {
			t = r.in[index].Tree
		}
		d, err := r.draft(ctx, t)
		return &fileResult{draft: d, base: index}, err
	}
	res, err := r.result(ctx, index)
	if err != nil || r.uses[index-len(r.in)] == 1 {
		return res, err
	}
	return &fileResult{draft: res.draft.clone(), base: res.base}, nil
}

// source returns the state of an index for reading.
func (r *fileRun) source(ctx context.Context, index int) (*draft, error) {
	if index < len(r.in) {
		return r.input(ctx, index)
	}
	res, err := r.result(ctx, index)
	if err != nil {
		return nil, err
	}
	return res.draft, nil
}

// sources is source as the lookup of owners takes it.
func (r *fileRun) sources(ctx context.Context) func(int) (*draft, error) {
	return func(index int) (*draft, error) { return r.source(ctx, index) }
}

// owner is the owner that the action gives to what it makes.
func (a *FileAction) owner() *Owner {
	switch {
	case a.Copy != nil:
		return a.Copy.Owner
	case a.Mkdir != nil:
		return a.Mkdir.Owner
	case a.Mkfile != nil:
		return a.Mkfile.Owner
	}
	return nil
}

// principals are the parts of an owner that are set.
func (o *Owner) principals() []*Principal {
	if o == nil {
		return nil
	}
	var ps []*Principal
	for _, p := range []*Principal{o.User, o.Group} {
		if p != nil {
			ps = append(ps, p)
		}
	}
	return ps
}
