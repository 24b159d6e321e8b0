"""Which packages a model asks for: requirements, lock files, environments, and the libraries that wrote its files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from weighbridge.bom.facts import Fact, Requirement, is_text, step
from weighbridge.bom.reading import Reading

MAX_REQUIREMENTS = 2000
"""Packages of one model."""
MAX_SOURCES = 50
"""Files of one model that are read for packages."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,63}")
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?")
_HASH = re.compile(r"--hash[= ]\s*sha256:([0-9a-fA-F]{64})")
_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")
_CREDENTIALS = re.compile(r"//[^/@\s]*@")
FRAMEWORKS: Mapping[str, str] = {
    "transformers_version": "transformers",
    "_diffusers_version": "diffusers",
    "adapter.peft_version": "peft",
}
"""Facts that name the version of the library that wrote a file."""
SENTENCE_TRANSFORMERS = {
    "sentence_transformers": "sentence-transformers",
    "transformers": "transformers",
    "pytorch": "torch",
}
"""Members of `__version__` in config_sentence_transformers.json, and what the packages are called."""


def declared_frameworks(reading: Reading, facts: Iterable[Fact]) -> Iterator[Requirement]:
    """Yield the libraries that say they wrote the files of this model."""
    seen = set()
    for fact in facts:
        package = FRAMEWORKS.get(fact.name)
        if package and (package, fact.value) not in seen and _VERSION.fullmatch(str(fact.value)):
            seen.add((package, fact.value))
            yield Requirement(package, str(fact.value), "", (), fact.path, fact.pointer, framework=True)
    path = "config_sentence_transformers.json"
    versions = reading.object(path).get("__version__")
    for key, package in SENTENCE_TRANSFORMERS.items():
        version = versions.get(key) if isinstance(versions, dict) else None
        if isinstance(version, str) and _VERSION.fullmatch(version):
            yield Requirement(package, version, "", (), path, f"/__version__/{key}", framework=True)


def requirements_of(reading: Reading) -> list[Requirement]:
    """Return the packages that requirements, lock files and environments of a model name, in a fixed order.

    A package that some file pins is not listed again for a file that only asks for it; the hashes of equal
    pins are joined.
    """
    found: list[Requirement] = []
    for entry in _sources(reading):
        reader = _reader_of(entry)
        assert reader is not None
        for row in reader(reading, entry):
            if len(found) == MAX_REQUIREMENTS:
                reading.miss(entry, f"more than {MAX_REQUIREMENTS} packages")
                return _joined(found)
            found.append(row)
    return _joined(found)


def _sources(reading: Reading) -> list[str]:
    paths = [entry.path for entry in reading.manifest.files if _reader_of(entry.path)]
    paths.sort(key=lambda path: (path.count("/"), path))
    if len(paths) > MAX_SOURCES:
        reading.miss(paths[MAX_SOURCES], f"more than {MAX_SOURCES} files name packages")
    return paths[:MAX_SOURCES]


def _joined(rows: list[Requirement]) -> list[Requirement]:
    pinned: dict[tuple[str, str], Requirement] = {}
    for row in rows:
        key = (row.name, row.version or row.asked)
        first = pinned.get(key)
        hashes = tuple(dict.fromkeys((*first.hashes, *row.hashes))) if first else row.hashes
        base = first or row
        pinned[key] = Requirement(
            base.name, base.version, base.asked, hashes, base.path, base.pointer, base.indexed, base.framework
        )  # fmt: skip
    exact = {row.name for row in pinned.values() if row.version}
    kept = [row for row in pinned.values() if row.version or row.name not in exact]
    return sorted(kept, key=lambda row: (row.name, row.version, row.asked))


Reader = Callable[[Reading, str], Iterator[Requirement]]


def _reader_of(path: str) -> Reader | None:
    """Return what reads a file of that name, or None."""
    name = path.rpartition("/")[2].lower()
    if name.startswith("requirements") and name.endswith((".txt", ".lock")):
        return _text_lines
    if name in ("poetry.lock", "uv.lock", "pdm.lock") or (
        name.startswith("pylock.") and name.endswith(".toml")
    ):
        return _locked
    return {
        "pipfile.lock": _pipfile,
        "conda.yaml": _conda, "conda.yml": _conda, "environment.yml": _conda, "environment.yaml": _conda,
        "python_env.yaml": _conda,
    }.get(name)  # fmt: skip


def _text_lines(reading: Reading, path: str) -> Iterator[Requirement]:
    """Read a requirements file (pip's documentation, Requirements File Format): options are passed over."""
    text = reading.text(path)
    for line in (text or "").replace("\\\n", " ").split("\n"):
        wanted = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not wanted or wanted.startswith("-"):
            continue
        hashes = tuple(found.lower() for found in _HASH.findall(wanted))
        row = requirement(wanted.partition(" --")[0].strip(), path, "", hashes)
        if row is None:
            reading.miss(path, "a line is not a requirement of a named package")
        else:
            yield row


def requirement(text: str, path: str, pointer: str, hashes: tuple[str, ...] = ()) -> Requirement | None:
    """Return the package that one requirement (PEP 508) names; None for what names none, such as a bare link."""
    match = _LINE.fullmatch(text[:2000])
    if match is None or not _NAME.fullmatch(match[1]) or match[3][:1] not in ("", *"<>=!~@("):
        return None
    asked = _CREDENTIALS.sub("//", match[3])
    elsewhere = asked.startswith("@")
    pin = re.fullmatch(r"={2,3}\s*([^\s,*]+)", asked)
    version = pin[1] if pin and _VERSION.fullmatch(pin[1]) else ""
    spoken = "" if version else asked if is_text(asked) else ""
    return Requirement(_normal(match[1]), version, spoken, hashes, path, pointer, indexed=not elsewhere)


def _locked(reading: Reading, path: str) -> Iterator[Requirement]:
    """Read a lock file in TOML: `package` (poetry, uv, pdm) or `packages` (PEP 751)."""
    text = reading.text(path)
    if text is None:
        return
    try:
        value = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        reading.miss(path, "this is not TOML")
        return
    key = "packages" if "packages" in value else "package"
    rows = value.get(key)
    for number, row in enumerate(rows if isinstance(rows, list) else ()):
        source = row.get("source") if isinstance(row, dict) else None
        if isinstance(source, dict) and {"virtual", "editable"} & set(source):
            continue  # the project that the lock was written for, no package of it
        elsewhere = isinstance(row, dict) and ({"vcs", "directory"} & set(row) or _is_repository(source))
        yield from _row(reading, row, path, f"/{key}/{number}", indexed=not elsewhere)


def _is_repository(source: Any) -> bool:
    return isinstance(source, dict) and bool(
        {"git", "url", "path", "directory"} & set(source) or source.get("type")
    )


def _row(reading: Reading, row: Any, path: str, pointer: str, *, indexed: bool) -> Iterator[Requirement]:
    name, version = (row.get("name"), row.get("version")) if isinstance(row, dict) else (None, None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        reading.miss(path, f"{pointer} names no package")
        return
    exact = version if isinstance(version, str) and _VERSION.fullmatch(version) else ""
    yield Requirement(_normal(name), exact, "", tuple(_hashes(row)), path, pointer, indexed=indexed)


def _hashes(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the SHA-256 of each artifact that a locked package lists, however the lock writes them."""
    artifacts = [item for key in ("files", "wheels", "sdist", "archive") for item in _listed(row.get(key))]
    for artifact in artifacts:
        if isinstance(artifact, dict):
            given = artifact.get("hash")
            match = _SHA256.fullmatch(given) if isinstance(given, str) else None
            if match:
                yield match[1].lower()
            several = artifact.get("hashes")
            digest = several.get("sha256") if isinstance(several, dict) else None
            if isinstance(digest, str) and re.fullmatch(r"[0-9a-fA-F]{64}", digest):
                yield digest.lower()


def _pipfile(reading: Reading, path: str) -> Iterator[Requirement]:
    value = reading.object(path)
    packages = value.get("default")
    if not isinstance(packages, dict):
        return
    for name in sorted(packages):
        row = packages[name]
        asked = row.get("version") if isinstance(row, dict) else None
        found = requirement(f"{name}{asked if isinstance(asked, str) else ''}", path, f"/default{step(name)}")
        if found is None:
            reading.miss(path, f"/default{step(name)[:80]} names no package")
            continue
        listed = (
            [item for item in _listed(row.get("hashes")) if isinstance(item, str)]
            if isinstance(row, dict)
            else []
        )
        matches = [_SHA256.fullmatch(item) for item in listed]
        hashes = tuple(match[1].lower() for match in matches if match)
        yield Requirement(found.name, found.version, found.asked, hashes, path, found.pointer, found.indexed)


def _conda(reading: Reading, path: str) -> Iterator[Requirement]:
    """Read an environment: packages of conda are names without a purl of the index, those under `pip` have one."""
    value = reading.yaml_object(path)
    for number, item in enumerate(_listed(value.get("dependencies"))):
        pointer = f"/dependencies/{number}"
        if isinstance(item, dict):
            for index, line in enumerate(_listed(item.get("pip"))):
                yield from _line(reading, line, path, f"{pointer}/pip/{index}")
        elif isinstance(item, str) and path.endswith("python_env.yaml"):
            yield from _line(reading, item, path, pointer)
        elif isinstance(item, str):
            name, _, rest = item.rpartition("::")[2].partition("=")
            name = re.split(r"[<>!=\s]", name)[0].strip()
            version = rest.strip("=").partition("=")[0]
            if not _NAME.fullmatch(name):
                reading.miss(path, f"{pointer} names no package")
                continue
            exact = version if _VERSION.fullmatch(version) else ""
            yield Requirement(_normal(name), exact, "", (), path, pointer, indexed=False)


def _line(reading: Reading, line: Any, path: str, pointer: str) -> Iterator[Requirement]:
    if not isinstance(line, str) or line.startswith("-"):
        return
    row = requirement(line.strip(), path, pointer)
    if row is None:
        reading.miss(path, f"{pointer} is not a requirement of a named package")
    else:
        yield row


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else []


def _normal(name: str) -> str:
    """Return the normalised name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
