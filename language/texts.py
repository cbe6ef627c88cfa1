"""Whether a text is part of another, in a time that the lengths say, whatever the letters are.

Python compares letter by letter at each place of a text, unless the text is long and what is sought is much shorter; who
chooses both can make it do so everywhere. Where that would be dear the text is made long enough first.
"""

from __future__ import annotations

from typing import Final

_PLACES_MIN: Final = 30_000  # letters of a text in which Python goes through each letter a fixed number of times
_SMALL: Final = 4096  # comparisons that need no thought
_TIMES: Final = 4  # what is sought is to be so many times shorter
_FILLER: Final = "\udfff"  # a lone surrogate is in no text


def includes(text: str, sought: str) -> bool:
    if len(text) * len(sought) < _SMALL:
        return sought in text
    plain, padded = _costs(len(text), len(sought))
    if plain <= padded:
        return sought in text
    return sought in text + _FILLER * (_long_enough(len(text), len(sought)) - len(text))


def search_steps(text: str | None, sought: str | None) -> int:
    """What `includes` costs; nothing where a text is absent."""
    return 0 if text is None or sought is None else min(_costs(len(text), len(sought)))


def search_steps_max(letters: int, sought: int) -> int:
    """The same, for texts that have no more than so many letters."""
    sought = min(sought, letters)
    pairs = max(m * (letters - m) for m in (sought, min(sought, letters // 2)))
    return min((letters >> 2) + (pairs >> 6), _long_enough(letters, sought) >> 3)


def _costs(letters: int, sought: int) -> tuple[int, int]:
    """In the text as it is, and in one that is long enough: a step for 64 comparisons, and for eight letters."""
    pairs = sought * max(letters - sought, 0)
    return (letters >> 2) + (pairs >> 6), _long_enough(letters, sought) >> 3


def _long_enough(letters: int, sought: int) -> int:
    return max(letters, _PLACES_MIN, _TIMES * sought + 8) if sought <= letters else letters
