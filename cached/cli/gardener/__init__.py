"""cachectl gardener: what Gardener has to put onto its nodes."""
