"""A trust domain for a laptop and for tests: certificates and tokens of any shape, the malformed ones included.

Nothing in the decision point imports this. It signs what it is told with keys that it is given; the keys of a real trust
domain have no business here.
"""
