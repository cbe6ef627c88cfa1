"""The messages of `pdp.v1` and of Envoy's ext_authz, in descriptor pools of our own.

A program that has Envoy's own protos, or googleapis', or an older `pdp.v1`, has them in protobuf's default pool, where two
files of one name cannot be. So nothing of ours is ever put there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from pdp.wire._gen import envoy, pdp_v1

__all__ = ["ENVOY", "PDP", "PDP_FILES", "DecodeError", "Messages"]


class Messages:
    """The message classes of one set of files, by their names in it: `PDP.CheckRequest`."""

    def __init__(self, descriptors: bytes, package: str) -> None:
        self._package = package
        self.pool = DescriptorPool()
        files = FileDescriptorSet.FromString(descriptors).file
        for file in files:
            self.pool.AddSerializedFile(file.SerializeToString())
        # INVARIANT: nothing that upb points to is held by upb alone.
        self._classes = tuple(GetMessageClass(each) for file in files for each in self._messages_of(file.name))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.find(f"{self._package}.{name}")

    def _messages_of(self, file: str) -> Iterator[Any]:
        """The descriptors of all messages of a file: nested ones and entries of maps, too."""
        waiting = list(self.pool.FindFileByName(file).message_types_by_name.values())
        while waiting:
            message = waiting.pop()
            waiting.extend(message.nested_types)
            yield message

    def find(self, full_name: str) -> Any:
        try:
            return GetMessageClass(self.pool.FindMessageTypeByName(full_name))
        except KeyError:
            raise AttributeError(full_name) from None


#: The files of `pdp.v1`, with those that they need.
PDP_FILES = tuple(FileDescriptorSet.FromString(pdp_v1.DESCRIPTORS).file)
PDP = Messages(pdp_v1.DESCRIPTORS, "pdp.v1")
ENVOY = Messages(envoy.DESCRIPTORS, "envoy.service.auth.v3")
