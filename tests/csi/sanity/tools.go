//go:build tools

// Package sanity pins the checks of the Container Storage Interface that a test builds.
package sanity

import _ "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"
