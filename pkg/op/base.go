package op

// Base is the image that the root filesystem of an edge began as, whatever was copied into it; nil if it began empty, or as something else.
func Base(e Edge) *Image {
	for e.Vertex != nil {
		in := -1
		switch o := e.Vertex.Op.(type) {
		case *Image:
			return o
		case *File:
			in = o.begins(e.Output, len(e.Vertex.Inputs))
		case *Exec:
			for _, m := range o.Mounts {
				if m.Output == e.Output {
					in = m.Input
				}
			}
		case *Merge:
			in = 0
		}
		if in < 0 || in >= len(e.Vertex.Inputs) {
			return nil
		}
		e = e.Vertex.Inputs[in]
	}
	return nil
}

// begins is the input that the action with an output began with, -1 for an empty tree.
func (f *File) begins(output, inputs int) int {
	for _, a := range f.Actions {
		if a.Output != output {
			continue
		}
		in := a.Input
		for in >= inputs { // an earlier action
			in = f.Actions[in-inputs].Input
		}
		return in
	}
	return -1
}
