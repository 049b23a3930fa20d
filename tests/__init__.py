"""Tests, by room. What several rooms share, such as real servers, lives in `tests.servers`."""
