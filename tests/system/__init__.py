"""The real daemon as a process of its own, against real servers and real filesystems."""
