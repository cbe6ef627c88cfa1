"""RSA keys as the generator of CVE-2017-15361 made them, from the paper: each prime is `k * M + (65537 ** a mod M)`."""

from __future__ import annotations

from functools import cache
from itertools import count, islice
from math import gcd, prod
from random import Random

from cryptography.hazmat.primitives.asymmetric import rsa

E = 65537
PRIME_BITS = 1024


def _primes() -> list[int]:
    """The first 126: the M of keys of 2,048 bits."""
    return list(islice((n for n in count(2) if all(n % d for d in range(2, int(n**0.5) + 1))), 126))


def _flawed_prime(chance: Random) -> int:
    m = prod(_primes())
    while True:
        high = chance.randrange((3 << PRIME_BITS - 2) // m, (1 << PRIME_BITS) // m)
        found = high * m + pow(E, chance.randrange(m), m)
        if pow(2, found - 1, found) == 1 and gcd(found - 1, E) == 1:
            return found


@cache
def flawed_rsa_key(seed: int) -> rsa.RSAPrivateKey:
    """The same key for the same seed. It works as any other does."""
    chance = Random(seed)
    p, q = _flawed_prime(chance), _flawed_prime(chance)
    d = pow(E, -1, (p - 1) * (q - 1))
    exponents = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, *exponents, rsa.RSAPublicNumbers(E, p * q)).private_key()
