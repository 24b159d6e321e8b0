"""Whose word is taken: keys of logs, certificate authorities, timestamp authorities and witnesses, each with its time.

Values only. They come from an authority (`weighbridge.authority/1`) or from a Sigstore trusted root, and a
verifier reads nothing else: a bundle can name keys, never bring them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

WitnessAlgorithm: TypeAlias = Literal["ed25519", "ml-dsa-44"]


@dataclass(frozen=True, slots=True)
class Window:
    """A closed interval of time, as `TimeRange` of Sigstore's protobuf specs; None leaves a side open."""

    start: datetime | None = None
    end: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        """Tell whether a moment lies inside, the ends included."""
        return (self.start is None or self.start <= moment) and (self.end is None or moment <= self.end)


@dataclass(frozen=True, slots=True)
class LogKey:
    """A transparency log: its id as entries name it, its key, and the name its checkpoints must carry."""

    log_id: bytes
    """32 bytes: SHA-256 of the key's DER (Rekor v1), or the C2SP id of name and key (Rekor v2)."""
    pem: str
    window: Window = field(default_factory=Window)
    origin: str = ""
    """First line that its checkpoints must have; empty where the root document names none (Rekor v1)."""
    base_url: str = ""
    operator: str = ""


@dataclass(frozen=True, slots=True)
class CtLog:
    """A log of certificates, whose signed timestamps (RFC 6962) leaves must carry."""

    log_id: bytes
    pem: str
    window: Window = field(default_factory=Window)
    base_url: str = ""
    operator: str = ""


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A chain in DER, the certificate that issues leaves first and the root last."""

    chain: tuple[bytes, ...]
    window: Window = field(default_factory=Window)
    uri: str = ""
    operator: str = ""


@dataclass(frozen=True, slots=True)
class TimestampAuthority:
    """A timestamp authority (RFC 3161): its chain in DER, its own certificate first and the root last."""

    chain: tuple[bytes, ...]
    window: Window = field(default_factory=Window)
    uri: str = ""
    operator: str = ""


@dataclass(frozen=True, slots=True)
class Witness:
    """Somebody who saw a log grow and says so (C2SP tlog-witness): key name, raw public key, algorithm."""

    name: str
    key: bytes
    algorithm: WitnessAlgorithm
    window: Window = field(default_factory=Window)


@dataclass(frozen=True, slots=True)
class Roots:
    """Everything a verifier believes beforehand."""

    logs: tuple[LogKey, ...] = ()
    authorities: tuple[CertificateAuthority, ...] = ()
    ctlogs: tuple[CtLog, ...] = ()
    timestamps: tuple[TimestampAuthority, ...] = ()
    witnesses: tuple[Witness, ...] = ()
