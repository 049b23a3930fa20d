"""What the look of a pod that uses models consists of."""
