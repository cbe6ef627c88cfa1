"""The order of the steps of one check, from credentials to a recorded decision. Pure: the moment is an argument."""
