"""Real daemons in network namespaces of their own, behind links of a known rate."""
