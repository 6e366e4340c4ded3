// Package argo tests the definitions for Argo Workflows with Argo's own code: they are linted as "argo
// lint" does it, and what they make of a pod runs in containers shaped like Kubernetes' pods, under the
// real argoexec in all of its three roles. It is a module of its own, so that Argo's dependencies
// are none of slipway.
package argo
