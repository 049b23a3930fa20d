"""The face to other members: control by gRPC, ranges of blobs by HTTP."""
