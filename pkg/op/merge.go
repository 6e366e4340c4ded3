package op

// Merge stacks its inputs, first one lowest: COPY --link.
type Merge struct{}
