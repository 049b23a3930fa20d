"""The store: what lies on the node's disk, what it costs, and who holds it.

Two sides. The disk side (`layout`, `stage`, `blobs`, `trees`, `audit` and their helpers) turns received
chunks into blobs and blobs into trees; it keeps no accounts. On the accounting side `ledger`, `eviction`,
`holds` and `state` decide, in memory and without waiting; `index` and `recovery` keep the durable record;
`room`, `filling`, `leasing`, `losses`, `scrub`, `verify` and `watch` act. `store` is the face of it all.
"""
