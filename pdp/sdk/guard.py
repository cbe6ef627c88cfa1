"""`guard`: a decorator that asks before the function runs.

What is asked is told by values, or by functions of the call's own arguments. They are matched by name when the function is
decorated, so that a misspelt name is an error at import and not a hole in production.

A check inside a process that an attacker controls contains nothing: whoever executes code here calls the function beneath.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

from pdp.errors import PdpError
from pdp.model.decision import Decision
from pdp.model.denied import Denied
from pdp.model.request import EntityLike, Request, Task, Workload

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Told: TypeAlias = T | Callable[..., T]


class Decides(Protocol):
    """What a guard needs of an engine."""

    def check(self, request: Request, /) -> Decision: ...


def guard(
    engine: Decides,
    *,
    action: Told[str],
    resource: Told[EntityLike],
    workload: Told[str | Workload | None] = None,
    user: Told[EntityLike | None] = None,
    task: Told[Task | None] = None,
    context: Told[Mapping[str, Any] | None] = None,
    location: Told[Mapping[str, Any] | None] = None,
    proof: Told[Sequence[str] | frozenset[str]] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Runs the function only if the decision allows; raises `Denied` otherwise, and lets `PdpError` through.

    A value that is callable is called with those arguments of the call that its parameters name; `**` takes all of them.
    A coroutine function asks when it is awaited. What returns something to be run later (a generator) is refused:
    the answer could be over by then.
    """
    told = {
        "action": action,
        "resource": resource,
        "workload": workload,
        "user": user,
        "task": task,
        "context": context,
        "location": location,
        "proof": proof,
    }

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = _signature(function)
        fields = [(name, _part(name, value, signature)) for name, value in told.items()]

        def ask(args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            bound = signature.bind(*args, **keywords)
            bound.apply_defaults()
            found = {name: part.of(bound.arguments) for name, part in fields}
            request = Request(**{k: v for k, v in found.items() if v is not None or k not in ("context", "location")})
            decision = engine.check(request)
            if decision.allowed is not True:  # nothing but True is a yes, whatever stands in for an engine
                raise Denied(decision)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def guarded(*args: Any, **keywords: Any) -> Any:
                ask(args, keywords)
                return await function(*args, **keywords)

        else:

            @functools.wraps(function)
            def guarded(*args: Any, **keywords: Any) -> Any:
                ask(args, keywords)
                return function(*args, **keywords)

        # So that a guard around this one, and a framework, see the arguments by name.
        guarded.__signature__ = signature  # type: ignore[attr-defined]  # functions take attributes
        guarded.__guarded__ = guarded  # type: ignore[attr-defined]  # a wrapper copies it, and is then known as none of ours
        return guarded  # type: ignore[return-value]  # the same parameters and result as `function`

    return decorate


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of the question: a value, or a function and the arguments that it takes."""

    value: Any
    positional: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    rest: bool = False
    is_function: bool = False

    def of(self, arguments: Mapping[str, Any]) -> Any:
        if not self.is_function:
            return self.value
        if self.rest:
            taken = {k: v for k, v in arguments.items() if k not in self.positional}
        else:
            taken = {k: arguments[k] for k in self.named}
        return self.value(*(arguments[k] for k in self.positional), **taken)


def _signature(function: Any) -> inspect.Signature:
    if isinstance(function, type | classmethod | staticmethod | property) or not callable(function):
        raise _wrong(
            function, "it is no function; put the guard on each method, below `@classmethod`, `@staticmethod` or `@property`"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise _wrong(function, "a generator runs after the answer; guard the function that makes it")
    is_ours = getattr(function, "__guarded__", None) is function
    if not is_ours and (hasattr(function, "__wrapped__") or hasattr(function, "__signature__")):
        raise _wrong(function, "a decorator below may give it other arguments; put the guard directly above `def`")
    try:
        # Not through `__wrapped__`: a wrapper that adds or drops arguments would have the guard judge other values
        # than the function gets.
        return inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        raise _wrong(function, "its parameters cannot be read; put the guard directly above `def`") from None


def _part(name: str, value: Any, signature: inspect.Signature) -> _Part:
    if not callable(value):
        return _Part(value)
    if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value) or inspect.isgeneratorfunction(value):
        raise PdpError("invalid_argument", f"guard: `{name}` is told by a plain function, not a coroutine or generator")
    try:
        parameters = inspect.signature(value, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        raise PdpError("invalid_argument", f"guard: the parameters of `{name}` cannot be read; use a lambda") from None
    positional: list[str] = []
    named: list[str] = []
    rest = False
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            rest = True
            continue
        if parameter.kind is parameter.VAR_POSITIONAL or parameter.name not in signature.parameters:
            known = ", ".join(signature.parameters) or "none"
            message = f"guard: `{name}` takes `{parameter.name}`, which the function does not have; it has {known}"
            raise PdpError("invalid_argument", message)
        (positional if parameter.kind is parameter.POSITIONAL_ONLY else named).append(parameter.name)
    return _Part(value, tuple(positional), tuple(named), rest, is_function=True)


def _wrong(function: object, message: str) -> PdpError:
    name = getattr(function, "__qualname__", type(function).__name__)
    return PdpError("invalid_argument", f"guard of `{name}`: {message}")
