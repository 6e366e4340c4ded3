package provenance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Options say what provenance tells.
type Options struct {
	// Max adds build arguments, labels, ids of secrets, the Dockerfile and the whole build graph.
	Max bool
	// Version is that of SLSA's predicate, "v1" or "v0.2".
	Version string
	// BuilderID is a URI that names who has built; nil for [BuilderID].
	BuilderID *string
	// Reproducible says that whoever asks for the build holds it for reproducible.
	Reproducible bool
	// CompleteMaterials has the build fail if not everything that it uses can be told with its digest.
	CompleteMaterials bool
	// Filename is that of the file where an output writes plain files; "provenance.json" by default.
	Filename string
}

// The versions of the predicate.
const (
	versionSLSA1  = "v1"
	versionSLSA02 = "v0.2"
)

// defaultFilename is BuildKit's.
const defaultFilename = "provenance.json"

// ParseOptions reads the attributes of --attest type=provenance, with BuildKit's names and defaults.
func ParseOptions(attrs map[string]string) (*Options, error) {
	o := &Options{Max: true, Version: versionSLSA1, Filename: defaultFilename}
	for key, value := range attrs {
		var err error
		switch key {
		case "mode":
			o.Max, err = parseMode(value)
		case "version":
			if !slices.Contains([]string{versionSLSA1, versionSLSA02}, value) {
				err = fmt.Errorf("%q is neither %s nor %s", value, versionSLSA1, versionSLSA02)
			}
			o.Version = value
		case "builder-id":
			o.BuilderID = &value
		case "reproducible":
			o.Reproducible, err = strconv.ParseBool(value)
		case "complete-materials":
			o.CompleteMaterials, err = strconv.ParseBool(value)
		case "filename":
			if value == "" || strings.ContainsRune(value, '/') {
				err = fmt.Errorf("%q is not the name of a file", value)
			}
			o.Filename = value
		case "inline-only", "capture-usage":
			var set bool
			if set, err = strconv.ParseBool(value); set {
				err = fmt.Errorf("it is not supported")
			}
		default:
			err = fmt.Errorf("there are mode, version, builder-id, reproducible, complete-materials and filename")
		}
		if err != nil {
			return nil, fmt.Errorf("attestation provenance: %s: %w", key, err)
		}
	}
	return o, nil
}

func parseMode(value string) (maximal bool, err error) {
	switch value {
	case "max", "full":
		return true, nil
	case "min":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither min nor max", value)
}
