"""The container runtime of this node: containerd, over CRI and its own API, and its content store."""
