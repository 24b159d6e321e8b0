"""Say what a file is by its first bytes; its name is never asked."""

from __future__ import annotations

import re

MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"\x93NUMPY", "npy"),
    (0, b"GGUF", "gguf"),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"\x1f\x8b", "gzip"),
    *((0, b"BZh%d" % level, "bzip2") for level in range(1, 10)),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (257, b"ustar", "tar"),
    (4, b"TFL3", "tflite"),
    (0, b"\x7fELF", "elf"),
    (0, b"MZ", "pe"),
    (0, b"\xcf\xfa\xed\xfe", "macho"),
    (0, b"\xce\xfa\xed\xfe", "macho"),
    (0, b"\xca\xfe\xba\xbe", "macho"),
    (0, b"\x00asm", "wasm"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF8", "gif"),
    (0, b"SQLite format 3\x00", "sqlite"),
    (0, b"PAR1", "parquet"),
    (0, b"%PDF-", "pdf"),
    (8, b"WAVE", "wav"),
    (8, b"WEBP", "webp"),
    (0, b"MM\x00*", "tiff"),
    (0, b"II*\x00", "tiff"),
    (4, b"ftyp", "video"),
    (0, b"OggS", "audio"),
    (0, b"fLaC", "audio"),
    (0, b"ID3", "audio"),
    (4, b"ET12", "executorch"),
    (4, b"PTMF", "torch-mobile"),
    (4, b"ORTM", "ort"),
    (0, b"algg", "ggml"),
    (0, b"fmgg", "ggml"),
    (0, b"tjgg", "ggml"),
    (0, b"lmgg", "ggml"),
    (0, b"\xba\x16\x4f\x2f", "fasttext"),
    (0, b"CBM1", "catboost"),
    (0, b"ARROW1", "arrow"),
    (0, b"MATLAB 7.3 MAT-file", "matlab"),
    (0, b"MATLAB 5.0 MAT-file", "matlab"),
    (0, b"ftrt", "tensorrt"),
    (0, b"ptrt", "tensorrt"),
    (0, b"B\n\x03\x00\x00\x00", "r-data"),
    (0, b"B\n\x02\x00\x00\x00", "r-data"),
    (0, b"X\n\x00\x00\x00", "r-data"),
    (0, b"RDA3\n", "r-data"),
    (0, b"RDA2\n", "r-data"),
    (0, b"RDX3\n", "r-data"),
    (0, b"RDX2\n", "r-data"),
    (0, b"\xac\xed\x00\x05", "java"),
)
"""Offset, bytes, kind."""

TEXT_CONTROLS = frozenset(b"\t\n\x0b\x0c\r")
_WIDE = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_NOT_WRITTEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ufdd0-\ufdef\ufeff\ufff0-\uffff\U000f0000-\U0010ffff]"
)
"""Characters that stand in no text: controls, those for private use, a second mark, and numbers that are no character."""
_ZIP_MARKS = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")
_MAX_HEADER = 256 * 1024 * 1024


def sniff(head: bytes, size: int) -> str:
    """Return the kind that `head`, the first bytes of a file of `size` bytes, announces; `unknown` when none does.

    Some answers need a reader's confirmation: `pickle` and `safetensors` are announced by bytes that other
    files may begin with as well. The length that opens a safetensors file may itself begin like a pickle.
    """
    if not size:
        return "empty"
    for offset, magic, kind in MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    if len(head) > 8 and head[8:9] == b"{":
        length = int.from_bytes(head[:8], "little")
        if 2 <= length <= min(size, _MAX_HEADER):
            return "safetensors"
    if len(head) >= 2 and head[0] == 0x80 and head[1] <= 5:
        return "pickle"
    return "unknown"


def as_text(data: bytes) -> str | None:
    """Return `data` as text when it is UTF-8 without control characters, or UTF-16 behind a byte order mark; else None."""
    if data[:2] in _WIDE:
        return _wide_text(data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    controls = bytes(byte for byte in range(32) if byte not in TEXT_CONTROLS) + b"\x7f"
    return None if data.translate(None, controls) != data else text


def _wide_text(data: bytes) -> str | None:
    """Decode UTF-16, which nearly any bytes would pass for: so none that other readers look for anywhere in a file."""
    try:
        text = data[2:].decode(_WIDE[data[:2]])
    except UnicodeDecodeError:
        return None
    return None if _NOT_WRITTEN.search(text) or any(mark in data for mark in _ZIP_MARKS) else text
