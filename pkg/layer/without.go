package layer

import "context"

// Without returns l without the entries whose paths drop reports; l itself if there are none. Of a file
// with several names, one of which is dropped, the others stay.
func Without(ctx context.Context, l Layer, drop func(path string) bool) (Layer, error) {
	x, err := l.Index(ctx)
	if err != nil {
		return nil, err
	}
	var (
		files   []File
		dropped int
	)
	moved := map[string]string{} // from a dropped first name to the first one that stays
	for e := range x.All() {
		if drop(e.Path) {
			dropped++
			continue
		}
		f := File{Entry: *e}
		switch e.Type {
		case Regular:
			f.Content = From(l, e.Path)
		case Hardlink:
			f = withoutTarget(l, x, e, drop, moved)
		}
		files = append(files, f)
	}
	if dropped == 0 {
		return l, nil
	}
	return New(files)
}

// withoutTarget is a hard link to what may have been dropped.
func withoutTarget(l Layer, x *Index, e *Entry, drop func(path string) bool, moved map[string]string) File {
	target, err := x.Lookup(e.Link)
	if err != nil || !drop(e.Link) { // in a layer below, or still there
		return File{Entry: *e}
	}
	if first, ok := moved[e.Link]; ok {
		link := *e
		link.Link = first
		return File{Entry: link}
	}
	moved[e.Link] = e.Path
	f := File{Entry: *target}
	f.Path = e.Path
	if f.Type == Regular {
		f.Content = From(l, target.Path)
	}
	return f
}
