"""The node's gate: when this node is open to pods, and what its object says of the models on it."""
