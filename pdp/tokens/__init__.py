"""Signed tokens of any kind, read in one way: strict JSON, strict base64url, public keys, and the claims all kinds share.

Pure, and without an idea of whose token it is: `pdp.identity` and `pdp.grants` build on it. The rules J- live here.
"""
