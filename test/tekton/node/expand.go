package node

import "strings"

// expand replaces $(NAME) by the variable's value, as kubelet does it in commands, arguments and environments. What
// names no variable stays as it is, and $$ stands for $.
func expand(text string, variables map[string]string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		switch value, known := variables[name]; {
		case strings.HasPrefix(after, "$"):
			b.WriteString("$")
			text = after[1:]
		case strings.HasPrefix(after, "(") && closed:
			if !known {
				value = "$(" + name + ")"
			}
			b.WriteString(value)
			text = rest
		default:
			b.WriteString("$")
			text = after
		}
	}
}
