"""What operators write: the daemon's settings and the catalog of models, read and checked."""
