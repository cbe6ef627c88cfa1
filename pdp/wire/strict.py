"""Bytes -> a message of `pdp.v1`, in its one form and with nothing in it that must be understood and is not."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from pdp.wire.messages import DecodeError
from pdp.wire.refusals import Unfit

MESSAGE_BYTES_MAX = 1_048_576
TOKEN_BYTES_MAX = 8_192
TEXT_MAX = 2_048  # of an id or a name
MUST_UNDERSTAND = range(100, 200)

#: Where a negative number of a value, a moment or a span (their fields have the numbers 1 and 2) might have more than 64
#: bits. Bytes of another kind can look so: it is only where to look closer.
_WIDE = tuple(re.compile(tag + rb"[\x80-\xff]{9}[\x02-\x7f]") for tag in (rb"\x08", rb"\x10"))


def parse(kind: Any, raw: bytes) -> Any:
    """Protobuf believes the last of two equal fields, so what would not be written back at the same length is refused."""
    if len(raw) > MESSAGE_BYTES_MAX:
        raise Unfit("too_large")
    try:
        message = kind.FromString(raw)
    except DecodeError:
        message = None
    if message is None:
        raise Unfit("malformed")
    if message.ByteSize() != len(raw) or (not raw.isascii() and _loses_bits(message, raw)):
        raise Unfit("not_canonical")
    refuse_not_understood(message)
    return message


def _loses_bits(message: Any, raw: bytes) -> bool:
    """Protobuf drops what a number has beyond 64 bits; of a negative one, at the same length (catalogue 31). What is written
    back may be in another order, since maps have none; it has the same bytes."""
    if not any(wide.search(raw) for wide in _WIDE):
        return False
    again = message.SerializeToString()
    return again != raw and Counter(again) != Counter(raw)


def refuse_not_understood(message: Any) -> None:
    for field in UnknownFieldSet(message):
        if field.field_number in MUST_UNDERSTAND:
            raise Unfit("must_understand", f"field {field.field_number}")
        _refuse_known(message, field.field_number)


def refuse_unseen(message: Any) -> None:
    """Refuses what was written for us to see and would not be seen. Newer fields of others are skipped."""
    for field in UnknownFieldSet(message):
        _refuse_known(message, field.field_number)


def _refuse_known(message: Any, number: int) -> None:
    """Protobuf drops an entry of a map that has a field which it does not know, and a field of another wire type. It keeps
    both among what is unknown, under a number that is known."""
    if number in message.DESCRIPTOR.fields_by_number:
        raise Unfit("malformed", f"field {number} cannot be read")


def refuse_unknown(message: Any) -> None:
    """For messages that narrow: what is not known here would have narrowed further."""
    for field in UnknownFieldSet(message):
        raise Unfit("must_understand", f"field {field.field_number}")


def need_text(message: Any, name: str, most: int = TEXT_MAX) -> str:
    found = take_text(message, name, most)
    if not found:
        raise Unfit("missing_field", name)
    return found


def take_text(message: Any, name: str, most: int = TEXT_MAX) -> str | None:
    if not message.HasField(name):
        return None
    found: str = getattr(message, name)
    if len(found) > most:
        raise Unfit("malformed_value", f"{name}: more than {most} characters")
    return found


def take_token(message: Any, name: str) -> str | None:
    if not message.HasField(name):
        return None
    token: str = getattr(message, name)
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Unfit("malformed_credential", name)
    if len(token) > TOKEN_BYTES_MAX:
        raise Unfit("credential_too_large", name)
    return token
