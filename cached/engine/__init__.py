"""The use cases: resolve, reserve, fetch in one flight, publish; warm, evict, pin, verify."""
