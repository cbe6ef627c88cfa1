"""What a change of the protocol would break for programs that were built before it.

`protos/released.binpb` is the protocol as it was last released. `python tools/breaking.py` compares, and fails when a field
lost its number, its type or its name, or a method went; `--release` makes today's protocol the one to compare with, and
does so only when nothing breaks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorSet  # noqa: E402

from tools.protos import PDP, PROTOS, compile_protos  # noqa: E402

RELEASED = PROTOS / "released.binpb"


def breaking(before: FileDescriptorSet, after: FileDescriptorSet) -> list[str]:
    """Everything that was promised and is no longer so, in words."""
    return [
        *_messages(dict(_walk(before)), dict(_walk(after))),
        *_enums(dict(_all_enums(before)), dict(_all_enums(after))),
        *_services(before, after),
    ]


def _walk(files: FileDescriptorSet) -> Iterator[tuple[str, DescriptorProto]]:
    for file in files.file:
        for message in file.message_type:
            yield from _nested(f"{file.package}.{message.name}", message)


def _nested(name: str, message: DescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    yield name, message
    for inner in message.nested_type:
        yield from _nested(f"{name}.{inner.name}", inner)


def _all_enums(files: FileDescriptorSet) -> Iterator[tuple[str, EnumDescriptorProto]]:
    for file in files.file:
        yield from ((f"{file.package}.{e.name}", e) for e in file.enum_type)
    for name, message in _walk(files):
        yield from ((f"{name}.{e.name}", e) for e in message.enum_type)


def _messages(before: dict[str, DescriptorProto], after: dict[str, DescriptorProto]) -> Iterator[str]:
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            yield f"{name} is gone"
            continue
        fields = {f.number: f for f in new.field}
        for field in old.field:
            yield from _field(f"{name}.{field.name}", field, fields.get(field.number), old, new)
        for span in old.reserved_range:
            if not any(r.start <= span.start and span.end <= r.end for r in new.reserved_range):
                yield f"{name} no longer reserves {span.start} to {span.end - 1}"


def _field(name: str, old, new, old_message, new_message) -> Iterator[str]:  # type: ignore[no-untyped-def]
    if new is None:
        yield f"{name} ({old.number}) is gone"
        return
    if new.name != old.name:
        yield f"{name} ({old.number}) is now called {new.name}"
    if (new.type, new.type_name) != (old.type, old.type_name):
        yield f"{name} ({old.number}) has another type"
    if new.label != old.label:
        yield f"{name} ({old.number}) is no longer as often there"
    if new.proto3_optional != old.proto3_optional or _choice(new, new_message) != _choice(old, old_message):
        yield f"{name} ({old.number}) is present in another way"


def _choice(field, message) -> str | None:  # type: ignore[no-untyped-def]
    return message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None


def _enums(before: dict[str, EnumDescriptorProto], after: dict[str, EnumDescriptorProto]) -> Iterator[str]:
    for name, old in before.items():
        if name not in after:
            yield f"{name} is gone"
            continue
        values = {v.number: v.name for v in after[name].value}
        for value in old.value:
            if values.get(value.number) != value.name:
                yield f"{name}.{value.name} ({value.number}) is gone or means something else"


def _services(before: FileDescriptorSet, after: FileDescriptorSet) -> Iterator[str]:
    methods = {f"{f.package}.{s.name}/{m.name}": m for f in after.file for s in f.service for m in s.method}
    for file in before.file:
        for service in file.service:
            for old in service.method:
                name = f"{file.package}.{service.name}/{old.name}"
                new = methods.get(name)
                if new is None:
                    yield f"{name} is gone"
                elif new != old:
                    yield f"{name} takes or gives something else"


def main() -> int:
    now = compile_protos(PDP)
    found = breaking(FileDescriptorSet.FromString(RELEASED.read_bytes()), FileDescriptorSet.FromString(now))
    for line in found:
        print(line)
    if not found and "--release" in sys.argv:
        RELEASED.write_bytes(now)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
