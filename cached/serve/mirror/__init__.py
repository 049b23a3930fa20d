"""The mirror: a read-only registry for the runtime of this node."""
