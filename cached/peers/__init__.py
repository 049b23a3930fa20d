"""Other nodes: who they are, how this one proves who it is, and the streams to them."""
