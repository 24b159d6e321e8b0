"""Read the event files of TensorBoard: records with checksums, each one message of what was logged.

Source: record_writer.h of TensorFlow (length, masked CRC-32C of the length, data, masked CRC-32C of the data) and the
.proto files event, summary and histogram of TensorBoard 2.21. Graphs in such a file are drawn and never run.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cache
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.cursor import Cursor
from weighbridge.formats.protobuf import Record, Span, schema, walk
from weighbridge.formats.tf_tables import TABLE

VERSION = "brain.Event:"
"""How the text in the first record begins."""
MAX_RECORD = 32 * 1024 * 1024
MAX_BYTES = 64 * 1024 * 1024
"""Bytes of one file whose checksums are made, which is slow."""
MAX_BLOBS = 10_000
_HEAD = 12
_POLYNOMIAL = 0x82F63B78
_EVENTS = {
    **TABLE,
    **schema("""
Event
    1 f64 wall_time; 2 int step; 3 line! file_version; 4 GraphDef graph_def; 5 Summary summary
    6 LogMessage log_message; 7 SessionLog session_log; 8 TaggedRunMetadata tagged_run_metadata
    9 MetaGraphDef meta_graph_def; 10 SourceMetadata source_metadata
SourceMetadata
    1 str writer
LogMessage
    1 int level; 2 str message
SessionLog
    1 int status; 2 str checkpoint_path; 3 str msg
TaggedRunMetadata
    1 str tag; 2 bytes run_metadata
Summary
    1 Summary.Value* value
Summary.Value
    1 str tag; 2 f32 simple_value; 3 bytes obsolete_old_style_histogram; 4 Summary.Image image
    5 HistogramProto histo; 6 Summary.Audio audio; 7 str node_name; 8 TensorProto tensor; 9 SummaryMetadata metadata
Summary.Image
    1 int height; 2 int width; 3 int colorspace; 4 bytes! encoded_image_string
Summary.Audio
    1 f32 sample_rate; 2 int num_channels; 3 int length_frames; 4 bytes! encoded_audio_string; 5 str content_type
HistogramProto
    1 f64 min; 2 f64 max; 3 f64 num; 4 f64 sum; 5 f64 sum_squares; 6 f64* bucket_limit; 7 f64* bucket
SummaryMetadata
    1 SummaryMetadata.PluginData plugin_data; 2 str display_name; 3 str summary_description; 4 int data_class
SummaryMetadata.PluginData
    1 str plugin_name; 2 bytes content
"""),
}
_BLOBS = {
    "Summary.Image": ("encoded_image_string", "picture"),
    "Summary.Audio": ("encoded_audio_string", "sound"),
}


@dataclass(slots=True)
class Events:
    """What a file logged: `blobs` are (name, offset, bytes) of pictures and sounds, `unknown` fields beyond the tables."""

    records: int = 0
    blobs: list[tuple[str, int, int]] = field(default_factory=list)
    unknown: dict[tuple[str, int], int] = field(default_factory=dict)
    """(message, field number) to the offset of the first one."""
    missing: dict[tuple[str, str], int] = field(default_factory=dict)
    """(message, field that it needs) to the offset of the first message without it."""


@cache
def _table() -> tuple[int, ...]:
    rows = []
    for row in range(256):
        for _ in range(8):
            row = (row >> 1) ^ (_POLYNOMIAL if row & 1 else 0)  # noqa: PLW2901  the usual way to write it
        rows.append(row)
    return tuple(rows)


def masked_crc(data: bytes) -> int:
    """Return the CRC-32C of `data`, turned and moved as TensorFlow writes it (crc32c.h)."""
    table = _table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def begins_events(head: bytes) -> bool:
    """Tell whether these first bytes of a file are the first record of an event file."""
    length = int.from_bytes(head[:8], "little")
    if length > len(head) - _HEAD or VERSION.encode() not in head[_HEAD : _HEAD + length]:
        return False
    return int.from_bytes(head[8:_HEAD], "little") == masked_crc(head[:8])


def read_events(stream: BinaryIO, size: int, into: Events) -> None:
    """Read a file of `size` bytes to its last; `into` holds what came before damage.

    Raises Unreadable (checks `tfevents.*`) and OutOfBudget.
    """
    cursor = Cursor(stream, size, check="tfevents", what="an event file of TensorBoard")
    if size > MAX_BYTES:
        raise _spent(f"it holds {size} bytes")
    while cursor.left():
        head = cursor.take(8)
        length = int.from_bytes(head, "little")
        if cursor.number("<I") != masked_crc(head):
            raise cursor.damaged("crc", "the length of a record does not fit its checksum")
        if length > cursor.left() - 4:
            raise cursor.damaged("truncated", f"a record of {length} bytes, {cursor.left()} remain")
        if length > MAX_RECORD:
            raise _spent(f"a record of {length} bytes")
        begin = cursor.place
        data = cursor.take(length)
        if cursor.number("<I") != masked_crc(data):
            raise cursor.damaged("crc", "a record does not fit its checksum")
        version = _event(data, begin, into)
        if version.startswith(VERSION) != (into.records == 0):
            raise cursor.damaged(
                "version", "the version of the file stands elsewhere than in its first record"
            )
        into.records += 1


def _event(data: bytes, begin: int, into: Events) -> str:
    """Walk over one record; return the version in it, or an empty text."""

    def on(record: Record) -> None:
        row, name = _BLOBS.get(record.kind, ("", ""))
        for value in record.values.get(row, ()):
            if isinstance(value, Span):
                if len(into.blobs) == MAX_BLOBS:
                    raise _spent(f"more than {MAX_BLOBS} pictures and sounds")
                into.blobs.append((f"{name} {len(into.blobs) + 1}", begin + value.offset, value.length))

    walked = walk(
        io.BytesIO(data), len(data), _EVENTS, "Event", check="tfevents", what="an event file of TensorBoard", on=on
    )  # fmt: skip
    for message, number, offset in walked.unknown:
        into.unknown.setdefault((message, number), begin + offset)
    for message, name, offset in walked.missing:
        into.missing.setdefault((message, name), begin + offset)
    return walked.root.text("file_version")


def _spent(cause: str) -> OutOfBudget:
    return OutOfBudget(
        "the event file asks for more work than a scan may spend on it", cause=cause,
        remedy="leave it out of the model: nothing loads it", check="budget.tfevents",
    )  # fmt: skip
