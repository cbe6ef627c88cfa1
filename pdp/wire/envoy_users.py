"""A user whom another filter of the gate has verified, such as `jwt_authn`: the gate's word, as its entry allows (E-6)."""

from __future__ import annotations

from typing import Any

from pdp.model.gates import Gate
from pdp.model.request import Resource
from pdp.wire.messages import ENVOY, DecodeError
from pdp.wire.refusals import Unfit
from pdp.wire.strict import refuse_unseen

METADATA_BYTES_MAX = 65_536

_Metadata = ENVOY.find("envoy.config.core.v3.Metadata")


def user_of(attributes: Any, gate: Gate) -> Resource | None:
    """The user in the metadata; None when there is none, or the gate's entry does not take one from there."""
    where = gate.users_from
    if where is None:
        return None
    raw = attributes.metadata_context
    if not raw:
        return None
    if len(raw) > METADATA_BYTES_MAX:
        raise Unfit("too_large", "metadata_context")
    try:
        metadata = _Metadata.FromString(raw)
    except DecodeError:
        metadata = None
    if metadata is None:
        raise Unfit("malformed")
    refuse_unseen(metadata)
    found = metadata.filter_metadata
    if where.namespace not in found:
        return None
    value = found[where.namespace]
    for name in where.path[:-1]:
        refuse_unseen(value)
        if name not in value.fields or value.fields[name].WhichOneof("kind") != "struct_value":
            return None
        value = value.fields[name].struct_value
    last = where.path[-1]
    refuse_unseen(value)
    if last not in value.fields:
        return None
    leaf = value.fields[last]
    if leaf.WhichOneof("kind") != "string_value" or not leaf.string_value:
        raise Unfit("user_not_asserted", "the metadata hold something that is no name")
    return Resource(where.type, leaf.string_value)
