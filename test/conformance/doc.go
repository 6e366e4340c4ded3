// Command conformance runs BuildKit's own tests of the Dockerfile frontend against slipway.
//
// It copies the tests out of the pinned BuildKit module in the Go module cache into the directory
// "generated", which git ignores, and changes nothing in them but imports: the packages of the
// directory "shim" take the place of those that would need a daemon. The shim's client runs the slipway
// binary; base images come from a registry on loopback that says it is docker.io (package mirror).
//
// Tests of BuildKit's client that send graphs in LLB are run too, as far as they are about operations and sources.
// Slipway's command line takes Dockerfiles; for these tests the command llb does the same with a graph.
//
// With -isolation=inplace or sandbox each call of slipway has a container of its own, shaped like a pod (package pod); for
// sandbox, one of Pod Security level "restricted", as user 1000.
//
// expected.txt lists the tests that do not pass and why. A test that fails and is not listed, or that is
// listed and passes, makes the run fail.
package main
