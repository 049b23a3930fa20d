"""Tests of the sources; `contract` is what each of them must pass."""
