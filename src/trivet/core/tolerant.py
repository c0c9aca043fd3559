"""Reading what other processes of ours wrote: during a rolling upgrade, old and new ones read each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import inspect as kinds

from trivet.core.typeinfo import info_of


def tolerant(type: Any) -> Callable[[bytes], Any]:
    """Return a decoder for what another version of this program wrote: unknown fields are dropped, not refused.

    During a rolling upgrade old and new processes read each other. The strict pass comes first, so that the common
    case costs nothing more.
    """
    strict = msgspec.json.Decoder(type)
    info = info_of(type)

    def decode(data: bytes) -> Any:
        try:
            return strict.decode(data)
        except msgspec.ValidationError:
            return msgspec.convert(prune(info, msgspec.json.decode(data)), type)

    return decode


def prune(info: kinds.Type, value: Any) -> Any:
    """Return a parsed value without the members that its type does not know."""
    if isinstance(info, kinds.Metadata):
        return prune(info.type, value)
    if isinstance(info, kinds.StructType) and isinstance(value, Mapping):
        known = {field.encode_name: field.type for field in info.fields}
        kept = {name: prune(known[name], item) for name, item in value.items() if name in known}
        return kept | ({info.tag_field: value[info.tag_field]} if info.tag_field in value else {})
    if isinstance(info, kinds.ListType | kinds.SetType | kinds.FrozenSetType | kinds.VarTupleType) and isinstance(
        value, list
    ):
        return [prune(info.item_type, item) for item in value]
    if isinstance(info, kinds.DictType) and isinstance(value, Mapping):
        return {key: prune(info.value_type, item) for key, item in value.items()}
    if isinstance(info, kinds.UnionType) and isinstance(value, Mapping):
        structs = [m for m in info.types if isinstance(m, kinds.StructType)]
        chosen = next((m for m in structs if m.tag is None or value.get(m.tag_field) == m.tag), None)
        return prune(chosen, value) if chosen else value
    if isinstance(info, kinds.UnionType) and isinstance(value, list):
        sequence = next((m for m in info.types if isinstance(m, kinds.ListType | kinds.VarTupleType)), None)
        return prune(sequence, value) if sequence else value
    return value
