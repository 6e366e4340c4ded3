package golden

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// goldenCase is one file of testdata: what is built, and what has to come out. README.md describes the
// sections.
type goldenCase struct {
	name    string
	file    string
	archive *txtar.Archive
	digest  string // of what the namespace isolation has built
}

// The sections of a case that are not input files.
const (
	sectionArgs    = "args"  // flags, one a line
	sectionEnv     = "env"   // environment of the build, one NAME=value a line
	sectionFiles   = "files" // what text files cannot say, see fileSpec
	sectionError   = "want.error"
	wantPrefix     = "want."    // what has to come out; with the name of another backend before it, how that differs
	knownPrefix    = "known."   // how others differ
	archivePrefix  = "archive/" // archives that the harness makes, see fileSpec
	registryName   = "registry.test"
	dockerfileName = "Dockerfile"
)

// loadCases reads all cases, sorted by name.
func loadCases(t *testing.T) []*goldenCase {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var cases []*goldenCase
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, &goldenCase{
			name:    strings.TrimSuffix(filepath.Base(file), ".txtar"),
			file:    file,
			archive: archive,
		})
	}
	return cases
}

// section returns the text of a section and whether the case has it.
func (c *goldenCase) section(name string) (string, bool) {
	i := slices.IndexFunc(c.archive.Files, func(f txtar.File) bool { return f.Name == name })
	if i < 0 {
		return "", false
	}
	return string(c.archive.Files[i].Data), true
}

// lines returns the lines of a section that are neither empty nor comments.
func (c *goldenCase) lines(name string) []string {
	text, _ := c.section(name)
	return contentLines(text)
}

func contentLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// wants returns what has to come out, by section name.
func (c *goldenCase) wants() map[string]string {
	wants := map[string]string{}
	for _, f := range c.archive.Files {
		if strings.HasPrefix(f.Name, wantPrefix) {
			wants[f.Name] = string(f.Data)
		}
	}
	return wants
}

// wantsUnder returns what has to come out under another backend: the same but for what the case says.
func (c *goldenCase) wantsUnder(backend string) map[string]string {
	wants := c.wants()
	for _, f := range c.archive.Files {
		name, ok := strings.CutPrefix(f.Name, backend+".")
		switch {
		case ok && name == sectionError:
			return map[string]string{name: string(f.Data)}
		case ok:
			wants[name] = string(f.Data)
		}
	}
	return wants
}

// ofBackend reports whether a section says how another backend differs.
func ofBackend(section string) bool {
	return slices.ContainsFunc(backends(), func(b backend) bool { return strings.HasPrefix(section, b.name+".") })
}

// wantsError reports whether the build has to fail.
func (c *goldenCase) wantsError() bool {
	_, ok := c.section(sectionError)
	return ok
}

// has reports whether an instruction is used anywhere in the case.
func (c *goldenCase) has(instruction string) bool {
	for _, f := range c.archive.Files {
		if !strings.HasSuffix(f.Name, dockerfileName) {
			continue
		}
		for line := range strings.Lines(string(f.Data)) {
			if strings.HasPrefix(strings.ToUpper(strings.TrimSpace(line)), instruction+" ") {
				return true
			}
		}
	}
	return false
}

// runs reports whether a process is run in the case, or would be if it did not have to fail before. The
// triggers of the image onbuild are such, too.
func (c *goldenCase) runs() bool {
	return c.has("RUN") || slices.ContainsFunc(c.archive.Files, func(f txtar.File) bool {
		return strings.HasSuffix(f.Name, dockerfileName) && strings.Contains(string(f.Data), registryName+"/onbuild")
	})
}

// hasFlag reports whether a flag is among the case's arguments.
func (c *goldenCase) hasFlag(name string) bool {
	return slices.ContainsFunc(c.lines(sectionArgs), func(arg string) bool { return strings.HasPrefix(arg, name+"=") })
}

// setup writes the input of the case into dir. The name registry.test stands for the registry
// with the base images.
func (c *goldenCase) setup(dir string, bases *bases) error {
	if err := os.MkdirAll(filepath.Join(dir, "context"), 0o755); err != nil {
		return err
	}
	var archives []txtar.File
	for _, f := range c.archive.Files {
		text := strings.ReplaceAll(string(f.Data), registryName, bases.host)
		switch {
		case strings.HasPrefix(f.Name, wantPrefix), strings.HasPrefix(f.Name, knownPrefix), ofBackend(f.Name), slices.Contains([]string{sectionArgs, sectionEnv, sectionFiles}, f.Name):
		case strings.HasPrefix(f.Name, archivePrefix):
			archives = append(archives, txtar.File{Name: strings.TrimPrefix(f.Name, archivePrefix), Data: []byte(text)})
		default:
			if err := writeFile(filepath.Join(dir, f.Name), []byte(text)); err != nil {
				return err
			}
		}
	}
	for _, f := range archives {
		specs, err := parseFileSpecs(string(f.Data))
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		data, err := makeArchive(f.Name, specs)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if err := writeFile(filepath.Join(dir, f.Name), data); err != nil {
			return err
		}
	}
	text, _ := c.section(sectionFiles)
	specs, err := parseFileSpecs(text)
	if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	for _, s := range specs {
		if err := s.write(dir, bases); err != nil {
			return fmt.Errorf("files: %s: %w", s.path, err)
		}
	}
	return setDefaultTimes(dir, specs)
}

// save writes the case's file.
func (c *goldenCase) save() error { return os.WriteFile(c.file, txtar.Format(c.archive), 0o644) }

// update writes what came out into the case's file.
func (c *goldenCase) update(got map[string]string) error { return c.replace(wantPrefix, got) }

// updateUnder writes what comes out differently under another backend into the case's file.
func (c *goldenCase) updateUnder(backend string, got map[string]string) error {
	wants, differ := c.wants(), map[string]string{}
	for name, text := range got {
		if wants[name] != text {
			differ[backend+"."+name] = text
		}
	}
	return c.replace(backend+".", differ)
}

// replace puts sections in place of all those with a prefix.
func (c *goldenCase) replace(prefix string, sections map[string]string) error {
	c.archive.Files = slices.DeleteFunc(c.archive.Files, func(f txtar.File) bool { return strings.HasPrefix(f.Name, prefix) })
	for name, text := range sections {
		c.archive.Files = append(c.archive.Files, txtar.File{Name: name, Data: []byte(text)})
	}
	rank := func(f txtar.File) int {
		switch {
		case ofBackend(f.Name):
			return 3
		case !strings.HasPrefix(f.Name, wantPrefix):
			return 0
		case strings.HasSuffix(f.Name, ".tree"):
			return 1
		}
		return 2
	}
	slices.SortStableFunc(c.archive.Files, func(a, b txtar.File) int {
		if ra, rb := rank(a), rank(b); ra != rb || ra == 0 {
			return cmp.Compare(ra, rb)
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return c.save()
}

func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
