"""Is this deployment safe? Findings about a configuration, its files, its clock, and about an Envoy in front of it."""
