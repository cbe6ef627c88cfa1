"""Reflection, asked as tools ask it: first for the services, then for the file of one, which has to be enough to call it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from pdp.errors import PdpError
from pdp.server.reflection import VERSIONS
from pdp.server.table import make_handlers
from tests.pdp.server.world import call, channel, code_of, development, running

ON = {"enabled": True, "reflection": True}
INFO = "/grpc.reflection.{}.ServerReflection/ServerReflectionInfo"


def ask(opened: grpc.Channel, version: str, *asked: bytes) -> list[Any]:
    answers = opened.stream_stream(INFO.format(version))(iter(asked), timeout=15)
    return [ServerReflectionResponse.FromString(raw) for raw in answers]


def request(**of: str) -> bytes:
    return bytes(ServerReflectionRequest(**of).SerializeToString())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_tool_learns_enough_to_call(version: str, tmp_path: Path) -> None:
    with running(development(tmp_path, development=ON), make_handlers) as server, channel(server.address) as opened:
        (listed,) = ask(opened, version, request(list_services="*"))
        services = {each.name for each in listed.list_services_response.service}
        assert services == {f"pdp.v1.{name}Service" for name in ("Decision", "Grant", "Admin")} | {"grpc.health.v1.Health"}
        found = ask(opened, version, *(request(file_containing_symbol=name) for name in sorted(services)))
        pool = DescriptorPool()
        files = {raw for answer in found for raw in answer.file_descriptor_response.file_descriptor_proto}
        waiting = [FileDescriptorProto.FromString(raw) for raw in files]
        while waiting:  # a file after those that it needs
            file = waiting.pop(0)
            if any(other.name in file.dependency for other in waiting):
                waiting.append(file)
            else:
                pool.AddSerializedFile(file.SerializeToString())
        for service in services:
            for method in pool.FindServiceByName(service).methods:
                assert f"/{service}/{method.name}" in make_table(server)
        answer = GetMessageClass(pool.FindMessageTypeByName("grpc.health.v1.HealthCheckResponse"))
        told = answer.FromString(call(opened, "/grpc.health.v1.Health/Check"))
        assert told.DESCRIPTOR.enum_types_by_name["ServingStatus"].values_by_number[told.status].name == "SERVING"


def make_table(server: Any) -> set[str]:
    from pdp.server.health import health_handlers

    return {*make_handlers(server.parts), *health_handlers(server.parts.readiness, ())}


@pytest.mark.parametrize(
    "of",
    [
        {"file_containing_symbol": "envoy.service.auth.v3.Authorization"},
        {"file_containing_symbol": "grpc.reflection.v1alpha.ServerReflection"},
        {"file_by_filename": "envoy/service/auth/v3/external_auth.proto"},
    ],
)
def test_it_tells_of_nothing_else(of: dict[str, str], tmp_path: Path) -> None:
    with running(development(tmp_path, development=ON), make_handlers) as server, channel(server.address) as opened:
        (answer,) = ask(opened, "v1", request(**of))
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        with pytest.raises(grpc.RpcError) as refusal:
            ask(opened, "v1", b"\xff")
        assert code_of(refusal.value) == "INVALID_ARGUMENT malformed"


def test_it_is_not_there_unless_it_is_asked_for(tmp_path: Path) -> None:
    with running(development(tmp_path), make_handlers) as server, channel(server.address) as opened:
        with pytest.raises(grpc.RpcError) as refusal:
            ask(opened, "v1", request(list_services="*"))
        assert code_of(refusal.value) == "UNIMPLEMENTED unknown_method"


def test_without_its_extra_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc_reflection.v1alpha.reflection", None)
    with pytest.raises(PdpError, match="extra `reflection`"), running(development(tmp_path, development=ON)):
        pass
