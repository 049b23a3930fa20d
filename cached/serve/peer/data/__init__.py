"""Ranges of blobs, by HTTP: one thread for each connection."""
