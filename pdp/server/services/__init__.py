"""What the server answers, a file for each service: bytes in, `pdp.wire`, the desk, `pdp.wire`, bytes out."""
