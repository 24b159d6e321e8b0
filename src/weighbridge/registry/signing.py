"""How a claim gets its signature, with a key or with a token and no key, and how it reaches the log."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.core.errors import Refused, Unreadable, UsageError, WeighbridgeError
from weighbridge.core.statement import Statement
from weighbridge.keys.ports import Signer
from weighbridge.source.small import content_of

if TYPE_CHECKING:  # what a command line that only explains itself does without
    from weighbridge.registry.wiring import Registry
    from weighbridge.trust.bundle import Bundle

BY_HAND = "https://weighbridge.dev/builders/by-hand"
"""The builder of a claim that somebody made on a command line."""


@dataclass(frozen=True, slots=True)
class How:
    """Who signs: by `key` (a path or a reference to a key kept elsewhere), or `keyless` by a token."""

    key: str = ""
    certificate: Path | None = None
    keyless: bool = False
    identity_token: str = field(default="", repr=False)
    """The token itself, or `@FILE`; empty takes that of the job that runs this."""
    subject: str = ""
    """In a demonstration: the address that the registry's own issuer vouches for."""
    instance: Path | None = None
    public: bool = False

    @property
    def elsewhere(self) -> bool:
        """Tell whether another Sigstore signs, so that no registry is needed."""
        return bool(self.instance) or self.public


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed claim, and who signed it in words; `pem` is the public key, empty without one of one's own."""

    bundle: Bundle
    who: str
    pem: str = ""


@dataclass(frozen=True, slots=True)
class Means:
    """What signing takes from the machine: keys, the time, the environment, and whether a network may be asked."""

    open_key: Callable[[str], Signer]
    now: datetime
    environ: Mapping[str, str] = field(repr=False)
    offline: bool = False


def check_who(how: How) -> None:
    """Refuse (UsageError) anything but exactly one way to sign."""
    if bool(how.key) == how.keyless:
        raise UsageError(
            "say who signs" if not how.key else "a key and --keyless are both given",
            remedy="give --key FILE (weighbridge key new makes one), or --keyless in a job that has an identity",
            check="sign.who",
        )
    if how.keyless and how.certificate:
        raise UsageError("--certificate belongs to --key", remedy="leave one of the two out")
    if not how.keyless and (how.identity_token or how.subject or how.instance or how.public):
        raise UsageError(
            "--identity-token, --as, --instance and --public belong to --keyless", remedy="add --keyless"
        )
    if how.subject and (how.identity_token or how.elsewhere):
        raise UsageError("--as is a token of the registry's own issuer", remedy="leave the other options out")


def sign_with(registry: Registry | None, statement: Statement, how: How, means: Means) -> Signed:
    """Sign a statement; with a key the bundle carries no log entry yet.

    `registry` is needed where its own services sign (`keyless` and not `elsewhere`). Raises UsageError,
    Refused or Unreachable.
    """
    if how.keyless:
        return _keyless(registry, statement, how, means)
    from weighbridge.trust.bundle import Bundle
    from weighbridge.trust.seal import sign_statement

    signer = means.open_key(how.key)
    envelope = sign_statement(statement, signer)
    if how.certificate is None:
        return Signed(Bundle(envelope, signer.key_id), str(signer.key_id), signer.public_pem)
    chain = _chain(how.certificate, signer.public_pem)
    return Signed(Bundle(envelope, None, chain), _name(chain[0]))


def keep(registry: Registry, *signed: Signed) -> list[tuple[Bundle, int]]:
    """Hand signed claims to the registry, which logs and keeps all or none; returns each bundle and its log index."""
    from weighbridge.registry.bundles import take, take_proven
    from weighbridge.registry.outbox import submit

    with registry.writing():
        drafts = [
            take(one.bundle.envelope, one.pem) if one.pem else take_proven(one.bundle) for one in signed
        ]
        kept = submit(registry, *drafts)[-len(drafts) :]
    found: list[tuple[Bundle, int]] = []
    for bundle in kept:
        assert bundle.entry is not None
        found.append((bundle, bundle.entry.index))
    return found


def write_claims(path: Path, signed: Sequence[Signed]) -> None:
    """Write claims to a file, one a line, all or none: a name appears only once everything is on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{id(signed):x}")
    try:
        with temporary.open("xb") as file:
            for one in signed:
                file.write(one.bundle.to_json() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise Unreadable(
            f"the claim could not be written to {path}",
            cause=error.strerror or str(error),
            remedy="check disk and permissions; nothing was written",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_free(path: Path) -> None:
    """Refuse to write a claim over anything but an older claim: it might be a file of the model."""
    from weighbridge.trust.bundle import Bundle

    try:
        if path.exists():
            Bundle.from_json(content_of(path))
    except WeighbridgeError as error:
        raise Refused(
            f"{path} is there already and is no claim",
            remedy="name another file with --bundle, or move that one away",
            check="sign.exists",
        ) from error


def _chain(path: Path, public_pem: str) -> tuple[bytes, ...]:
    """Read the signer's certificate and its chain in DER; the first must be of the key that signs."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from weighbridge.keys.public import der_of_pem

    try:
        found = x509.load_pem_x509_certificates(content_of(path))
    except ValueError as error:
        raise UsageError(f"{path} holds no certificates in PEM", cause=str(error)) from error
    key = found[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key != der_of_pem(public_pem):
        raise UsageError(
            f"the first certificate in {path} is of another key",
            cause="a signature would not verify under it",
            remedy="put the certificate of the signing key first, then those above it",
            check="sign.certificate",
        )
    return tuple(row.public_bytes(Encoding.DER) for row in found)


def _name(der: bytes) -> str:
    from weighbridge.trust.certificates import signer_of, subject_names

    return signer_of(der).subject or subject_names(der)[1]


def _keyless(registry: Registry | None, statement: Statement, how: How, means: Means) -> Signed:
    if how.elsewhere:
        from weighbridge.trust.bundle import Bundle
        from weighbridge.trust.public import sign_statement

        token = _token(how, means, means.now)
        instance = content_of(how.instance) if how.instance is not None else None
        data = sign_statement(
            statement.encode(), token, instance=instance, public=how.public, offline=means.offline
        )
        made = Bundle.from_json(data)
        return Signed(made, _name(made.certificates[0]))
    from weighbridge.registry.services import development_token, sign_here

    assert registry is not None
    if how.subject:
        token = development_token(registry, how.subject)
    else:
        token = _token(how, means, registry.clock.now())
    made = sign_here(registry, statement, token)
    return Signed(made, _name(made.certificates[0]))


def _token(how: How, means: Means, now: datetime) -> str:
    from weighbridge.trust.ambient import AUDIENCE, ambient_token, look

    if not how.identity_token:
        return ambient_token(means.environ, now=now, offline=means.offline).token
    text = how.identity_token
    if text.startswith("@"):
        text = content_of(Path(text[1:])).decode("ascii", errors="replace")
    return look(text, "--identity-token", audience=AUDIENCE, now=now).token
