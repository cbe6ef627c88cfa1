"""RSA keys of the flawed generator of CVE-2017-15361 (ROCA): the private key can be computed from the public one.

Its primes are `k * M + (65537 ** a mod M)`, with M the product of the first primes. So modulo each of these primes the
modulus, too, is a power of 65537. Of other keys about one in 240 million is so by chance.
"""

from __future__ import annotations

GENERATOR = 65537
#: Those of the first 39 primes for which not every remainder is a power of the generator. Each M has at least these 39.
_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_POWERS = tuple((prime, frozenset(pow(GENERATOR, a, prime) for a in range(prime - 1))) for prime in _PRIMES)


def is_of_flawed_generator(modulus: int) -> bool:
    """Whether a modulus has the fingerprint."""
    return all(modulus % prime in powers for prime, powers in _POWERS)
