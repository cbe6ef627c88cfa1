"""A decision point elsewhere, asked over gRPC. The public names are `pdp.Client` and `pdp.AsyncClient`."""
