"""The adapters to the container runtime, with real containerds of three versions."""
