"""The hot path: ranges of blobs, from where they are read into sinks, in bounded memory."""
