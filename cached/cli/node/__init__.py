"""Preparing a node: its local disks, its container runtime, its units."""
