"""What is left of a piece of work, where no more of it may be done in one go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Rest(Exception):
    """`go_on` does what is left, all of it or a part: it may raise another. Nothing is done twice."""

    def __init__(self, go_on: Callable[[], Any]) -> None:
        super().__init__("there is more to do")
        self.go_on = go_on

    def then(self, do: Callable[[Any], Any]) -> Rest:
        """With what is made of its result."""

        def go_on() -> Any:
            try:
                found = self.go_on()
            except Rest as rest:
                raise rest.then(do) from None
            return do(found)

        return Rest(go_on)


def whole(work: Callable[[], Any]) -> Any:
    """All of it, where nobody else waits."""
    while True:
        try:
            return work()
        except Rest as rest:
            work = rest.go_on
