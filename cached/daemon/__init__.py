"""The composition root: configuration, wiring and signals of the daemon."""
