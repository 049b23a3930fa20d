"""What the faces that speak gRPC on unix sockets have in common."""
