"""Finding S1: a message class lives as long as its pool, whatever the collector does between two calls."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from pdp.wire.messages import ENVOY, PDP

MESSAGE = 11  # FieldDescriptor.TYPE_MESSAGE


def descriptors(pool: DescriptorPool, file: str, seen: set[str]) -> Iterator[Any]:
    """Every message of a file and of the files that it imports, nested ones and entries of maps as well."""
    if file in seen:
        return
    seen.add(file)
    found = pool.FindFileByName(file)
    for each in found.dependencies:
        yield from descriptors(pool, each.name, seen)
    waiting = list(found.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        waiting.extend(message.nested_types)
        yield message


ROOTS = [
    (PDP.pool, "pdp/v1/decisions.proto"),
    (PDP.pool, "pdp/v1/grants.proto"),
    (PDP.pool, "pdp/v1/admin.proto"),
    (ENVOY.pool, "envoy/service/auth/v3/external_auth.proto"),
]
NAMES = sorted({(at, each.full_name) for at, (pool, file) in enumerate(ROOTS) for each in descriptors(pool, file, set())})


@pytest.mark.parametrize(("at", "name"), NAMES)
def test_a_class_that_nobody_uses_just_now_is_not_collected(at: int, name: str) -> None:
    cls = weakref.ref(GetMessageClass(ROOTS[at][0].FindMessageTypeByName(name)))
    gc.collect()
    assert cls() is not None, "the class was collected, though upb goes on to use it"


@pytest.mark.parametrize(("at", "name"), NAMES)
def test_a_field_is_of_one_class_though_the_collector_runs_before_each_access(at: int, name: str) -> None:
    pool = ROOTS[at][0]
    fields = [each for each in pool.FindMessageTypeByName(name).fields if each.type == MESSAGE]
    whole = b"".join(_empty(each.number) for each in fields)
    for field in fields:
        message = GetMessageClass(pool.FindMessageTypeByName(name)).FromString(whole)
        gc.collect()
        value = getattr(message, field.name)
        if field.message_type.GetOptions().map_entry:
            assert len(value) == 1
            continue
        if field.is_repeated:
            value = value[0]
        first = id(type(value))
        del value, message
        gc.collect()
        assert id(GetMessageClass(pool.FindMessageTypeByName(field.message_type.full_name))) == first


def _empty(number: int) -> bytes:
    """A field of that number that holds an empty message."""
    key, raw = number << 3 | 2, bytearray()
    while key > 0x7F:
        raw.append(key & 0x7F | 0x80)
        key >>= 7
    return bytes([*raw, key, 0])
