package golden

import "strings"

// diffLines shows the lines that only one of two texts has, in order.
func diffLines(want, got string) string {
	a, b := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	common := longestCommon(a, b)
	var out strings.Builder
	show := func(mark, line string) {
		if line != "" {
			out.WriteString(mark + strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			show("-", a[i])
			i++
		default:
			show("+", b[j])
			j++
		}
	}
	return out.String()
}

// longestCommon gives the length of the longest common subsequence of a[i:] and b[j:].
func longestCommon(a, b []string) [][]int {
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	return common
}
