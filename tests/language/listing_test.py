"""The text of a policy set, as tracebacks show it."""

from __future__ import annotations

import gc
import linecache

from language import Source, compile_policies


def test_a_policy_set_that_is_gone_leaves_no_text_behind() -> None:
    """Tracebacks show it for as long as it is there."""
    policy = "language 1\nentity Seldom\naction read on Seldom\nallow all { who anyone do read on Seldom }\n"

    def shown() -> int:
        return sum("action read on Seldom\n" in (entry[2] or ()) for entry in linecache.cache.values() if len(entry) > 2)

    gc.collect()
    before = shown()
    one = compile_policies([Source("a-set-of-its-own.policy", policy)])
    other = compile_policies([Source("a-set-of-its-own.policy", policy)])
    assert shown() == before + 1
    del one
    gc.collect()
    assert shown() == before + 1
    del other
    gc.collect()
    assert shown() == before
