"""`grpc.reflection`, for one's own machine: what `grpcurl` and its like ask before they can call anything.

It tells of `pdp.v1` and `grpc.health.v1` and of nothing else: it has a pool of descriptors of its own. What it answers is
grpcio's own; versions v1alpha and v1 are the same on the wire.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from pdp.errors import PdpError
from pdp.server import health
from pdp.server.handlers import Deadline, Handlers, StreamMethod, edge_refusal
from pdp.server.peer import Peer
from pdp.wire.messages import PDP_FILES

VERSIONS = ("v1alpha", "v1")


def reflection_handlers(services: Collection[str]) -> Handlers:
    """Of those of `services` that it tells of. For everyone, as all is in development."""
    try:
        from grpc_reflection.v1alpha.reflection import ReflectionServicer
        from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
    except ImportError:
        raise PdpError("invalid_configuration", "development.reflection needs the extra `reflection`") from None
    told = [name for name in services if name.startswith("pdp.v1.")]
    servicer = ReflectionServicer([health.SERVICE, *told], _pool())

    async def info(raws: AsyncIterator[bytes], _: Peer, __: Deadline) -> AsyncGenerator[bytes, None]:
        async for raw in raws:
            try:
                request = ServerReflectionRequest.FromString(raw)
            except DecodeError:
                raise edge_refusal("malformed", "not a ServerReflectionRequest") from None
            for response in servicer.ServerReflectionInfo((request,), None):
                yield bytes(response.SerializeToString())

    method = StreamMethod(info, None, when_ready=False)
    return {f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": method for version in VERSIONS}


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in (*PDP_FILES, _health()):
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _health() -> FileDescriptorProto:
    """What `health.py` reads and writes by hand."""
    file = FileDescriptorProto(name="grpc/health/v1/health.proto", package="grpc.health.v1", syntax="proto3")
    field = FieldDescriptorProto
    asked = file.message_type.add(name="HealthCheckRequest")
    asked.field.add(name="service", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    told = file.message_type.add(name="HealthCheckResponse")
    status = told.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        status.value.add(name=name, number=number)
    kind = ".grpc.health.v1.HealthCheckResponse.ServingStatus"
    told.field.add(name="status", number=1, type=field.TYPE_ENUM, type_name=kind, label=field.LABEL_OPTIONAL)
    service = file.service.add(name="Health")
    types = {"input_type": ".grpc.health.v1.HealthCheckRequest", "output_type": ".grpc.health.v1.HealthCheckResponse"}
    service.method.add(name="Check", **types)
    service.method.add(name="Watch", server_streaming=True, **types)
    return file
