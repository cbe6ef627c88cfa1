"""Finding F8: keys of the flawed generator are found, and no others."""

from __future__ import annotations

from random import Random

from cryptography.hazmat.primitives.asymmetric import rsa

from pdp.tokens.keys import is_strong
from pdp.tokens.roca import is_of_flawed_generator
from tests.pdp.tokens.flawed_keys import flawed_rsa_key


def test_keys_of_the_flawed_generator_are_found() -> None:
    for seed in range(3):
        key = flawed_rsa_key(seed).public_key()
        assert is_of_flawed_generator(key.public_numbers().n)
        assert key.key_size == 2048
        assert not is_strong(key)


def test_others_are_not() -> None:
    assert is_strong(rsa.generate_private_key(65537, 2048).public_key())
    chance = Random(1)
    assert not any(is_of_flawed_generator(chance.getrandbits(2048) | 1) for _ in range(20_000))
