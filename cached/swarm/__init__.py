"""Who has what, and who reads the source: deciding only, no I/O, no clock; time is an argument."""
