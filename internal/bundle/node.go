package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// mapping is a YAML mapping whose keys keep their order and their comments.
type mapping struct{ *yaml.Node }

// parseMapping reads a YAML document whose top is a mapping. What is said before its first key is left
// out: that is about the file.
func parseMapping(data []byte) (mapping, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return mapping{}, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return mapping{}, fmt.Errorf("line %d: not a mapping", doc.Line)
	}
	m := mapping{doc.Content[0]}
	m.HeadComment = ""
	if len(m.Content) > 0 {
		m.Content[0].HeadComment = ""
	}
	return m, nil
}

func newMapping() mapping { return mapping{&yaml.Node{Kind: yaml.MappingNode}} }

// index gives the place of a key in Content, -1 if it is missing.
func (m mapping) index(key string) int {
	for i := 0; i < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// get gives the value of a key, nil if it is missing.
func (m mapping) get(key string) *yaml.Node {
	if i := m.index(key); i >= 0 {
		return m.Content[i+1]
	}
	return nil
}

// at gives the node at the end of a path of keys.
func (m mapping) at(keys ...string) (*yaml.Node, error) {
	n := m.Node
	for i, key := range keys {
		var next *yaml.Node
		if n.Kind == yaml.MappingNode {
			next = mapping{n}.get(key)
		}
		if next == nil {
			return nil, fmt.Errorf("no field %s", strings.Join(keys[:i+1], "."))
		}
		n = next
	}
	return n, nil
}

// set gives a key a value; a new key comes last.
func (m mapping) set(key string, value *yaml.Node) {
	if i := m.index(key); i >= 0 {
		m.Content[i+1] = value
		return
	}
	m.Content = append(m.Content, text(key), value)
}

// take moves a key with its value and comments from another mapping to the end of m, if it is there.
func (m mapping) take(from mapping, key string) {
	if i := from.index(key); i >= 0 {
		m.Content = append(m.Content, from.Content[i:i+2]...)
	}
}

// text is a scalar node that YAML reads as this string.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

// quoted is text in double quotes.
func quoted(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s}
}

// plain is a scalar without quotes, such as a number.
func plain(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// rewrite changes all strings below n, keys excepted, and all comments.
func rewrite(n *yaml.Node, edit func(string) string) {
	n.HeadComment, n.LineComment, n.FootComment = edit(n.HeadComment), edit(n.LineComment), edit(n.FootComment)
	if n.Kind == yaml.ScalarNode {
		n.Value = edit(n.Value)
		return
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			value := c.Value
			rewrite(c, edit)
			c.Value = value
			continue
		}
		rewrite(c, edit)
	}
}

// encode writes a document below a comment of its own.
func encode(m mapping, comment string) ([]byte, error) {
	var out bytes.Buffer
	for line := range strings.SplitSeq(comment, "\n") {
		out.WriteString("# " + line + "\n")
	}
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(m.Node); err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	wrapped := wrapFolded(out.Bytes())
	var before, after any
	if err := errors.Join(yaml.Unmarshal(out.Bytes(), &before), yaml.Unmarshal(wrapped, &after)); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(before, after) {
		return nil, errors.New("a text cannot be wrapped: it looks like a folded scalar but is none")
	}
	return wrapped, nil
}

// width is the length, in bytes, that lines of folded text do not exceed.
const width = 120

// wrapFolded breaks the long lines of folded scalars (">-"), which the encoder writes as one line for
// each paragraph. A reader of YAML joins them again.
func wrapFolded(data []byte) []byte {
	var out strings.Builder
	folded, outer := false, 0 // outer is the indentation of what the scalar belongs to
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		content := strings.TrimLeft(line, " ")
		indent := len(line) - len(content)
		if folded && content != "" && indent <= outer {
			folded = false
		}
		if folded {
			for _, l := range wrap(content, width-indent) {
				out.WriteString(strings.TrimRight(strings.Repeat(" ", indent)+l, " ") + "\n")
			}
			continue
		}
		if strings.HasSuffix(content, ": >-") || strings.HasSuffix(content, "- >-") {
			folded, outer = true, indent
			// A key that follows a dash stands two columns behind it.
			for rest := content; strings.HasPrefix(rest, "- ") && rest != "- >-"; rest = rest[2:] {
				outer += 2
			}
		}
		out.WriteString(line + "\n")
	}
	return []byte(out.String())
}

// wrap breaks a line at spaces.
func wrap(line string, width int) []string {
	var lines []string
	for len(line) > width {
		at := strings.LastIndexByte(line[:width+1], ' ')
		if at <= 0 {
			if at = strings.IndexByte(line, ' '); at < 0 {
				break
			}
		}
		lines = append(lines, line[:at])
		line = line[at+1:]
	}
	return append(lines, line)
}
