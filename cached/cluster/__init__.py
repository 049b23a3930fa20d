"""The Kubernetes API server: how it is reached, and this node's own object there."""
