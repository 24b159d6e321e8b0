"""What a monitor makes of one entry of a log: who signed what, and whether anybody announced it.

Read are Rekor's dsse, hashedrekord and intoto in versions 1 and 2, the entries with which our own logs begin, and the
certificates in a log of certificates (RFC 6962). Whatever cannot be read is reported: an entry nobody can read is
the best place to hide one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from weighbridge.claims.words import DATASET
from weighbridge.core.canonical import JSON, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, RegistryUnusable, VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.bundle_form import bounded
from weighbridge.trust.certificates import signer_of
from weighbridge.trust.ctlog import CertificateEntry, read_entry
from weighbridge.trust.dsse import describe, pae
from weighbridge.trust.entry_parts import digest1, digest2, verifier1, verifier2
from weighbridge.trust.expect import Expected, ExpectedKey
from weighbridge.trust.proof import Signer

OWN_KINDS = ("weighbridge.genesis/1", "weighbridge.signing-log/1", "weighbridge.log-follows/1")
"""Entries of our own logs that nobody signed: they say how a log began."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody has to look at."""

    kind: str
    what: str
    index: int | None = None
    details: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, JSON]:
        """Return the alert as data."""
        return {"kind": self.kind, "index": self.index, "what": self.what, "details": dict(self.details)}


@dataclass(frozen=True, slots=True)
class Suspicion:
    """An alert that an announcement of any of these digests takes back."""

    alert: Alert
    cleared_by: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Announced:
    """What is known to have been signed, and of which models: by a registry, by files, or both."""

    content: frozenset[Digest] = frozenset()
    """Digests of statements, of PAE(statement), of files, of public keys in certificates: whatever an entry names."""
    about: Mapping[Digest, tuple[Digest, ...]] = field(default_factory=dict)
    """The models and weights that a statement, by the digest of its bytes or of their PAE, is about."""
    models: frozenset[Digest] | None = None
    """The models and weights that are registered; None where no registry was asked."""

    def __or__(self, other: Announced) -> Announced:
        models = None
        if self.models is not None or other.models is not None:
            models = (self.models or frozenset()) | (other.models or frozenset())
        return Announced(self.content | other.content, {**self.about, **other.about}, models)


@dataclass(frozen=True, slots=True)
class Watch:
    """Whom to watch: expected signers as a verifier names them; with `everything`, whoever signs."""

    identities: tuple[Expected, ...] = ()
    everything: bool = False
    certificates: bool = False
    """The log is one of certificates."""
    issuers: frozenset[Digest] = frozenset()
    """Keys that may issue certificates; empty to look at none."""


@dataclass(frozen=True, slots=True)
class _Said:
    content: tuple[Digest, ...]
    verifiers: tuple[tuple[bool, bytes], ...]
    """(whether it is a certificate, DER)."""


def announced_by(bundle: Bundle) -> Announced:
    """Return what a bundle announces: its content by every name an entry may call it, and its certificate's key."""
    content = [bundle.digest]
    about: dict[Digest, tuple[Digest, ...]] = {}
    if bundle.message is not None:
        content += [bundle.message.digest] if bundle.message.digest else []
    else:
        envelope = bundle.envelope
        names = (Digest.of(envelope.payload), Digest.of(pae(envelope.payload_type, envelope.payload)))
        content += names
        about = dict.fromkeys(names, _about(envelope.payload))
    for der in bundle.certificates[:1]:
        try:
            content.append(signer_of(der).key)
        except VerificationFailed:
            continue  # it announces no key, so that an entry with it will be reported
    return Announced(frozenset(content), about)


def _about(payload: bytes) -> tuple[Digest, ...]:
    try:
        statement = Statement.decode(payload)
    except VerificationFailed:
        return ()
    return () if statement.predicate_type == DATASET else statement.identities


def suspicions(index: int, body: bytes, watch: Watch, announced: Announced) -> Iterator[Suspicion]:
    """Yield what is suspicious about one entry."""
    try:
        if watch.certificates:
            yield from _certificate(read_entry(index, body), watch, announced)
        else:
            said = _read(body)
            if said is not None:
                yield from _entry(index, said, watch, announced)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        BadReference,
        VerificationFailed,
        RegistryUnusable,
    ) as error:
        cause = getattr(error, "cause", "") or describe(error)
        digest = Digest.of(body)
        yield Suspicion(
            Alert("entry.unreadable", f"an entry cannot be read: {cause}", index, {"entry": str(digest)}),
            (digest,),
        )


def _entry(index: int, said: _Said, watch: Watch, announced: Announced) -> Iterator[Suspicion]:
    signers = [_signer(is_certificate, der) for is_certificate, der in said.verifiers]
    watched = [signer for signer in signers if watch.everything or _is_watched(signer, watch.identities)]
    known = [digest for digest in said.content if digest in announced.content]
    details = {"content": str(said.content[0])}
    if watched and not known:
        signer = watched[0]
        yield Suspicion(
            Alert(
                "entry.unannounced",
                f"{_name(signer)} signed something that nobody announced",
                index,
                details | {"signer": _name(signer), "key": str(signer.key)},
            ),
            said.content,
        )
    if announced.models is not None:
        about = [model for digest in known for model in announced.about.get(digest, ())]
        for model in dict.fromkeys(about):
            if model not in announced.models:
                yield Suspicion(
                    Alert(
                        "model.unregistered",
                        f"something was signed about {model}, which nobody registered",
                        index,
                        details | {"model": str(model)},
                    ),
                    (model,),
                )


def _certificate(entry: CertificateEntry, watch: Watch, announced: Announced) -> Iterator[Suspicion]:
    details = {
        "key": str(entry.key),
        "subject": entry.subject,
        "issuer": entry.issuer,
        "serial": f"{entry.serial:x}",
    }
    if entry.kind == "authority":
        if watch.issuers and entry.key not in watch.issuers:
            what = f"a certificate authority {entry.subject!r} that nobody announced"
            yield Suspicion(Alert("certificate.authority", what, entry.index, details), (entry.key,))
        return
    if watch.issuers and entry.issuer_key not in watch.issuers:
        what = f"a certificate for {entry.subject!r} by an authority that nobody announced"
        cleared = (entry.issuer_key,) if entry.issuer_key else ()
        yield Suspicion(Alert("certificate.authority", what, entry.index, details), cleared)
    signer = Signer(
        entry.key, "", entry.issuer, entry.subject, entry.subject_kind, certificate=entry.certificate
    )
    if (watch.everything or _is_watched(signer, watch.identities)) and entry.key not in announced.content:
        what = f"a certificate for {_name(signer)} that nobody announced"
        yield Suspicion(Alert("certificate.unannounced", what, entry.index, details), (entry.key,))


def _is_watched(signer: Signer, identities: Sequence[Expected]) -> bool:
    """Tell whether a signer is watched; a watched key is one in a certificate, too."""
    return any(
        signer.key == row.key if isinstance(row, ExpectedKey) else row.refusal(signer) is None
        for row in identities
    )


def _name(signer: Signer) -> str:
    return f"{signer.subject} ({signer.issuer})" if signer.certificate else f"the key {signer.key.short}"


def _signer(is_certificate: bool, der: bytes) -> Signer:  # noqa: FBT001 (a pair, unpacked)
    return signer_of(der) if is_certificate else Signer(Digest.of(der), "")


def _read(body: bytes) -> _Said | None:
    """Read an entry; None for those with which our own logs begin. Raises ValueError and its like for all others."""
    value: Any = bounded(parse(body))
    if value["kind"] in OWN_KINDS and "spec" not in value:
        return None
    reader = _READERS.get((value["kind"], value["apiVersion"]))
    if reader is None:
        raise ValueError(f"it is of the kind {value['kind']!r} {value['apiVersion']!r}")
    said = reader(value["spec"])
    if not said.content or not said.verifiers:
        raise ValueError("it names no content or no signer")
    return said


def _dsse1(spec: Any) -> _Said:
    rows = [verifier1(row["verifier"]) for row in spec["signatures"]]
    return _Said((digest1(spec["payloadHash"]),), tuple(rows))


def _hashedrekord1(spec: Any) -> _Said:
    return _Said((digest1(spec["data"]["hash"]),), (verifier1(spec["signature"]["publicKey"]["content"]),))


def _intoto1(spec: Any) -> _Said:
    return _Said((digest1(spec["content"]["payloadHash"]),), (verifier1(spec["publicKey"]),))


def _intoto2(spec: Any) -> _Said:
    content = spec["content"]
    rows = [verifier1(row["publicKey"]) for row in content["envelope"]["signatures"]]
    return _Said((digest1(content["payloadHash"]),), tuple(rows))


def _hashedrekord2(spec: Any) -> _Said:
    row = spec["hashedRekordV002"]
    return _Said((digest2(row["data"]),), (verifier2(row["signature"]["verifier"]),))


def _dsse2(spec: Any) -> _Said:
    row = spec["dsseV002"]
    return _Said(
        (digest2(row["payloadHash"]),), tuple(verifier2(one["verifier"]) for one in row["signatures"])
    )


_READERS: Mapping[tuple[str, str], Callable[[Any], _Said]] = MappingProxyType(
    {
        ("dsse", "0.0.1"): _dsse1,
        ("dsse", "0.0.2"): _dsse2,
        ("hashedrekord", "0.0.1"): _hashedrekord1,
        ("hashedrekord", "0.0.2"): _hashedrekord2,
        ("intoto", "0.0.1"): _intoto1,
        ("intoto", "0.0.2"): _intoto2,
    }
)
