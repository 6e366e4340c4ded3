package sbom

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/purl"

	"github.com/slipway-build/slipway/pkg/tree"
)

// moduleFile describes a module of npm, in its directory.
const moduleFile = "package.json"

// wantsModule is about the description of an installed module: of a directory directly in a
// node_modules, and of a project with a node_modules beside. What else is called package.json are
// templates, tests, and parts of modules. Lock files say what would be installed and not what is,
// so they do not count.
func wantsModule(f *file, v *tree.View) bool {
	if path.Base(f.path) != moduleFile {
		return false
	}
	dir := path.Dir(f.path)
	if inModules(path.Dir(dir)) {
		return !strings.HasPrefix(path.Base(dir), ".")
	}
	if slices.Contains(strings.Split(dir, "/"), "node_modules") {
		return false
	}
	modules, err := v.Lookup(path.Join(dir, "node_modules"))
	return err == nil && modules.IsDir()
}

// inModules reports whether the directories in dir are modules.
func inModules(dir string) bool {
	if strings.HasPrefix(path.Base(dir), "@") { // a scope
		dir = path.Dir(dir)
	}
	// The second is where Debian installs modules.
	return path.Base(dir) == "node_modules" || dir == "usr/share/nodejs"
}

// npmPackages reads the description of a module. Unlike scalibr's extractor it takes the licence, too,
// and does not give up on a module because of fields that mean nothing here.
func npmPackages(_ context.Context, in *filesystem.ScanInput, _ *content) ([]*extractor.Package, error) {
	data, err := io.ReadAll(in.Reader)
	if err != nil {
		return nil, err
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	name, version := text(m["name"]), text(m["version"])
	if name == "" {
		return nil, nil
	}
	p := &extractor.Package{
		Name: name, Version: version, PURLType: purl.TypeNPM,
		Location: extractor.LocationFromPath(in.Path),
	}
	if l := npmLicense(m); l != "" {
		p.Licenses = []string{l}
	}
	return []*extractor.Package{p}, nil
}

// npmLicense is the licence of a module: an expression, or in one of the forms of old.
func npmLicense(m map[string]json.RawMessage) string {
	if l := licenseName(m["license"]); l != "" {
		return l
	}
	var list []json.RawMessage
	if err := json.Unmarshal(m["licenses"], &list); err != nil {
		return licenseName(m["licenses"])
	}
	var names []string
	for _, raw := range list {
		if l := licenseName(raw); l != "" {
			names = append(names, l)
		}
	}
	if len(names) > 1 {
		return "(" + strings.Join(names, " OR ") + ")"
	}
	return strings.Join(names, "")
}

// licenseName is a licence as a string, or as an object with a type.
func licenseName(raw json.RawMessage) string {
	if l := text(raw); l != "" {
		return l
	}
	var o map[string]json.RawMessage
	if err := json.Unmarshal(raw, &o); err != nil {
		return ""
	}
	return text(o["type"])
}

// text is a JSON string, "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return ""
	}
	return strings.TrimSpace(s)
}
