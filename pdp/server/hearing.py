"""Questions that callers ask again, word for word: each is read once and understood once, and decided anew every time.

What is remembered is what a message says, which is the same at every moment. Who the caller is, what was shown and whether
it holds now is verified with each call; what policy says to it comes from the engine.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from pdp.model.ask import Ask
from pdp.model.gates import Gate
from pdp.service.check import Understood
from pdp.wire.decision import GateWords
from pdp.wire.refusals import Unfit
from pdp.wire.values import Values

QUESTIONS_MAX = 4_096
QUESTION_BYTES_MAX = 4_096
BYTES_MAX = 1 << 20  # of all of them; what is read of them can take forty times as much

Read = Callable[[bytes, Gate | None, GateWords, Values | None], Ask | Unfit]
Key = tuple[str, bytes]  # by caller, so that none meets what another said


class Heard:
    """A question that was read, of this gate and with these words, and how it was understood."""

    __slots__ = ("ask", "gate", "understood", "words")

    def __init__(self, ask: Ask, gate: Gate | None, words: GateWords) -> None:
        self.ask, self.gate, self.words = ask, gate, words
        self.understood = Understood()


class Hearing:
    """The questions of a process. One that is heard for the first time leaves a mark only; so what nobody repeats costs
    next to nothing, and cannot push out what is repeated until it is."""

    def __init__(self, read: Read, questions_max: int = QUESTIONS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._read = read
        self._questions_max, self._bytes_max = questions_max, bytes_max
        self._bytes = 0
        self._heard: OrderedDict[Key, Heard] = OrderedDict()
        self._once: set[int] = set()  # hashes; a collision has a question kept at its first hearing
        self._once_before: set[int] = set()
        self._changing = threading.Lock()

    def hear(
        self, caller: str, raw: bytes, gate: Gate | None, words: GateWords, values: Values | None = None
    ) -> Heard | Ask | Unfit:
        """What is asked; with a memory, when it was asked before. `values` are what one of many may have."""
        key = caller, raw
        found = self._heard.get(key)
        if found is not None and found.gate is gate and found.words is words:
            return found
        ask = self._read(raw, gate, words, values)
        if isinstance(ask, Unfit) or len(raw) > QUESTION_BYTES_MAX or not _repeats(ask):
            return ask
        with self._changing:
            return self._keep(key, Heard(ask, gate, words)) or ask

    def _keep(self, key: Key, heard: Heard) -> Heard | None:
        mark = hash(key)
        if key not in self._heard and mark not in self._once and mark not in self._once_before:
            if len(self._once) >= self._questions_max:
                self._once_before, self._once = self._once, set()
            self._once.add(mark)
            return None
        self._bytes += 0 if key in self._heard else len(key[1])
        self._heard[key] = heard
        while len(self._heard) > self._questions_max or self._bytes > self._bytes_max:
            (_, gone), _ = self._heard.popitem(last=False)
            self._bytes -= len(gone)
        return heard


def _repeats(ask: Ask) -> bool:
    """No token is kept in memory for longer than its call; and what has a name of its own is not asked again."""
    bears_token = ask.shown is not None and ask.shown.token is not None
    return not bears_token and ask.grant is ask.user_token is ask.proof is ask.correlation is None
