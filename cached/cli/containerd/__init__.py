"""`cachectl containerd`: this node's containerd is told of the mirror, and looked at. It works on files."""
