"""Container images: the engine with a real registry, and daemons with real runtimes."""
