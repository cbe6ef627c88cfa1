"""Measurements of Bulkhead beside its peers; `python -m bench.run` makes them all. See README.md."""
