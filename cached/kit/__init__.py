"""Generic helpers that know nothing of caches."""
