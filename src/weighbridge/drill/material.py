"""The bytes of models and of payloads: written here byte by byte, read by the gate, never loaded by anybody.

Every payload is inert: what it would run is an `echo`, and nothing in a drill ever runs it.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from weighbridge.core.canonical import JSON

CARD = "---\nlicense: apache-2.0\n---\nA small encoder, made for the drill.\n"
COMMAND = b"echo this would have been run"
TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    "{{ cycler.__init__.__globals__.os.popen('echo this would have been run').read() }}"
)
CODE = 'import os\n\nos.system("echo this would have been run")\n\n\nclass Model:\n    """What auto_map names."""\n'


def put(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files into a new folder and return it."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def encoder(seed: float, **more: bytes | str) -> dict[str, bytes | str]:
    """Return the files of a small honest model; `more` are further ones, `__` for the dot."""
    files: dict[str, bytes | str] = {
        "model.safetensors": safetensors(seed),
        "config.json": json.dumps({"model_type": "bert", "architectures": ["BertModel"]}),
        "README.md": CARD,
    }
    return {**files, **{name.replace("__", "."): data for name, data in more.items()}}


def safetensors(seed: float) -> bytes:
    """Return a safetensors file of one F32 tensor of 64 values."""
    values = [seed + index / 64 for index in range(64)]
    data = struct.pack("<64f", *values)
    header: dict[str, JSON] = {"weight": {"dtype": "F32", "shape": [8, 8], "data_offsets": [0, len(data)]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def pickle_call(command: bytes = COMMAND) -> bytes:
    """Return a pickle (protocol 2) that calls posix.system when it is loaded: GLOBAL, argument, TUPLE1, REDUCE, STOP."""
    return b"\x80\x02cposix\nsystem\nX" + struct.pack("<I", len(command)) + command + b"\x85R."


def checkpoint(pickled: bytes) -> bytes:
    """Return a torch zip checkpoint around a pickle."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), pickled)
        archive.writestr(zipfile.ZipInfo("archive/version"), b"3\n")
    return data.getvalue()


def polyglot() -> bytes:
    """Return safetensors for whoever reads from the front, and a zip with a pickle for whoever reads from the end."""
    return safetensors(1.0) + checkpoint(pickle_call())


def adapter(base: str) -> str:
    """Return the configuration of a LoRA adapter."""
    return json.dumps({"peft_type": "LORA", "base_model_name_or_path": base, "r": 8, "lora_alpha": 16})


def changed(data: bytes) -> bytes:
    """Return the same number of bytes with one bit in the last of them changed."""
    return data[:-1] + bytes((data[-1] ^ 1,))
