package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// extraArgs is the list flag whose elements are flags themselves.
const extraArgs = "extra-args"

// listFlags are the flags that take a list, and the flag that each element becomes a value of. They
// are there for Tekton, which can pass an array only as arguments that stand alone, and for Argo, whose
// parameters are strings:
//
//	--build-args A=1 B=2 --labels a=b   # elements up to the next list flag
//	--build-args='["A=1","B=2"]'        # a JSON array of strings
//	--build-args=@FILE                  # a file with one
//
// Lists of the first form come last. Each may be there once, ends only where the next one begins, and
// has no elements that look like a flag. A definition that names all of them therefore lets nobody who
// can only choose elements pass a flag: one that begins another list makes that list begin twice.
func listFlags() map[string]string {
	return map[string]string{
		"platforms": "platform", "tags": "tag", "build-args": "build-arg", "build-contexts": "build-context",
		"labels": "label", "annotations": "annotation", "secrets": "secret", "add-hosts": "add-host", "ulimits": "ulimit",
		"caches-from": "cache-from", "caches-to": "cache-to", "cache-mount-modes": "cache-mounts",
		"insecure-registries": "insecure-registry", "registry-certificates": "registry-certificate",
		"registry-mirrors": "registry-mirror", "registry-maps": "registry-map", "images": "image",
		"sign-annotations": "sign-annotation",
		extraArgs:          "",
	}
}

// listHelp are the list flags for the values of others, as --help shows them; expandLists takes them
// before they are parsed.
func listHelp(others []cli.Flag) []cli.Flag {
	var flags []cli.Flag
	for _, f := range others {
		for list, single := range listFlags() {
			if slices.Contains(f.Names(), single) {
				flags = append(flags, &cli.StringSliceFlag{Category: "Lists, for Tekton and Argo", Name: list, Usage: "all values of --" + single + ", as further arguments or as =JSON"})
			}
		}
	}
	slices.SortFunc(flags, func(a, b cli.Flag) int { return strings.Compare(a.Names()[0], b.Names()[0]) })
	return append(flags, &cli.StringSliceFlag{Category: "Lists, for Tekton and Argo", Name: extraArgs, Usage: "further flags, in the same forms"})
}

// expandLists replaces the list flags that cmd knows in args.
func expandLists(cmd *cli.Command, args []string) ([]string, error) {
	var out, extra []string
	seen := map[string]bool{}
	open := "" // the list that elements belong to
	add := func(list, element string) error {
		switch {
		case element == "" && list == "images":
			// The result of a leg that failed: leaving it out would lose a platform.
			return fmt.Errorf("--%s has an empty element", list)
		case element == "":
			return nil // as every flag, unset
		case list == extraArgs:
			extra = append(extra, element)
			return nil
		case strings.HasPrefix(element, "-"):
			return fmt.Errorf("--%s has the element %q, which looks like a flag; flags come before lists", list, element)
		}
		out = append(out, "--"+listFlags()[list]+"="+element)
		return nil
	}
	for i, a := range args {
		if a == "--" && open == "" {
			return slices.Concat(out, extra, args[i:]), nil
		}
		name, value, hasValue := strings.Cut(a, "=")
		list, isList := knownList(cmd, name)
		switch {
		case isList && seen[list]:
			return nil, fmt.Errorf("--%s is given twice", list)
		case isList && hasValue:
			seen[list] = true
			elements, err := jsonList(value)
			if err != nil {
				return nil, fmt.Errorf("--%s: %w", list, err)
			}
			for _, e := range elements {
				if err := add(list, e); err != nil {
					return nil, err
				}
			}
		case isList:
			seen[list], open = true, list
		case open != "":
			if err := add(open, a); err != nil {
				return nil, err
			}
		default:
			out = append(out, a)
		}
	}
	return append(out, extra...), nil
}

// knownList returns the name of a list flag that cmd can take.
func knownList(cmd *cli.Command, arg string) (string, bool) {
	name, isLong := strings.CutPrefix(arg, "--")
	single, ok := listFlags()[name]
	if !isLong || !ok {
		return "", false
	}
	return name, name == extraArgs || slices.ContainsFunc(cmd.Flags, func(f cli.Flag) bool {
		return slices.Contains(f.Names(), single)
	})
}

// jsonList reads a JSON array of strings, or the file of one; nothing is an empty list.
func jsonList(value string) ([]string, error) {
	if path, ok := strings.CutPrefix(value, "@"); ok {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		value = string(data)
	}
	if strings.TrimSpace(value) == "" {
		return nil, nil
	}
	var elements []string
	if err := json.Unmarshal([]byte(value), &elements); err != nil {
		return nil, fmt.Errorf("not a JSON array of strings: %w", err)
	}
	return elements, nil
}
