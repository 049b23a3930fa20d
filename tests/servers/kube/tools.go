//go:build tools

// Package kube pins the Kubernetes API server that tests build.
package kube

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
