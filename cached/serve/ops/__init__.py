"""The operators' HTTP face: metrics and health."""
