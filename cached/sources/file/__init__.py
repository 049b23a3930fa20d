"""Directories of this node, or of a network filesystem on it."""

from cached.sources.file.source import FileSource

__all__ = ["FileSource"]
