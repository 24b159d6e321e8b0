"""How a claim gets its signature on the command line: with a key, or with a token and no key; and where it goes then."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from weighbridge.cli.options import Shared, content_of
from weighbridge.cli.render import emit
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import Refused, UsageError, WeighbridgeError

if TYPE_CHECKING:
    from weighbridge.core.statement import Statement
    from weighbridge.registry.wiring import Registry
    from weighbridge.trust.bundle import Bundle

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
_OPTIONS = (
    click.option(
        "--key",
        "--signer",
        "key",
        default="",
        metavar="KEY",
        help="Your private key: a file, or a key in a token or service (pkcs11:…, awskms://…).",
    ),
    click.option(
        "--certificate",
        type=_FILE,
        help="With --key: the certificate of that key and its chain (PEM, your own first), to be named by it.",
    ),
    click.option("--keyless", is_flag=True, help="Sign with an identity token instead of a key."),
    click.option(
        "--identity-token",
        default="",
        metavar="TOKEN",
        help="With --keyless: the token, or @FILE; else that of the job that runs this.",
    ),
    click.option(
        "--as",
        "subject",
        default="",
        metavar="WHO",
        help="With --keyless, in a demonstration: the address that the registry's own issuer vouches for.",
    ),
    click.option(
        "--instance",
        type=_FILE,
        help="With --keyless: another Sigstore's trust configuration, instead of this registry's services.",
    ),
    click.option(
        "--public", is_flag=True, help="With --keyless: the public Sigstore; what you sign is logged for all."
    ),
)
BUNDLE = click.option("--bundle", type=_FILE, help="Write the signed claim here instead of handing it in.")


@dataclass(frozen=True, slots=True)
class How:
    """Who signs, as typed."""

    key: str = ""
    certificate: Path | None = None
    keyless: bool = False
    identity_token: str = ""
    subject: str = ""
    instance: Path | None = None
    public: bool = False

    @property
    def elsewhere(self) -> bool:
        """Tell whether another Sigstore signs, so that no registry is needed."""
        return bool(self.instance) or self.public


def how_to_sign(function: F) -> F:
    """Give a verb the options that say who signs; `chosen` takes them out again."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def chosen(options: dict[str, Any]) -> How:
    """Take the options out of a verb's; raises UsageError unless exactly one way to sign was chosen."""
    how = How(**{name: options.pop(name) for name in How.__slots__})
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
    return how


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed claim, and who signed it in words; `pem` is the public key, empty without one of one's own."""

    bundle: Bundle
    who: str
    pem: str = ""


def sign_with(shared: Shared, registry: Registry | None, statement: Statement, how: How) -> Signed:
    """Sign a statement; with a key the bundle carries no log entry yet."""
    if how.keyless:
        return _keyless(shared, registry, statement, how)
    from weighbridge.cli.secrets import open_key
    from weighbridge.trust.bundle import Bundle
    from weighbridge.trust.seal import sign_statement

    signer = open_key(shared, how.key)
    envelope = sign_statement(statement, signer)
    if how.certificate is None:
        return Signed(Bundle(envelope, signer.key_id), str(signer.key_id), signer.public_pem)
    chain = _chain(how.certificate, signer.public_pem)
    return Signed(Bundle(envelope, None, chain), _name(chain[0]))


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


def hand_in(
    shared: Shared, registry: Registry | None, statement: Statement, how: How, bundle: Path | None
) -> int:
    """Sign a claim and write it to a file, or hand it to the registry, which logs and keeps it."""
    if bundle is not None:
        _check_free(bundle)
    made = sign_with(shared, registry, statement, how)
    if bundle is not None:
        bundle.write_bytes(made.bundle.to_json() + b"\n")
        item: JSON = {"bundle": str(bundle), "signer": made.who}
        emit(shared, "claim", [item], f"signed by {made.who}: {bundle}")
        return 0
    from weighbridge.registry.bundles import take, take_proven
    from weighbridge.registry.edges import stage_name
    from weighbridge.registry.outbox import submit

    assert registry is not None
    with registry.writing():
        draft = take(made.bundle.envelope, made.pem) if made.pem else take_proven(made.bundle)
        kept = submit(registry, draft)[-1]
    assert kept.entry is not None
    stage = stage_name(statement)
    about = ", ".join(d.short for d in statement.identities)
    row: dict[str, JSON] = {
        "stage": stage,
        "bundle": str(kept.digest),
        "signer": made.who,
        "log_index": kept.entry.index,
    }
    said = f"claim kept: {stage} of {about}, signed by {made.who}, log entry {kept.entry.index}"
    emit(shared, "claim", [row], said)
    return 0


def _check_free(path: Path) -> None:
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


def _keyless(shared: Shared, registry: Registry | None, statement: Statement, how: How) -> Signed:
    from weighbridge.trust.bundle import Bundle

    if how.elsewhere:
        from weighbridge.trust.public import sign_statement

        now, offline = datetime.now(UTC), bool(shared.config["offline"])
        token = _token(how, now, offline=offline)
        instance = content_of(how.instance) if how.instance is not None else None
        data = sign_statement(
            statement.encode(), token, instance=instance, public=how.public, offline=offline
        )
        made = Bundle.from_json(data)
        return Signed(made, _name(made.certificates[0]))
    from weighbridge.registry.services import development_token, sign_here

    assert registry is not None
    if how.subject:
        token = development_token(registry, how.subject)
    else:
        token = _token(how, registry.clock.now(), offline=bool(shared.config["offline"]))
    made = sign_here(registry, statement, token)
    return Signed(made, _name(made.certificates[0]))


def _token(how: How, now: datetime, *, offline: bool) -> str:
    from weighbridge.trust.ambient import AUDIENCE, ambient_token, look

    if not how.identity_token:
        return ambient_token(os.environ, now=now, offline=offline).token
    text = how.identity_token
    if text.startswith("@"):
        text = content_of(Path(text[1:])).decode("ascii", errors="replace")
    return look(text, "--identity-token", audience=AUDIENCE, now=now).token
