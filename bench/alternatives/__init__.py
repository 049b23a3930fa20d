"""Measures the ways the transfer hot path could be built, one axis at a time.

Why it is kept: `cached/transfer` follows from these numbers. Whoever wants to
build it differently runs this again, on the machine in question, first.
"""
