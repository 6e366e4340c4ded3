package layer

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestReadTarAgainstModel compares readTar with a filesystem in memory into which the entries
// are unpacked one by one, over random tars of few names, so that they collide a lot.
func TestReadTarAgainstModel(t *testing.T) {
	for seed := range uint64(5000) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var lines []string
		for range 2 + rnd.IntN(8) {
			lines = append(lines, randomLine(rnd))
		}
		spec := strings.Join(lines, "\n")
		want, wantErr := unpackModel(lines)
		if errors.Is(wantErr, errForward) {
			continue
		}
		got, err := readSpec(t, specTar(t, spec))
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("seed %d: tar\n%s\ngave error %v, want %v", seed, spec, err, wantErr)
		}
		if err == nil && got != want {
			t.Fatalf("seed %d: tar\n%s\ngave\n%s\nwant\n%s", seed, spec, got, want)
		}
	}
}

func randomLine(rnd *rand.Rand) string {
	path := func() string {
		parts := make([]string, 1+rnd.IntN(3))
		for i := range parts {
			parts[i] = string("abc"[rnd.IntN(3)])
		}
		return strings.Join(parts, "/")
	}
	switch rnd.IntN(6) {
	case 0, 1:
		return "d " + path()
	case 2, 3:
		return fmt.Sprintf("f %s %d", path(), rnd.IntN(100))
	case 4:
		target := path()
		switch rnd.IntN(4) {
		case 0:
			target = "/" + target
		case 1:
			target = "../" + target
		}
		return "l " + path() + " -> " + target
	default:
		return "h " + path() + " => " + path()
	}
}

// modelInode is a file of the model: line is its description without the path.
type modelInode struct {
	kind    string
	text    string // content or link target
	entries map[string]*modelInode
	listed  bool // a directory that has an entry of its own
	hid     bool // a directory in whose place was a file
}

var errModel = errors.New("cannot be unpacked")

func newModelDir() *modelInode {
	return &modelInode{kind: "d", entries: map[string]*modelInode{}}
}

// unpackModel describes what is there after unpacking, as describe does.
func unpackModel(lines []string) (string, error) {
	root := newModelDir()
	wasFile := map[*modelInode]map[string]bool{}
	for _, line := range lines {
		kind, rest, _ := strings.Cut(line, " ")
		name, arg, _ := strings.Cut(rest, " ")
		arg = strings.TrimPrefix(strings.TrimPrefix(arg, "-> "), "=> ")
		dirPath, last := splitPath(name)
		dir, err := root.walk(dirPath, true)
		if err != nil {
			return "", err
		}
		old := dir.entries[last]
		var made *modelInode
		switch kind {
		case "d":
			made = old
			if old == nil || old.kind != "d" {
				made = newModelDir()
				made.hid = old != nil || wasFile[dir][last]
			}
			made.listed = true
		case "h":
			targetDir, targetName := splitPath(arg)
			from, err := root.walk(targetDir, false)
			if err != nil || from == nil || from.entries[targetName] == nil {
				return "", errForward // the model knows nothing of later targets and lower layers
			}
			made = from.entries[targetName]
			if made.kind == "d" || from == dir && targetName == last || old != nil && old.contains(from) {
				return "", errModel
			}
		default:
			made = &modelInode{kind: kind, text: arg}
		}
		if made.kind != "d" {
			if wasFile[dir] == nil {
				wasFile[dir] = map[string]bool{}
			}
			wasFile[dir][last] = true
		}
		dir.entries[last] = made
	}
	var b strings.Builder
	root.list(&b, "", map[*modelInode]string{})
	return b.String(), nil
}

// errForward marks tars that are beyond the model.
var errForward = errors.New("hard link to what is not there")

func (d *modelInode) contains(other *modelInode) bool {
	if d == other {
		return true
	}
	for _, e := range d.entries {
		if e.kind == "d" && e.contains(other) {
			return true
		}
	}
	return false
}

// walk returns the directory at path; it makes what is missing, or returns nil.
func (d *modelInode) walk(path string, create bool) (*modelInode, error) {
	root, stack := d, []*modelInode{d}
	todo := strings.Split(path, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		here := stack[len(stack)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(stack) == 1 {
				return nil, errModel
			}
			stack = stack[:len(stack)-1]
			continue
		}
		next := here.entries[part]
		switch {
		case next == nil:
			next = newModelDir()
			if create {
				here.entries[part] = next
			}
		case next.kind == "l":
			if links++; links > 40 {
				return nil, errModel
			}
			if strings.HasPrefix(next.text, "/") {
				stack = []*modelInode{root}
			}
			todo = append(strings.Split(next.text, "/"), todo...)
			continue
		case next.kind != "d":
			return nil, errModel
		}
		stack = append(stack, next)
	}
	return stack[len(stack)-1], nil
}

func (d *modelInode) list(b *strings.Builder, path string, seen map[*modelInode]string) {
	for _, name := range slices.Sorted(maps.Keys(d.entries)) {
		e, p := d.entries[name], joinPath(path, name)
		first, again := seen[e]
		seen[e] = p
		switch {
		case e.kind == "d":
			if e.hid {
				fmt.Fprintf(b, "o %s\n", p)
			} else if e.listed {
				fmt.Fprintf(b, "d %s\n", p)
			}
			e.list(b, p, seen)
		case again:
			seen[e] = first
			fmt.Fprintf(b, "h %s => %s\n", p, first)
		case e.kind == "l":
			fmt.Fprintf(b, "l %s -> %s\n", p, e.text)
		default:
			fmt.Fprintf(b, "f %s %s\n", p, e.text)
		}
	}
}
