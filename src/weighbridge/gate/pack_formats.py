"""The formats that an audit pack is made of, read without anything of this project: envelopes, notes, trees, authority.

Part of the verification script (`verify_pack`): standard library and `cryptography`, nothing else may be imported here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

SCHEMA = "weighbridge.audit-pack/1"
AUTHORITY_TYPE = "application/vnd.weighbridge.authority+json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
PACK_TYPE = "application/vnd.weighbridge.audit-pack+json"
INDEX, SIGNATURE = "index.json", "index.sig.json"
MAX_LINE, MAX_SMALL, MAX_MEMBERS, MAX_TOLD = 128 << 20, 64 << 20, 1000, 200


class Wrong(Exception):
    """Something in the pack is not what it says it is."""


# ------------------------------------------------------------------------------- small parts


def canonical(value: Any) -> bytes:
    """Return JSON as RFC 8785 writes it, for the values that are compared here: no fractions, keys of the basic plane."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    """Return `sha256:` and the digest."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def plain(text: str) -> bytes:
    """Read base64, in its one spelling."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise Wrong("base64 is not in its one spelling")
    return data


def moment(text: str) -> int:
    """Read an RFC 3339 time as seconds since 1970."""
    return int(datetime.fromisoformat(text).timestamp())


def written(seconds: int | None) -> str | None:
    """Write seconds since 1970 as an RFC 3339 time in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def der(pem: str) -> bytes:
    """Return what stands between the lines of a PEM."""
    return plain("".join(line for line in pem.splitlines() if not line.startswith("-----")))


def key_id(pem: str) -> str:
    """Name a key: SHA-256 of its SubjectPublicKeyInfo."""
    return sha256(der(pem))


@lru_cache(maxsize=256)
def _key(pem: str) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return load_pem_public_key(pem.encode())


def signed_by(pem: str, data: bytes, signature: bytes) -> bool:
    """Tell whether a signature is by this key: ECDSA with the hash of its curve, Ed25519, or RSA PKCS #1 v1.5 with SHA-256."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    key = _key(pem)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            strengths = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
            key.verify(signature, data, ec.ECDSA(strengths[key.curve.key_size]))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            return False
    except InvalidSignature:
        return False
    return True


def opened(envelope: Any, pem: str, kind: str = "") -> bytes:
    """Return the payload of an envelope (DSSE) with exactly one signature, which is by this key."""
    payload, name = plain(envelope["payload"]), envelope["payloadType"].encode()
    (row,) = envelope["signatures"]
    message = b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)
    if (kind and envelope["payloadType"] != kind) or not signed_by(pem, message, plain(row["sig"])):
        raise Wrong("its signature does not verify")
    return payload


def node(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def folded(edge: list[bytes]) -> bytes:
    """Return the root over the right edge of a tree, largest subtree first."""
    if not edge:
        return hashlib.sha256(b"").digest()
    root = edge[-1]
    for left in reversed(edge[:-1]):
        root = node(left, root)
    return root


def included(leaf: bytes, index: int, size: int, steps: list[bytes]) -> bytes:
    """Return the root to which an inclusion proof leads (RFC 9162 section 2.1.3.2)."""
    at, last, root = index, size - 1, leaf
    for step in steps:
        if last == 0:
            raise Wrong("its proof is too long")
        if at & 1 or at == last:
            root = node(step, root)
            while not at & 1:
                at, last = at >> 1, last >> 1
        else:
            root = node(root, step)
        at, last = at >> 1, last >> 1
    if last or not 0 <= index < size:
        raise Wrong("its proof is too short")
    return root


@lru_cache(maxsize=64)
def checkpoint(note: str, origin: str, pem: str) -> tuple[int, bytes, tuple[str, ...]]:
    """Read a checkpoint (C2SP signed note) signed by its log: size, root, and what else it says."""
    text, _, lines = note.partition("\n\n")
    said, size, root, *more = text.split("\n")
    name, hint = origin.partition(" - ")[0], bytes.fromhex(key_id(pem)[7:15])
    if said != origin:
        raise Wrong(f"the checkpoint is of {said!r}, not of {origin!r}")
    for line in lines.splitlines():
        who, _, value = line.removeprefix("— ").rpartition(" ")
        if (
            who == name
            and plain(value)[:4] == hint
            and signed_by(pem, f"{text}\n".encode(), plain(value)[4:])
        ):
            return int(size), plain(root), tuple(more)
    raise Wrong(f"the checkpoint of {origin!r} is not signed by its log")


# ------------------------------------------------------------------------------- the pack


class Pack:
    """A pack's members: in a zip, or unpacked in a folder."""

    def __init__(self, path: Path) -> None:
        self._folder = path if path.is_dir() else None
        self._zip = None if path.is_dir() else zipfile.ZipFile(path)

    def names(self) -> list[str]:
        """Return the members, each as often as it is there."""
        if self._zip is not None:
            return self._zip.namelist()
        assert self._folder is not None
        return sorted(p.relative_to(self._folder).as_posix() for p in self._folder.rglob("*") if p.is_file())

    def open(self, name: str) -> IO[bytes]:
        """Open a member."""
        if self._zip is not None:
            return self._zip.open(name)
        assert self._folder is not None
        return (self._folder / name).open("rb")

    def read(self, name: str) -> bytes:
        """Return a small member."""
        with self.open(name) as file:
            data = file.read(MAX_SMALL + 1)
        if len(data) > MAX_SMALL:
            raise Wrong(f"{name} is larger than {MAX_SMALL} bytes")
        return data

    def lines(self, name: str) -> Iterator[Any]:
        """Yield the rows of a member of JSON lines."""
        with self.open(name) as file:
            while line := file.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    raise Wrong(f"a line of {name} is longer than {MAX_LINE} bytes")
                yield json.loads(line)


@dataclass
class Findings:
    """What was found: what is wrong, what is not in the pack, and what could be said."""

    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def add(self, where: str, why: object) -> None:
        """Note something that is wrong; a pack of nothing else is not listed to its end."""
        if len(self.wrong) < MAX_TOLD:
            self.wrong.append(f"{where}: {why}")


DAMAGE = (
    Wrong,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
    zipfile.BadZipFile,
    OSError,
)


def check_members(pack: Pack, index: Any, found: Findings) -> None:
    """Hold every member against the index, and find what is in one and not in the other."""
    names, listed = pack.names(), {row["path"]: row for row in index["members"]}
    if len(names) > MAX_MEMBERS:
        raise Wrong(f"a pack has at most {MAX_MEMBERS} members, this one {len(names)}")
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.add(name, "is in the pack more than once")
    for name in sorted(set(names) - set(listed) - {INDEX, SIGNATURE}):
        found.add(name, "is not in the index")
    for name, row in listed.items():
        if name not in names:
            found.add(name, "is in the index and not in the pack")
            continue
        total, size = hashlib.sha256(), 0
        try:
            with pack.open(name) as file:
                while part := file.read(1 << 20):
                    total.update(part)
                    size += len(part)
        except DAMAGE as error:
            found.add(name, f"cannot be read: {error}")
            continue
        if (size, total.hexdigest()) != (row["bytes"], row["sha256"]):
            found.add(name, "is not what the index says: another size or digest")


# ------------------------------------------------------------------------------- who may do what


@dataclass
class Version:
    """One version of the authority: the document, the root key that signed it, when the log took it in."""

    number: int
    document: Any
    digest: str
    root: str
    at: int | None = None

    def named(self, key: str, when: int) -> str:
        """Return the name of the identity with this key, if it was in force then."""
        for name, row in self.document["identities"].items():
            if row.get("pem") and key_id(row["pem"]) == key:
                until = row["valid_until"]
                if moment(row["valid_from"]) <= when and (until is None or when <= moment(until)):
                    return str(name)
        return ""

    def vouched(self, certificate: Any, when: int) -> str:
        """Return the name of an identity that a certificate is for, if an authority listed here issued it."""
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature

        start, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        issued = False
        for row in self.document.get("authorities", []):
            chain = [certificate, *(x509.load_pem_x509_certificate(pem.encode()) for pem in row["chain"])]
            try:
                for child, parent in pairwise(chain):
                    child.verify_directly_issued_by(parent)
                issued = True
            except (ValueError, TypeError, InvalidSignature):
                continue
        if not issued or not start <= when <= end:
            return ""
        issuer, subjects = names_in(certificate)
        for name, row in self.document["identities"].items():
            said = row.get("keyless")
            if said is None or said.get("claims") or said["issuer"] != issuer:
                continue
            subject = said["subject"]
            exact = subject in subjects if isinstance(subject, str) else False
            if exact or (
                isinstance(subject, dict) and any(matches(subject["pattern"], one) for one in subjects)
            ):
                return str(name)
        return ""

    def may(self, name: str, role: str, project: str) -> bool:
        """Tell whether somebody holds a role in a project; a project's own rules replace those of `*`."""
        projects = self.document["projects"]
        return name in projects.get(project, projects["*"])["roles"].get(role, [])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield who holds which role where."""
        for project, rules in sorted(self.document["projects"].items()):
            for role, holders in sorted(rules["roles"].items()):
                for name in holders:
                    row = self.document["identities"][name]
                    yield {
                        "project": project,
                        "role": role,
                        "name": name,
                        "key": key_id(row["pem"]) if row.get("pem") else None,
                        "keyless": row.get("keyless"),
                        "valid_from": row["valid_from"],
                        "valid_until": row["valid_until"],
                    }


def names_in(certificate: Any) -> tuple[str, list[str]]:
    """Return issuer (Fulcio's extensions 8 and 1) and subjects of a certificate."""
    from cryptography import x509

    issuer, subjects = "", []
    for extension in certificate.extensions:
        if extension.oid.dotted_string == "1.3.6.1.4.1.57264.1.8":
            issuer = extension.value.value[2:].decode()
        elif extension.oid.dotted_string == "1.3.6.1.4.1.57264.1.1" and not issuer:
            issuer = extension.value.value.decode()
        elif isinstance(extension.value, x509.SubjectAlternativeName):
            for kind in (x509.RFC822Name, x509.UniformResourceIdentifier):
                subjects += extension.value.get_values_for_type(kind)
    return issuer, subjects


def matches(pattern: str, text: str) -> bool:
    """Match a whole text; the authority's patterns are a part of what Python's regular expressions are."""
    return re.fullmatch(pattern, text, re.ASCII) is not None


def read_authority(pack: Pack, registry: str, roots: Iterable[str]) -> list[Version]:
    """Read the authority's versions: the first signed by a root that you hold, each later by a root of the one before."""
    versions: list[Version] = []
    trusted = list(roots)
    for envelope in pack.lines("authority.jsonl"):
        number = versions[-1].number if versions else 0
        for pem in trusted:
            try:
                payload = opened(envelope, pem, AUTHORITY_TYPE)
            except Wrong:
                continue
            document = json.loads(payload)
            if document["registry"] != registry or document["version"] <= number:
                raise Wrong(
                    f"version {document['version']} of {document['registry']!r} does not follow {number}"
                )
            versions.append(Version(document["version"], document, sha256(payload), key_id(pem)))
            break
        else:
            whose = "a root key that you hold" if not versions else f"a root that version {number} names"
            raise Wrong(f"the version after {number} is not signed by {whose}")
        trusted = versions[-1].document["roots"]
    if not versions:
        raise Wrong("it holds no version")
    return versions
