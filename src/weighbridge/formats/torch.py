"""Recognise torch checkpoints and describe them: the graph of the pickle, and where each storage's bytes lie.

Two layouts are read. The zip layout (torch 1.6 on): one root folder of any name with `data.pkl`,
`data/<key>` for each storage, stored and never packed, and a few small members. The legacy stream:
five pickles (magic number, protocol, system facts, object, keys), then for each key the number of
elements as eight bytes and the elements. TorchScript archives are recognised and refused. Source:
torch/serialization.py and caffe2/serialize/inline_container.h, read as a specification.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget, Unreadable
from weighbridge.formats import pickle_ops
from weighbridge.formats.archive import STORED, ZipArchive, ZipMember, read_member, read_zip
from weighbridge.formats.limits import Budget, Limits
from weighbridge.formats.pickle_graph import DictNode, Graph, GraphLimits, Value, read_graph
from weighbridge.formats.torch_values import CALLS, Storage, persistent_of, refused

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
ZIP, LEGACY, TORCHSCRIPT = "torch-zip", "torch-legacy", "torchscript"

_MAGIC = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\x0a" + re.escape(MAGIC_NUMBER.to_bytes(10, "little")), re.DOTALL
)
_FIRST_READ = 1024 * 1024
_SMALL_MEMBERS = ("version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id")
_SMALL = 4096
_PROGRAM = re.compile(r"[^/]+/(?:constants\.pkl|code/.*)")


@dataclass(frozen=True, slots=True)
class CheckpointLimits:
    """What reading the description of one checkpoint may cost; spent is OutOfBudget."""

    container: Limits = field(default_factory=Limits)
    graph: GraphLimits = field(default_factory=GraphLimits)
    max_pickle: int = 256 * 1024 * 1024
    """Bytes of pickle, without the storages."""


@dataclass(frozen=True, slots=True)
class StorageInfo:
    """The bytes of one storage: safetensors dtype, number of elements, offset in the file, size in bytes.

    `crc` is the CRC-32 that a zip archive declares for them; a legacy stream declares none.
    """

    dtype: str
    numel: int
    offset: int
    size: int
    crc: int | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as described: the root of its graph, its storages by key, and which layout it has."""

    root: Value
    storages: Mapping[str, StorageInfo]
    kind: str


def recognise(file: BinaryIO, size: int) -> str:
    """Return `torch-zip`, `torch-legacy` or `torchscript`, or an empty string; decided by content alone."""
    file.seek(0)
    head = file.read(32)
    if _MAGIC.match(head):
        return LEGACY
    if head[:4] != b"PK\x03\x04":
        return ""
    return _zip_kind(read_zip(file, size))


def _zip_kind(archive: ZipArchive) -> str:
    names = [member.name for member in archive.members]
    if not any(name.count("/") == 1 and name.endswith("/data.pkl") for name in names):
        return ""
    return TORCHSCRIPT if any(_PROGRAM.fullmatch(name) for name in names) else ZIP


def read_checkpoint(file: BinaryIO, size: int, limits: CheckpointLimits | None = None) -> Checkpoint:
    """Describe the checkpoint in `file` (seekable, `size` bytes); no storage is read.

    Raises ConversionRefused (checks torch.* and graph.*) for what is no checkpoint of tensors, OutOfBudget
    for limits, and Unreadable for a member that is damaged or a file that is shorter than `size`.
    """
    limits = limits or CheckpointLimits()
    if file.seek(0, os.SEEK_END) < size:
        raise Unreadable(
            "the file is shorter than announced", remedy="fetch the file again", check="torch.truncated"
        )
    file.seek(0)
    head = file.read(32)
    if _MAGIC.match(head):
        return _read_legacy(file, size, limits)
    if head[:4] == b"PK\x03\x04":
        return _read_archive(file, size, limits)
    raise refused("layout", "this is neither a torch zip archive nor a torch legacy stream")


class _Storages:
    """Collects the storages that the persistent ids of one pickle name; one key always means the same."""

    def __init__(self) -> None:
        self.by_key: dict[str, Storage] = {}

    def __call__(self, args: tuple[Value, ...], offset: int) -> Value:
        storage = persistent_of(args, offset)
        if not isinstance(storage, Storage):
            return storage
        known = self.by_key.setdefault(storage.key, storage)
        if known != storage:
            raise refused("storage", f"storage {storage.key[:80]!r} is declared in two ways", offset)
        return known


# --- zip


def _read_archive(file: BinaryIO, size: int, limits: CheckpointLimits) -> Checkpoint:
    archive = read_zip(file, size, limits.container)
    kind = _zip_kind(archive)
    if kind == TORCHSCRIPT:
        raise refused("torchscript", "this is a TorchScript program, which is code and not only tensors")
    if archive.anomalies:
        first = archive.anomalies[0]
        raise refused("container", f"the archive is not well formed: {first.message}", first.offset)
    if archive.explained != size:
        raise refused("container", f"{size - archive.explained} bytes of the archive belong to nothing")
    if kind != ZIP:
        raise refused("layout", "this archive has no data.pkl in one root folder: it is no torch checkpoint")
    members = _members(archive)
    pickled = members.pop("data.pkl")
    if pickled.size > limits.max_pickle:
        raise _spent(pickled.size)
    budget = Budget(limits.container)
    _check_small(file, members, budget)
    found = _Storages()
    data = read_member(file, pickled, budget)
    graph = read_graph(data, calls=CALLS, persistent=found, limits=limits.graph)
    if graph.end != len(data):
        raise refused("container", f"{len(data) - graph.end} bytes follow the pickle in data.pkl", graph.end)
    return Checkpoint(graph.root, _zip_storages(found.by_key, members), ZIP)


def _members(archive: ZipArchive) -> dict[str, ZipMember]:
    """Return the members by their path below the one root folder; anything unexpected is refused."""
    root = next(m.name for m in archive.members if m.name.endswith("/data.pkl")).partition("/")[0]
    members: dict[str, ZipMember] = {}
    for member in archive.members:
        folder, _, path = member.name.partition("/")
        inner = path.removeprefix("data/")
        is_storage = inner not in (path, "") and "/" not in inner
        if folder != root or not (is_storage or path == "data.pkl" or path in _SMALL_MEMBERS):
            raise refused("member", f"the archive holds {member.name[:120]!r}, which no checkpoint needs")
        if member.method != STORED:
            raise refused(
                "packed", f"the member {member.name[:120]!r} is packed; torch stores its members as they are"
            )
        if path in members:
            raise refused("member", f"the archive holds {member.name[:120]!r} twice")
        members[path] = member
    return members


def _check_small(file: BinaryIO, members: dict[str, ZipMember], budget: Budget) -> None:
    """Take the small members out of `members`; the byte order must be little-endian where it is said."""
    for name in _SMALL_MEMBERS:
        member = members.pop(name, None)
        if member is None:
            continue
        if member.size > _SMALL:
            raise refused("member", f"the member {name!r} is larger than {_SMALL} bytes")
        text = read_member(file, member, budget)
        if name == "byteorder" and text != b"little":
            raise refused(
                "byteorder", f"the tensors are stored in the byte order {text[:16]!r}, not 'little'"
            )


def _zip_storages(declared: Mapping[str, Storage], members: dict[str, ZipMember]) -> dict[str, StorageInfo]:
    storages: dict[str, StorageInfo] = {}
    for key, storage in declared.items():
        member = members.pop(f"data/{key}", None)
        if member is None:
            raise refused("storage", f"the bytes of storage {key[:80]!r} are missing")
        if member.size != storage.size:
            raise refused(
                "storage",
                f"storage {key[:80]!r} declares {storage.size} bytes, its member holds {member.size}",
            )
        storages[key] = StorageInfo(storage.dtype, storage.numel, member.data_offset, member.size, member.crc)
    if members:
        raise refused("member", f"no tensor uses the member {next(iter(members))[:120]!r}")
    return storages


# --- legacy stream


def _read_legacy(file: BinaryIO, size: int, limits: CheckpointLimits) -> Checkpoint:
    found = _Storages()
    data = _pickles(file, size, limits)
    magic = read_graph(data, calls={}, limits=limits.graph)
    protocol = read_graph(data, magic.end, calls={}, limits=limits.graph)
    if magic.root != MAGIC_NUMBER or protocol.root != PROTOCOL_VERSION:
        raise refused("layout", "the magic number or protocol of a torch legacy stream is not there", 0)
    system = read_graph(data, protocol.end, calls={}, limits=limits.graph)
    facts = system.root.items if isinstance(system.root, DictNode) else []
    if [value is True for key, value in facts if key == "little_endian"] != [True]:
        raise refused("byteorder", "the tensors are not stored in little-endian byte order", protocol.end)
    graph = read_graph(data, system.end, calls=CALLS, persistent=found, limits=limits.graph)
    keys = read_graph(data, graph.end, calls={}, limits=limits.graph)
    return Checkpoint(graph.root, _legacy_storages(file, size, found.by_key, keys), LEGACY)


def _pickles(file: BinaryIO, size: int, limits: CheckpointLimits) -> bytes:
    """Read as much from the start as the five pickles need, so that no storage is held in memory."""
    wanted, limit = _FIRST_READ, limits.max_pickle
    while True:
        file.seek(0)
        data = file.read(min(wanted, size, limit))
        if _five_end(data, limits.graph.max_opcodes) or len(data) == size:
            return data
        if wanted >= limit:
            raise _spent(wanted)
        wanted *= 8


def _five_end(data: bytes, max_opcodes: int) -> bool:
    """Tell whether five pickles end within `data`."""
    place = 0
    try:
        for _ in range(5):
            for op in pickle_ops.decode(data, place, max_opcodes=max_opcodes):
                place = op.end
    except pickle_ops.PickleBroken:
        return False
    return True


def _legacy_storages(
    file: BinaryIO, size: int, declared: Mapping[str, Storage], keys: Graph
) -> dict[str, StorageInfo]:
    if not isinstance(keys.root, list) or not all(type(key) is str for key in keys.root):
        raise refused("storage", "the list of storage keys is ill-formed", keys.end)
    if len(set(keys.root)) != len(keys.root) or set(keys.root) != set(declared):
        raise refused("storage", "the list of storage keys is not that of the tensors", keys.end)
    storages: dict[str, StorageInfo] = {}
    place = keys.end
    for key in keys.root:
        storage = declared[key]
        file.seek(place)
        count = file.read(8)
        if len(count) != 8 or struct.unpack("<q", count)[0] != storage.numel:
            raise refused("storage", f"storage {key[:80]!r} is not as large as its tensors say", place)
        storages[key] = StorageInfo(storage.dtype, storage.numel, place + 8, storage.size)
        place += 8 + storage.size
        if place > size:
            raise refused("storage", f"the file ends inside storage {key[:80]!r}", size)
    if place != size:
        raise refused("container", f"{size - place} bytes follow the last storage", place)
    return storages


def _spent(found: int) -> OutOfBudget:
    return OutOfBudget(
        f"the checkpoint's pickle is longer than allowed ({found} bytes)",
        cause="the limits keep a hostile file from taking all memory",
        remedy="raise `max_pickle` where this model is known to be that large",
        check="torch.budget",
    )
