"""Inbound faces: each converts between its own wire and the engine, and owns no work."""
