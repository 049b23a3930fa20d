"""Adapters to where bytes are authoritative: each lists, pins and signs; none moves the bytes."""
