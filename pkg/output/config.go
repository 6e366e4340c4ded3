package output

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	"github.com/tonistiigi/go-csvvalue"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/registry"
)

// Type is the kind of an output, by its name in --output.
type Type string

// The types.
const (
	TypeRegistry Type = "registry" // also type=image,push=true
	TypeOCI      Type = "oci"      // a tar of a layout, or with tar=false the layout itself
	TypeDocker   Type = "docker"   // a tar for "docker load"
	TypeTar      Type = "tar"      // the root filesystem as a tar
	TypeLocal    Type = "local"    // the root filesystem as files
)

// Config is a parsed --output.
type Config struct {
	Type Type
	// Dest is the file or directory; "-" is the standard output.
	Dest string
	// Names are the image's names; empty: those of --tag.
	Names []string
	// ByDigest pushes without a tag.
	ByDigest bool
	// Insecure allows plain HTTP for the registries of this output.
	Insecure bool
	// Directory is tar=false: a layout directory instead of a tar.
	Directory bool
	// Split gives each platform a directory (platform-split); nil: if there are several.
	Split *bool
	// Image is what the output asks of the image: media types, compression, annotations.
	Image image.Options
	// Notes are remarks for the user about attributes that have no effect here.
	Notes []string
}

// Parse reads an --output in the syntax of buildx: "type=TYPE,KEY=VALUE,…" as one line of CSV,
// or only a path, which stands for type=local, and "-" for type=tar on the standard
// output.
func Parse(s string) (*Config, error) {
	c, err := parse(s)
	if err != nil {
		return nil, fmt.Errorf("--output %q: %w", s, err)
	}
	return c, nil
}

func parse(s string) (*Config, error) {
	if s == "" {
		return nil, errors.New("it is empty")
	}
	fields, err := csvvalue.Fields(s, nil)
	if err != nil {
		return nil, err
	}
	if len(fields) == 1 && fields[0] == s && !isAttribute(s) {
		return short(s), nil
	}
	p := parser{config: &Config{}}
	for _, f := range fields {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not of the form KEY=VALUE", f)
		}
		if err := p.set(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(key), value); err != nil {
			return nil, err
		}
	}
	return p.finish()
}

// short is the form without keys.
func short(dest string) *Config {
	if dest == standardOutput {
		return &Config{Type: TypeTar, Dest: dest}
	}
	return &Config{Type: TypeLocal, Dest: dest}
}

// isAttribute tells "dest=x", whose type was forgotten, from the path "a=b".
func isAttribute(s string) bool {
	key, _, ok := strings.Cut(strings.ToLower(s), "=")
	_, known := attributes()[strings.TrimSpace(key)]
	return ok && known
}

type parser struct {
	config *Config
	push   *bool
	image  bool // type=image
	level  *int
	keys   []string
}

// set takes one attribute. Annotations keep the case of their key.
func (p *parser) set(key, verbatim, value string) error {
	if image.IsAnnotationKey(key) {
		a, err := image.ParseAnnotationKey(verbatim, value)
		if err != nil {
			return err
		}
		p.config.Image.Annotations = append(p.config.Image.Annotations, a)
		return nil
	}
	a, ok := attributes()[key]
	if !ok {
		return fmt.Errorf("unknown key %q%s", verbatim, suggestion(key))
	}
	p.keys = append(p.keys, key)
	if err := a.set(p, value); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// attribute is a key that outputs know.
type attribute struct {
	types string // the types that it makes sense for, "" for all that write an image
	set   func(p *parser, value string) error
}

// files are the types that write a filesystem instead of an image.
const files = "tar local"

// attributes is the table of keys. Annotations are beside it.
func attributes() map[string]attribute {
	return map[string]attribute{
		"type": {"*", (*parser).setType},
		"dest": {"oci docker tar local", func(p *parser, v string) error { p.config.Dest = v; return nil }},
		"name": {"", func(p *parser, v string) error {
			for n := range strings.SplitSeq(v, ",") {
				if n != "" {
					p.config.Names = append(p.config.Names, n)
				}
			}
			return nil
		}},
		"push":              {"registry", func(p *parser, v string) error { p.push = new(bool); return parseBool(p.push, v) }},
		"push-by-digest":    {"registry", func(p *parser, v string) error { return parseBool(&p.config.ByDigest, v) }},
		"registry.insecure": {"registry", func(p *parser, v string) error { return parseBool(&p.config.Insecure, v) }},
		"tar": {"oci docker", func(p *parser, v string) error {
			isTar := true
			err := parseBool(&isTar, v)
			p.config.Directory = !isTar
			return err
		}},
		"platform-split": {files, func(p *parser, v string) error { p.config.Split = new(bool); return parseBool(p.config.Split, v) }},
		"compression": {"", func(p *parser, v string) (err error) {
			p.config.Image.Compression.Algorithm, err = compression.Parse(v)
			return err
		}},
		"compression-level": {"", func(p *parser, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil {
				return fmt.Errorf("%q is no number", v)
			}
			p.level = &n
			return nil
		}},
		"oci-mediatypes": {"", func(p *parser, v string) error {
			oci := true
			err := parseBool(&oci, v)
			p.config.Image.Docker = !oci
			return err
		}},
		"rewrite-timestamp": {"", func(p *parser, v string) error {
			rewrite := true
			err := parseBool(&rewrite, v)
			p.config.Image.KeepLayerTimes = !rewrite
			return err
		}},
		"source-date-epoch": {"*", func(p *parser, v string) error {
			p.config.Image.OwnEpoch = true
			if v == "" {
				return nil
			}
			seconds, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return fmt.Errorf("%q is no number of seconds", v)
			}
			epoch := time.Unix(seconds, 0).UTC()
			p.config.Image.Epoch = &epoch
			return nil
		}},
		"prefer-nondist-layers": {"", func(p *parser, v string) error { return parseBool(&p.config.Image.KeepForeign, v) }},

		// What asks for the impossible is refused; what asks for nothing is accepted.
		"force-compression": {"", onlyFalse("base layers keep their compression")},
		"mode":              {"local", onlyValue("copy", "files that are not in the image are never removed")},
		"store":             {"", (*parser).withoutEffect},
		"unpack":            {"", (*parser).withoutEffect},
		"name-canonical":    {"", (*parser).withoutEffect},
	}
}

func (p *parser) setType(v string) error {
	switch v {
	case "image":
		p.image = true
		p.config.Type = TypeRegistry
	case "registry", "oci", "docker", "tar", "local":
		p.config.Type = Type(v)
	default:
		return fmt.Errorf("unknown type %q: use registry, image, oci, docker, tar or local", v)
	}
	return nil
}

func (p *parser) withoutEffect(string) error {
	key := p.keys[len(p.keys)-1]
	p.config.Notes = append(p.config.Notes, key+" concerns an image store, which does not exist here: it has no effect")
	return nil
}

func onlyFalse(why string) func(*parser, string) error {
	return func(_ *parser, v string) error {
		on := false
		if err := parseBool(&on, v); err != nil {
			return err
		}
		if on {
			return errors.New("not supported: " + why)
		}
		return nil
	}
}

func onlyValue(value, why string) func(*parser, string) error {
	return func(_ *parser, v string) error {
		if v != value {
			return fmt.Errorf("%q is not supported: %s", v, why)
		}
		return nil
	}
}

func parseBool(b *bool, v string) (err error) {
	if *b, err = strconv.ParseBool(v); err != nil {
		return fmt.Errorf("%q is neither true nor false", v)
	}
	return nil
}

// finish checks that the attributes fit together.
func (p *parser) finish() (*Config, error) {
	c := p.config
	if c.Type == "" {
		return nil, errors.New("type is missing: use type=registry, oci, docker, tar or local")
	}
	for _, key := range p.keys {
		if !attributes()[key].fits(c.Type) {
			return nil, fmt.Errorf("%s makes no sense with type=%s", key, c.Type)
		}
	}
	if len(c.Image.Annotations) > 0 && strings.Contains(files, string(c.Type)) {
		return nil, fmt.Errorf("annotations make no sense with type=%s", c.Type)
	}
	if err := p.finishDest(); err != nil {
		return nil, err
	}
	p.finishLevel()
	if err := c.Image.Compression.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

func (p *parser) finishDest() error {
	c := p.config
	pushes := p.push != nil && *p.push
	switch {
	case c.Type == TypeRegistry && p.image && !pushes:
		return errors.New("there is no image store to keep the image in: add push=true, or use type=oci")
	case c.Type == TypeRegistry && p.push != nil && !pushes:
		return errors.New("type=registry with push=false does nothing")
	case c.Type == TypeRegistry:
		return nil
	case c.Type == TypeDocker && c.Directory:
		return errors.New("docker load reads no directories: use type=oci,tar=false")
	case c.Dest == "" && c.Type == TypeDocker:
		return errors.New("there is no Docker daemon to load into: add dest=FILE, or dest=- for the standard output")
	case c.Dest == "":
		return errors.New("dest is missing")
	case c.Dest == standardOutput && (c.Type == TypeLocal || c.Directory):
		return errors.New("a directory cannot be written to the standard output: use type=tar")
	}
	return nil
}

// finishLevel translates the level: for BuildKit 0 is one, for us the default is.
func (p *parser) finishLevel() {
	if p.level == nil {
		return
	}
	o := &p.config.Image.Compression
	o.Level = *p.level
	if o.Level == 0 {
		switch o.Algorithm {
		case compression.Gzip:
			o.Level = compression.Stored
		case compression.Zstd:
			o.Level = 1
		}
	}
}

func (a attribute) fits(t Type) bool {
	switch a.types {
	case "*":
		return true
	case "":
		return !strings.Contains(files, string(t))
	}
	return strings.Contains(a.types, string(t))
}

// suggestion names the key that was meant, if there is one.
func suggestion(key string) string {
	best, distance := "", 4
	for k := range attributes() {
		if d := levenshtein.Distance(key, k, nil); d < distance || (d == distance && k < best) {
			best, distance = k, d
		}
	}
	if best == "" || distance >= len(key) {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// New returns the output that c describes. names are the image's names where c has none of its own.
func New(c *Config, client *registry.Client, stdout io.Writer, names []string) (Output, error) {
	if len(c.Names) > 0 {
		names = c.Names
	}
	switch c.Type {
	case TypeRegistry:
		return NewRegistry(client, names, c.ByDigest)
	case TypeOCI:
		if c.Directory {
			return NewLayout(c.Dest, names)
		}
		return NewArchive(c.Dest, stdout, names, false)
	case TypeDocker:
		return NewArchive(c.Dest, stdout, names, true)
	case TypeTar:
		return NewTar(c.Dest, stdout), nil
	case TypeLocal:
		return NewLocal(c.Dest, c.Split), nil
	}
	return nil, fmt.Errorf("unknown output type %q", c.Type)
}
