"""cachectl: what people and scripts ask of the daemon on a node, over the wire only."""
