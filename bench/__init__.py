"""Showing and measuring what cached does, against real servers on this machine."""
