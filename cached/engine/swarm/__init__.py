"""Swarms at work: the state machines driven by time, streams and transfers."""
