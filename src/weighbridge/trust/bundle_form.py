"""Reading Sigstore bundles of versions 0.1 to 0.3, believing nothing.

Tolerant where machines evolve (unknown members, zeros and empty lists that proto3 JSON leaves out, integers
as numbers or strings) and strict in everything else: one content, one kind of key material, canonical
base64, bounded numbers of everything. The source is sigstore_bundle.proto of Sigstore's protobuf-specs.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from weighbridge.core.canonical import MAX_SAFE_INTEGER, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, OutOfBudget, VerificationFailed
from weighbridge.ledger.merkle import HASH_SIZE
from weighbridge.trust.bundle import DIGESTS, MEDIA_TYPE, Bundle, LogProof, MessageSignature
from weighbridge.trust.dsse import Envelope, decode64, describe, text

MAX_PROOF = 64
"""Hashes: the depth of a tree of 2**64 entries."""
MAX_ROWS = 32
"""Log entries or timestamps in one bundle, as other verifiers bound them."""
MAX_CERTIFICATES = 16
MAX_HINT = 1024
MAX_NESTING = 64
"""Levels of JSON; a bundle has eight."""
MAX_TIME = 253_402_300_799
"""Seconds: the last of the year 9999, beyond which a time cannot be written."""

_FIRST = "application/vnd.dev.sigstore.bundle+json;version=0.1"
_MEDIA_TYPES = (
    MEDIA_TYPE,
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    _FIRST,
)
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}")
_HEX_KEY = re.compile(r"[0-9a-f]{64}")
_BASE64_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
_WORD = re.compile(r"[A-Za-z0-9._-]{1,32}")


def read_bundle(data: bytes, limit: int) -> Bundle:
    """Read a bundle; raises VerificationFailed(bundle.form), OutOfBudget beyond `limit` bytes."""
    if len(data) > limit:
        raise OutOfBudget(f"the bundle is larger than {limit} bytes", check="bundle.form")
    try:
        return _bundle(bounded(parse(data)))
    except (ValueError, TypeError, KeyError, AttributeError, BadReference) as error:
        raise VerificationFailed(
            "this is not a bundle we can read",
            cause=describe(error),
            remedy=f"expected one JSON object of media type {MEDIA_TYPE}",
            check="bundle.form",
        ) from error


def bounded(value: Any) -> Any:
    """Return parsed JSON as it is; raises ValueError where it is nested deeper than any bundle."""
    level = [value]
    for _ in range(MAX_NESTING):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise ValueError(f"it is nested deeper than {MAX_NESTING} levels")


def _bundle(value: Any) -> Bundle:
    if value["mediaType"] not in _MEDIA_TYPES:
        raise ValueError(f"mediaType is not {MEDIA_TYPE} or one of its forerunners")
    material = value["verificationMaterial"]
    key, hint, certificates = _signer(material)
    entries = tuple(_proof(row) for row in rows_of(material, "tlogEntries"))
    if value["mediaType"] == _FIRST and not all(entry.promise for entry in entries):
        raise ValueError("version 0.1 needs a promise for each log entry")
    stamps = rows_of(object_of(material, "timestampVerificationData"), "rfc3161Timestamps")
    return Bundle(
        content=_content(value),
        key=key,
        certificates=certificates,
        entries=entries,
        timestamps=tuple(_full(stamp["signedTimestamp"], "a timestamp") for stamp in stamps),
        hint=hint,
    )


def _content(value: Any) -> Envelope | MessageSignature:
    envelope, message = value.get("dsseEnvelope"), value.get("messageSignature")
    if (envelope is None) == (message is None):
        raise ValueError("exactly one of dsseEnvelope and messageSignature is needed")
    if envelope is not None:
        return Envelope.from_json(envelope)
    signature = _full(message["signature"], "the signature")
    said = message.get("messageDigest")
    return MessageSignature(signature, None if said is None else _digest(said))


def _digest(said: Any) -> Digest:
    names = {theirs: ours for ours, theirs in DIGESTS.items()}
    if said["algorithm"] not in names:
        raise ValueError(f"messageDigest is of none of the kinds {', '.join(names)}")
    return Digest(names[said["algorithm"]], decode64(said["digest"]).hex())


def _signer(material: Any) -> tuple[Digest | None, str, tuple[bytes, ...]]:
    """Read who is said to have signed: the key a hint names and the hint, or certificates in DER."""
    kinds = ("publicKey", "certificate", "x509CertificateChain")
    given = [kind for kind in kinds if material.get(kind) is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of {', '.join(kinds)} is needed")
    found = material[given[0]]
    if given == ["publicKey"]:
        hint = found.get("hint")
        return _hint("" if hint is None else text(hint))
    rows = [found] if given == ["certificate"] else rows_of(found, "certificates", MAX_CERTIFICATES)
    if not rows:
        raise ValueError("its certificate chain is empty")
    return None, "", tuple(_full(row["rawBytes"], "a certificate") for row in rows)


def _hint(hint: str) -> tuple[Digest | None, str, tuple[bytes, ...]]:
    """Read a hint: ours is the key's SHA-256 in hexadecimal, cosign's the same in base64, others' anything."""
    if len(hint) > MAX_HINT:
        raise ValueError(f"its hint is longer than {MAX_HINT} characters")
    if _HEX_KEY.fullmatch(hint):
        return Digest("sha256", hint), "", ()
    if _BASE64_KEY.fullmatch(hint):
        return Digest("sha256", base64.b64decode(hint).hex()), hint, ()
    return None, hint, ()


def _proof(row: Any) -> LogProof:
    kind, proof = row["kindVersion"], row["inclusionProof"]
    promise = row.get("inclusionPromise")
    if not all(_WORD.fullmatch(text(kind[name])) for name in ("kind", "version")):
        raise ValueError("the kind of its log entry is not a word and a version")
    index, leaf = _integer(row, "logIndex"), _integer(proof, "logIndex")
    return LogProof(
        log_id=Digest("sha256", decode64(row["logId"]["keyId"]).hex()),
        index=index,
        integrated_time=_integer(row, "integratedTime", MAX_TIME),
        body=_full(row["canonicalizedBody"], "the body of a log entry"),
        promise=b"" if promise is None else _full(promise["signedEntryTimestamp"], "a log's promise"),
        size=_integer(proof, "treeSize"),
        root=_hash(proof["rootHash"]),
        hashes=tuple(_hash(step) for step in rows_of(proof, "hashes", MAX_PROOF)),
        checkpoint=text(proof["checkpoint"]["envelope"]),
        kind=kind["kind"],
        version=kind["version"],
        leaf_index=None if leaf == index else leaf,
    )


def rows_of(value: Any, name: str, limit: int = MAX_ROWS) -> list[Any]:
    """Read a repeated field: a list of at most `limit` rows, or left out when empty; raises ValueError."""
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise ValueError(f"{name} is not a list")  # noqa: TRY004 (one error type for callers)
    if len(found) > limit:
        raise ValueError(f"{name} has more than {limit} rows")
    return found


def object_of(value: Any, name: str) -> dict[str, Any]:
    """Read a message field: an object, or left out when empty; raises ValueError."""
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} is not an object")  # noqa: TRY004 (one error type for callers)
    return found


def _integer(value: Any, name: str, limit: int = MAX_SAFE_INTEGER) -> int:
    """Read an int64 of proto3 JSON: a number, a decimal string, or left out for zero."""
    found = value.get(name)
    if found is None:
        return 0
    if isinstance(found, str) and _DECIMAL.fullmatch(found):
        found = int(found)
    if type(found) is not int or not 0 <= found <= limit:
        raise ValueError(f"{name} is not a whole number that fits")
    return found


def _full(value: Any, what: str) -> bytes:
    data = decode64(value)
    if not data:
        raise ValueError(f"{what} is empty")
    return data


def _hash(value: Any) -> bytes:
    data = decode64(value)
    if len(data) != HASH_SIZE:
        raise ValueError("a hash is not 32 bytes")
    return data
