package op

// Local is a directory that the user named: the build context, a named context, or the
// Dockerfile's directory.
type Local struct {
	Name                          string
	Include, Exclude, FollowPaths []string
}
