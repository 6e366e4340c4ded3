// Package tekton holds the contract of the definitions for Tekton: its tests treat them with Tekton's own
// code. The packages below it are what Tekton and Kubernetes do with a definition, each as far as
// these tests need it:
//
//   - definition: the API server, which reads, completes and validates it
//   - catlin: the reviewers of the catalog
//   - taskrun: Tekton's controller, which makes a Pod of it, and a TaskRun's status of the Pod's
//   - node: kubelet, which runs the Pod
//
// This is a module of its own, so that slipway does not depend on Tekton's controller and Kubernetes.
package tekton
