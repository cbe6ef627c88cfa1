"""The protocol: what is committed is what the .proto files say, nothing that was promised has gone, and ours stays ours."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet

from pdp.wire._gen import envoy, pdp_v1
from pdp.wire.messages import ENVOY, PDP
from tools import breaking, protos

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("roots", "committed"), [(protos.PDP, pdp_v1.DESCRIPTORS), (protos.ENVOY, envoy.DESCRIPTORS)])
def test_what_is_committed_is_what_the_files_say(roots: tuple[str, ...], committed: bytes) -> None:
    assert protos.compile_protos(roots) == committed


def released() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(breaking.RELEASED.read_bytes())


def test_nothing_that_was_promised_has_gone() -> None:
    assert breaking.breaking(released(), FileDescriptorSet.FromString(pdp_v1.DESCRIPTORS)) == []


def _message(files: FileDescriptorSet, name: str):  # type: ignore[no-untyped-def]
    return dict(breaking._walk(files))[f"pdp.v1.{name}"]


def _lose_field(files: FileDescriptorSet) -> None:
    del _message(files, "CheckRequest").field[1]


def _move_field(files: FileDescriptorSet) -> None:
    _message(files, "Decision").field[0].number = 40


def _retype(files: FileDescriptorSet) -> None:
    _message(files, "Value").field[1].type = FieldDescriptorProto.TYPE_SINT64


def _rename(files: FileDescriptorSet) -> None:
    _message(files, "Decision").field[1].name = "why"


def _repeat(files: FileDescriptorSet) -> None:
    _message(files, "Subject").field[1].label = FieldDescriptorProto.LABEL_REPEATED


def _leave_choice(files: FileDescriptorSet) -> None:
    _message(files, "Value").field[0].ClearField("oneof_index")


def _unreserve(files: FileDescriptorSet) -> None:
    del _message(files, "CheckRequest").reserved_range[:]


def _lose_message(files: FileDescriptorSet) -> None:
    del next(f for f in files.file if f.name.endswith("values.proto")).message_type[0]


def _renumber_enum(files: FileDescriptorSet) -> None:
    next(f for f in files.file if f.name.endswith("grants.proto")).enum_type[0].value[3].number = 9


def _lose_method(files: FileDescriptorSet) -> None:
    del next(f for f in files.file if f.name.endswith("decisions.proto")).service[0].method[0]


def _stream(files: FileDescriptorSet) -> None:
    next(f for f in files.file if f.name.endswith("decisions.proto")).service[0].method[0].client_streaming = True


@pytest.mark.parametrize(
    "change",
    [
        _lose_field,
        _move_field,
        _retype,
        _rename,
        _repeat,
        _leave_choice,
        _unreserve,
        _lose_message,
        _renumber_enum,
        _lose_method,
        _stream,
    ],
)
def test_a_change_that_breaks_is_found(change) -> None:  # type: ignore[no-untyped-def]
    changed = released()
    change(changed)
    assert breaking.breaking(released(), changed)


def test_adding_breaks_nothing() -> None:
    changed = released()
    _message(changed, "Decision").field.add(name="more", number=50, label=1, type=9)
    next(f for f in changed.file if f.name.endswith("decisions.proto")).service[0].method.add(name="More")
    assert breaking.breaking(released(), changed) == []


def test_there_are_no_floating_point_numbers() -> None:
    """Of what a request can carry, nothing is a double: what cannot be said cannot be confused (L5, catalogue 28, 32)."""
    floats = (FieldDescriptorProto.TYPE_DOUBLE, FieldDescriptorProto.TYPE_FLOAT)
    files = FileDescriptorSet.FromString(pdp_v1.DESCRIPTORS)
    assert [n for n, m in breaking._walk(files) if any(f.type in floats for f in m.field)] == []


REQUESTS = sorted(n.removeprefix("pdp.v1.") for n, _ in breaking._walk(released()) if n.endswith("Request"))


@pytest.mark.parametrize("name", [n for n in REQUESTS if n not in ("StatusRequest", "CacheStatsRequest")])
def test_a_request_keeps_room_for_what_must_be_understood(name: str) -> None:
    message = _message(released(), name)
    assert [(r.start, r.end) for r in message.reserved_range] == [(100, 200)]
    scalars = [f for f in message.field if f.type != FieldDescriptorProto.TYPE_MESSAGE and f.label != 3]
    assert all(f.HasField("oneof_index") for f in scalars), "a scalar of a request says whether it is there"


def test_every_field_and_method_is_explained_or_plain() -> None:
    """The files are the reference: each service and method has words above it, or a name that says it all."""
    plain = {"Reject", "Get", "CacheStats"}
    for path in (ROOT / "protos" / "pdp" / "v1").glob("*.proto"):
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
        for before, line in pairwise(lines):
            if line.startswith("rpc ") and line.split()[1].partition("(")[0] not in plain:
                assert before.startswith("//"), line


#: What a program that uses Envoy's own protos has in the default pool: the same file names, other contents.
_NEIGHBOUR = """
from google.protobuf import descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from pdp.wire._gen import envoy, pdp_v1
before = "before" in __import__("sys").argv
if not before:
    from pdp.wire.messages import ENVOY, PDP
pool = descriptor_pool.Default()
for raw in (envoy.DESCRIPTORS, pdp_v1.DESCRIPTORS):
    for file in FileDescriptorSet.FromString(raw).file:
        if not file.name.startswith("google/protobuf/"):
            for message in file.message_type:
                message.field.add(name="theirs", number=77, label=1, type=9)
            pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
from pdp.wire.messages import ENVOY, PDP
theirs = pool.FindMessageTypeByName("envoy.service.auth.v3.CheckResponse")
assert "theirs" in theirs.fields_by_name
assert "theirs" not in ENVOY.CheckResponse.DESCRIPTOR.fields_by_name
assert "theirs" not in PDP.CheckRequest.DESCRIPTOR.fields_by_name
print("both")
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_programs_with_protos_of_the_same_names_can_import_ours(order: str) -> None:
    run = subprocess.run([sys.executable, "-c", _NEIGHBOUR, order], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.stdout == "both\n", run.stderr


def test_nothing_of_ours_is_in_the_default_pool() -> None:
    from google.protobuf import descriptor_pool

    for messages, name in ((PDP, "pdp.v1.CheckRequest"), (ENVOY, "envoy.service.auth.v3.CheckRequest")):
        assert messages.find(name) is not None
        with pytest.raises(KeyError):
            descriptor_pool.Default().FindMessageTypeByName(name)
