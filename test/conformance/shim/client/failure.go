package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
)

// failed makes an error of what slipway reported: its message, with the lines of the Dockerfile that it
// showed attached as BuildKit attaches them.
func (i *invocation) failed(report string, err error) error {
	_, message, ok := strings.Cut("\n"+report, "\nslipway: ")
	if !ok {
		return errors.Join(err, errors.New(report))
	}
	message = strings.TrimSpace(message)
	name, ranges := shownLines(report)
	if len(ranges) == 0 {
		return fmt.Errorf("failed to solve: %s", message)
	}
	// BuildKit keeps the place apart from the message.
	message = regexp.MustCompile("^"+regexp.QuoteMeta(name)+`:\d+: `).ReplaceAllString(message, "")
	err = fmt.Errorf("failed to solve: %s", message)
	data, readErr := os.ReadFile(filepath.Join(i.dockerfileDir, name))
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	return errdefs.WithSource(err, &errdefs.Source{
		Info: &pb.SourceInfo{
			Filename: name, Language: "Dockerfile", Data: data,
			Definition: &pb.Definition{}, // which one it was, slipway does not say
		},
		Ranges: ranges,
	})
}

// shownLines reads the snippet that comes before the message:
//
//	Dockerfile:3
//	--------------------
//	   2 |     FROM scratch
//	   3 | >>> COPY nothing /
//	--------------------
func shownLines(report string) (name string, ranges []*pb.Range) {
	head := regexp.MustCompile(`(?m)^(\S+):\d+\n-{5,}$`).FindStringSubmatch(report)
	if head == nil {
		return "", nil
	}
	for _, m := range regexp.MustCompile(`(?m)^ *(\d+) \| >>> `).FindAllStringSubmatch(report, -1) {
		line, err := strconv.ParseInt(m[1], 10, 32)
		if err != nil {
			continue // no line has such a number
		}
		at := &pb.Position{Line: int32(line)}
		ranges = append(ranges, &pb.Range{Start: at, End: at})
	}
	return head[1], ranges
}
