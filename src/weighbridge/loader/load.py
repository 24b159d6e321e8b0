"""Load an admitted model: from the pinned root key, by numbered steps, to bytes that were hashed as they were read.

1. the pin: root key and least authority version, from the user's configuration home
2. the authority: signed by that root, not rolled back, not expired
3. the gate's summary: signed by an identity with the role `admit`, logged, about this registry, not expired
4. the manifest: its digest is the one the summary names
5. the files: exactly those of the manifest, nothing else in the folder
6. each file: read once into private memory, hashed there, compared, and only then parsed
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.claims.summary import Summary, read_vsa
from weighbridge.config import config_home
from weighbridge.conversion.names import read_aliases
from weighbridge.core.canonical import parse
from weighbridge.core.clock import Clock, rfc3339
from weighbridge.core.errors import CannotTell, LoadRefused, NotFound, Refused, Unreadable, WeighbridgeError
from weighbridge.core.evidence import Proven
from weighbridge.core.manifest import Manifest
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role, Tier
from weighbridge.formats.safetensors import SafetensorsHeader, TensorInfo, parse_header
from weighbridge.registry.pins import Pin, read_pin
from weighbridge.registry.wiring import SystemClock
from weighbridge.store.sealed import Sealed, sealed
from weighbridge.trust.authority import Authority
from weighbridge.trust.authority_file import verify_authority
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle

SKEW = timedelta(minutes=5)
MAX_EVIDENCE = 64 * 1024 * 1024
NUMPY_TYPES: Mapping[str, str] = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4", "I32": "<i4",
    "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
RAW_TYPES: Mapping[str, str] = {"BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1", "F8_E8M0": "u1"}
"""dtypes that numpy has no type for: handed out as unsigned integers of the same width (see `dtypes`)."""


@dataclass(frozen=True)
class LoadedModel:
    """An admitted model, verified up to its manifest; each file is verified when it is read."""

    path: Path
    manifest: Manifest
    admission: Summary
    proven: Proven
    """Who signed the admission, and where it is logged."""

    def read(self, name: str) -> bytes:
        """Return the verified bytes of one file; raises NotFound, LoadRefused or Unreadable."""
        with self._sealed(name) as memory:
            return bytes(memory.buffer)

    def check(self, name: str) -> None:
        """Read and compare one file without handing it out; raises like `read`."""
        self._sealed(name).close()

    def weights(self) -> tuple[str, ...]:
        """Return the names of the safetensors files, in the order of the manifest."""
        return tuple(entry.path for entry in self.manifest.files if entry.path.endswith(".safetensors"))

    def tensors(self, *names: str) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """Yield (name, array) of every tensor, one weight file after the other (all, or those named).

        Arrays are read-only views of the private memory that was hashed. A file's memory is given back
        when its last array is dropped, so a caller that copies arrays on holds one file at a time.
        Raises LoadRefused before the first tensor of a file that is not what the manifest says.
        """
        for name in names or self.weights():
            yield from _arrays(self._sealed(name), name)

    def dtypes(self, *names: str) -> dict[str, str]:
        """Return the safetensors dtype of each tensor; BF16 and F8 arrays are unsigned integers in numpy."""
        found: dict[str, str] = {}
        for name in names or self.weights():
            with self._sealed(name) as memory:
                found |= {tensor.name: tensor.dtype for tensor in _header(memory, name).tensors}
        return found

    def _sealed(self, name: str) -> Sealed:
        entry = self.manifest.entry(name)
        if entry is None:
            raise NotFound(
                f"the admitted model has no file {name!r}",
                remedy=f"it has: {', '.join(e.path for e in self.manifest.files[:10])}",
            )
        # Step 6. The memory that is hashed is the memory that is parsed; the path is not looked at again.
        try:
            descriptor = _open_below(self.path, name)
            try:
                memory = sealed(descriptor, entry.size)
            finally:
                os.close(descriptor)
        except Unreadable as error:
            raise _refuse(
                "file.bytes", f"{name!r} is not the file that was admitted", error.problem
            ) from error
        if memory.sha256 != entry.sha256:
            memory.close()
            raise _refuse(
                "file.bytes",
                f"{name!r} is not the file that was admitted",
                f"admitted {entry.sha256.short}, found {memory.sha256.short}",
            )
        return memory


def load(
    model: str | Path,
    *,
    project: str | None = None,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
) -> LoadedModel:
    """Verify an admitted model at `model` (the path that promote and pull print) and return it for reading.

    Needs its bytes, the evidence beside them and the pinned root key; no database, no network. `project`
    demands that the admission was for that project. Raises LoadRefused with a check id, or CannotTell.
    """
    now = (clock or SystemClock()).now()
    home = config_home(os.environ if environ is None else environ)
    folder, evidence = _places(Path(model))
    try:
        card: Any = parse(_evidence(evidence, "registry.json"))
        pin = read_pin(home, str(card["registry"]))  # step 1
        authority = verify_authority(  # step 2
            _evidence(evidence, "authority.json"),
            root_keys=pin.roots,
            now=now,
            minimum_version=pin.authority_version,
        )
        _not_withdrawn(evidence)
        bundle = Bundle.from_json(_evidence(evidence, "admission.sigstore.json"))
        summary, proven = _summary(bundle, authority, pin, now, project)  # step 3
        manifest = Manifest.from_json(_evidence(evidence, "manifest.json"))
    except (ValueError, KeyError, TypeError) as error:
        raise _refuse("evidence.form", "the evidence beside the model cannot be read", str(error)) from error
    except LoadRefused:
        raise
    except Refused as error:
        raise _refuse(error.check or "evidence", error.problem, error.cause, error.remedy) from error
    if manifest.digest != summary.manifest:  # step 4
        raise _refuse(
            "manifest.admitted",
            "the manifest is not the one that was admitted",
            f"admitted {summary.manifest.short}, found {manifest.digest.short}",
        )
    _same_files(folder, manifest)  # step 5
    return LoadedModel(folder, manifest, summary, proven)


def _not_withdrawn(evidence: Path) -> None:
    """Refuse what the registry has taken back since, with its reason; the admission itself is gone then."""
    if not (evidence / "withdrawn.json").exists():
        return
    note: Any = parse(_evidence(evidence, "withdrawn.json"))
    raise _refuse(
        "admission.withdrawn",
        "the admission was withdrawn",
        str(note["reason"]),
        "see what stands against it: weighbridge lineage --deployed, weighbridge advisory list",
    )


def _summary(
    bundle: Bundle, authority: Authority, pin: Pin, now: Any, project: str | None
) -> tuple[Summary, Proven]:
    said = read_vsa(Statement.decode(bundle.envelope.payload))
    verified = verify_bundle(bundle, authority=authority, project=said.project, role=Role.ADMIT, now=now)
    summary = read_vsa(verified.statement)
    if summary.registry != pin.registry or authority.registry != pin.registry:
        raise _refuse(
            "admission.registry", "the admission is another registry's", f"it says {summary.registry}"
        )
    if project is not None and summary.project != project:
        raise _refuse(
            "admission.project", "the admission is for another project", f"it says {summary.project!r}"
        )
    if not summary.passed or summary.tier is not Tier.TRUSTED:
        raise _refuse("admission.passed", "the gate did not admit this model", f"tier {summary.tier.value}")
    if now >= summary.expires:
        raise _refuse(
            "admission.expired",
            "the admission has expired",
            f"it ended {rfc3339(summary.expires)}",
            "renew it: weighbridge admit MODEL",
        )
    if summary.verified_at > now + SKEW:
        raise _refuse(
            "admission.time",
            "the admission is from the future",
            f"it was given {rfc3339(summary.verified_at)}, and this clock says {rfc3339(now)}",
            "set this machine's clock",
        )
    return summary, verified.proven


def _places(path: Path) -> tuple[Path, Path]:
    path = path.expanduser().absolute()
    folder = path if path.name == "model" else path / "model"
    if not folder.is_dir():
        raise NotFound(
            f"there is no admitted model at {path}",
            remedy="give the path that `weighbridge promote` or `weighbridge pull` printed",
        )
    evidence = folder.parent / "evidence"
    if not evidence.is_dir():
        raise _refuse(
            "evidence.present",
            "there is no evidence beside this model",
            f"{evidence} does not exist",
            "load only what the gate laid out: weighbridge pull … or weighbridge promote …",
        )
    return folder, evidence


def _evidence(folder: Path, name: str) -> bytes:
    try:
        with (folder / name).open("rb") as file:
            data = file.read(MAX_EVIDENCE + 1)
    except FileNotFoundError as error:
        raise _refuse("evidence.present", f"the evidence {name!r} is missing", str(folder)) from error
    except OSError as error:
        raise Unreadable(f"the evidence {name!r} cannot be read", cause=str(error)) from error
    if len(data) > MAX_EVIDENCE:
        raise _refuse(
            "evidence.form", f"the evidence {name!r} is too large", f"more than {MAX_EVIDENCE} bytes"
        )
    return data


def _same_files(folder: Path, manifest: Manifest) -> None:
    """Refuse a folder that holds anything else than the manifest's files: another loader might run it."""
    found: set[str] = set()
    for base, folders, files in os.walk(folder, followlinks=False, onerror=_raise):
        below = Path(base).relative_to(folder)
        for name in [*files, *(f for f in folders if (Path(base) / f).is_symlink())]:
            found.add((below / name).as_posix())
    expected = {entry.path for entry in manifest.files}
    if extra := sorted(found - expected):
        raise _refuse(
            "files.extra",
            f"there is a file that was never admitted: {extra[0]!r}",
            f"{len(extra)} files more than the manifest names",
            "remove it, or let the gate lay the model out again: weighbridge admit MODEL",
        )
    if missing := sorted(expected - found):
        raise _refuse(
            "files.missing", f"the file {missing[0]!r} is missing", f"{len(missing)} files are missing"
        )


def _raise(error: OSError) -> None:
    raise Unreadable("the model's folder cannot be listed", cause=str(error)) from error


def _open_below(folder: Path, name: str) -> int:
    """Open a regular file below `folder` without following any link on the way."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        current = os.open(folder, flags | os.O_DIRECTORY)
        for part in name.split("/")[:-1]:
            inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = inner
        try:
            descriptor = os.open(name.rsplit("/", maxsplit=1)[-1], flags | os.O_NONBLOCK, dir_fd=current)
        finally:
            os.close(current)
    except OSError as error:
        raise Unreadable(f"{name!r} cannot be opened", cause=error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refuse("file.kind", f"{name!r} is not a regular file", "it was replaced by something else")
    return descriptor


def _header(memory: Sealed, name: str) -> SafetensorsHeader:
    try:
        return parse_header(memory.buffer, len(memory.buffer))
    except WeighbridgeError as error:
        raise _refuse(
            error.check or "file.format", f"{name!r} is not sound safetensors", error.problem
        ) from error


def _arrays(memory: Sealed, name: str) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    try:
        yield from _views(memory, _header(memory, name))
    finally:
        memory.close()  # arrays made of the bytes keep the mapping alive until they are dropped


def _views(memory: Sealed, header: SafetensorsHeader) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    names: dict[str, list[str]] = {tensor.name: [tensor.name] for tensor in header.tensors}
    for alias, target in read_aliases(header.metadata).items():
        names[target].append(alias)
    for tensor in header.tensors:
        array = _array(memory, header, tensor)
        for known_as in names[tensor.name]:
            yield known_as, array


def _array(memory: Sealed, header: SafetensorsHeader, tensor: TensorInfo) -> np.ndarray[Any, Any]:
    kind = NUMPY_TYPES.get(tensor.dtype) or RAW_TYPES.get(tensor.dtype)
    if kind is None:
        raise CannotTell(
            f"tensor {tensor.name!r} has dtype {tensor.dtype}, which numpy cannot hold",
            remedy="read the file's bytes with `read` and hand them to a library that can",
        )
    view = memory.buffer[header.data_start + tensor.start : header.data_start + tensor.end]
    return np.frombuffer(view, dtype=kind).reshape(tensor.shape)


def _refuse(check: str, problem: str, cause: str, remedy: str = "") -> LoadRefused:
    remedy = remedy or "do not use these bytes; lay the model out again with: weighbridge admit MODEL"
    return LoadRefused(problem, cause=cause, remedy=remedy, check=check)
