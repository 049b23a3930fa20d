"""`PeerService`, by gRPC: seats and visits of other members."""
