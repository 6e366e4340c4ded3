package frontend

import (
	"fmt"

	"github.com/moby/buildkit/solver/pb"

	"github.com/slipway-build/slipway/pkg/op"
)

// newLocation covers all of ranges. There is no location without a range.
func newLocation(filename string, data []byte, ranges []*pb.Range) (op.Location, bool) {
	l := op.Location{Filename: filename, Data: data}
	for _, r := range ranges {
		// Syntax lines in JSON are given line 0.
		start := max(int(r.GetStart().GetLine()), 1)
		end := max(int(r.GetEnd().GetLine()), start)
		if l.Start == 0 || start < l.Start {
			l.Start = start
		}
		l.End = max(l.End, end)
	}
	return l, l.Start > 0
}

// sourceLocations gives the places of each vertex, by its digest.
func sourceLocations(src *pb.Source) (map[string][]op.Location, error) {
	infos := src.GetInfos()
	out := make(map[string][]op.Location, len(src.GetLocations()))
	for dgst, ls := range src.GetLocations() {
		for _, l := range ls.GetLocations() {
			i := int(l.GetSourceIndex())
			if i < 0 || i >= len(infos) {
				return nil, fmt.Errorf("build graph: there is no source file %d", i)
			}
			if loc, ok := newLocation(infos[i].GetFilename(), infos[i].GetData(), l.GetRanges()); ok {
				out[dgst] = append(out[dgst], loc)
			}
		}
	}
	return out, nil
}
