"""cached: model weights and container images on GPU nodes, fast, once, and safely."""

__version__ = "0.1.0"
