"""What an operator's look at a node consists of."""
