"""The store: what lies on the node's disk, what it costs, and who holds it.

Two sides. The disk side (`layout`, `stage`, `blobs`, `trees`, `audit` and their helpers) turns received
chunks into blobs and blobs into trees; it keeps no accounts. The accounting side (`ledger`, `eviction`,
`holds`, `index`, `recovery`, `scrub`, `watch`) decides and records; `store` joins the two.
"""
