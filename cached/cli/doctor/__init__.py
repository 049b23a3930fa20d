"""`cachectl doctor`: a node, or a pod's view of it, looked at from end to end. It changes nothing."""
