"""The registry's own trust services: certificates, their log, a signing log and timestamps, as its authority names them.

The signing log is not the log of records: foreign clients append to it what they like, and the log of records
holds what this registry did. Each log of a kind lies in a folder named by its key, so that a later key begins a
later log and the older one stays readable. Which chain, log and key is in use is what the authority names without
an end and for which the key is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from weighbridge.core.canonical import canonical
from weighbridge.core.clock import Entropy, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import RegistryUnusable, UsageError, WeighbridgeError
from weighbridge.core.statement import Statement
from weighbridge.keys.files import FileKey, generate
from weighbridge.keys.ports import Algorithm, Signer
from weighbridge.keys.public import key_id_of_pem, pem_of_der
from weighbridge.ledger.checkpoint import Form, origin_of
from weighbridge.ledger.sequencer import Log
from weighbridge.registry import next_keys
from weighbridge.registry.layout import Layout
from weighbridge.registry.wiring import Registry
from weighbridge.trust.authority import AuthorityLog
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.ca import CertificateService
from weighbridge.trust.certificates import read_certificate
from weighbridge.trust.ctlog import CertificateLog
from weighbridge.trust.development import DevelopmentIssuer
from weighbridge.trust.keyless import Services, sign_keyless
from weighbridge.trust.minting import EARLY, key_of, make_intermediate, make_root, make_timestamper
from weighbridge.trust.oidc import TokenVerifier
from weighbridge.trust.roots import CertificateAuthority, CtLog, Roots, TimestampAuthority, Window
from weighbridge.trust.tsa import TimestampService

KEYS: Mapping[str, Algorithm] = {
    "ca": "ecdsa-p384",
    "ct": "ecdsa-p256",
    "signing-log": "ecdsa-p256",
    "tsa": "ecdsa-p256",
}
"""The services' keys, each with one purpose, and what they are."""
ROOT_KEYS: Mapping[str, Algorithm] = {
    "ca-root": "ecdsa-p384",
    "tsa-root": "ecdsa-p384",
    "tuf-root": "ecdsa-p256",
}
"""The offline keys above them."""
DISTRIBUTION_KEY = "tuf"
"""Signs what clients fetch to learn whom to trust (`distribution`)."""
DEVELOPMENT_KEY = "development"
SOON = timedelta(days=30)

ELSEWHERE = "elsewhere"
"""A file that says of a replica that the services run on another one, which has their logs."""


def make_keys(*, demonstration: bool) -> dict[str, FileKey]:
    """Return new keys for all services, and for the development issuer in a demonstration."""
    wanted = {
        **KEYS,
        **ROOT_KEYS,
        DISTRIBUTION_KEY: "ecdsa-p256",
        **({DEVELOPMENT_KEY: "ecdsa-p256"} if demonstration else {}),
    }
    return {name: generate(algorithm) for name, algorithm in wanted.items()}


def make_services(
    layout: Layout,
    registry: str,
    keys: Mapping[str, FileKey],
    *,
    now: datetime,
    entropy: Entropy,
    form: Form = "v1",
) -> tuple[Roots, AuthorityLog]:
    """Begin every service of a new registry; return what its authority says of them. `form` is the signing log's."""
    authority = new_authority(registry, keys["ca-root"], keys["ca"].public_pem, now=now, entropy=entropy)
    stamps = new_timestamps(registry, keys["tsa-root"], keys["tsa"].public_pem, now=now, entropy=entropy)
    ctlog = new_ctlog(layout, registry, keys["ct"], authority.chain, now=now)
    log = new_signing_log(layout, registry, keys["signing-log"], now=now, form=form)
    return Roots(authorities=(authority,), ctlogs=(ctlog,), timestamps=(stamps,)), log


def new_authority(
    registry: str, root: Signer, public_pem: str, *, now: datetime, entropy: Entropy, above: bytes = b""
) -> CertificateAuthority:
    """Return a certificate authority for this key: below a root certificate that is there, else below a new one."""
    name = _name(registry)
    top = above or make_root(root, name=name, now=now, entropy=entropy)
    below = make_intermediate(root, top, public_pem, name=name, now=now, entropy=entropy)
    return CertificateAuthority((below, top), Window(now - EARLY), uri=_uri(registry), operator=name)


def new_timestamps(
    registry: str, root: Signer, public_pem: str, *, now: datetime, entropy: Entropy, above: bytes = b""
) -> TimestampAuthority:
    """Return a timestamp authority for this key, as `new_authority` does."""
    name = _name(registry)
    top = above or make_root(root, name=name, now=now, entropy=entropy, title="timestamp root")
    own = make_timestamper(root, top, public_pem, name=name, now=now, entropy=entropy)
    return TimestampAuthority((own, top), Window(now - EARLY), uri=_uri(registry), operator=name)


def new_ctlog(layout: Layout, registry: str, key: Signer, chain: Sequence[bytes], *, now: datetime) -> CtLog:
    """Begin a log of certificates with the authority's own."""
    folder = folder_of(layout, "ct", key.key_id)
    CertificateLog.create(folder, log_origin(registry, "ct", key), key, now=now, authorities=chain)
    return ctlog_row(registry, key, now=now)


def ctlog_row(registry: str, key: Signer, *, now: datetime) -> CtLog:
    """Return what the authority says of a log of certificates that this key signs from now on."""
    log_id = bytes.fromhex(key_id_of_pem(key.public_pem).hex)
    return CtLog(log_id, key.public_pem, Window(now - EARLY), f"https://{_name(registry)}.ct")


def new_signing_log(
    layout: Layout, registry: str, key: Signer, *, now: datetime, after: bytes = b"", form: Form = "v1"
) -> AuthorityLog:
    """Begin a signing log, with an entry about the frozen one that it follows (`shards.follows`) when there is one."""
    about = {"kind": "weighbridge.signing-log/1", "registry": registry, "time": rfc3339(now)}
    first, second = [canonical({**about, "entry": number}) for number in (1, 2)]
    folder = folder_of(layout, "signing-log", key.key_id)
    row = signing_log_row(registry, key, now=now, form=form)
    Log.create(folder, row.origin, key, now=now, genesis=[after or first, second], form=form)
    return row


def signing_log_row(registry: str, key: Signer, *, now: datetime, form: Form = "v1") -> AuthorityLog:
    """Return what the authority says of a signing log that this key signs from now on.

    A log of form v1 keeps Rekor v1 entries with the time it signs; one of v2 Rekor v2 entries, whose time is a timestamp's.
    """
    if form == "v2":
        host = f"{log_origin_start(registry, 'signing')}.{key.key_id.hex[:12]}"
        return AuthorityLog(host, key.public_pem, Window(now - EARLY))
    return AuthorityLog(log_origin(registry, "signing", key), key.public_pem, Window(now - EARLY))


def log_row(registry: str, key: Signer, *, now: datetime) -> AuthorityLog:
    """Return what the authority says of a log of records that this key signs from now on."""
    origin = origin_of(registry, _tree_id(key))
    return AuthorityLog(origin, key.public_pem, Window(now - EARLY))


def folder_of(layout: Layout, kind: str, key: Digest) -> Path:
    """Return the folder of the log of a kind that this key signs."""
    return layout.services / kind / key.hex[:16]


def open_services(registry: Registry) -> Services:
    """Open the services that the authority names and whose keys are here; raises RegistryUnusable(services.missing)."""
    if next_keys.waiting(registry.layout.keys):
        with registry.writing():
            pass  # finishes a rotation that was cut off: its log may not be there yet
    trusted = registry.authority.trusted
    keys = {name: registry.service_key(name) for name in KEYS}
    authority = _in_use([(row, row.chain[0]) for row in trusted.authorities], keys["ca"], "ca")
    stamps = _in_use([(row, row.chain[0]) for row in trusted.timestamps], keys["tsa"], "tsa")
    for name, known in (
        ("ct", [row.pem for row in trusted.ctlogs if row.window.end is None]),
        ("signing-log", [row.pem for row in registry.authority.logs if row.window.end is None]),
    ):
        if keys[name].public_pem not in known:
            raise _missing(name)
    ct = CertificateLog.open(folder_of(registry.layout, "ct", keys["ct"].key_id), keys["ct"])
    log_folder = folder_of(registry.layout, "signing-log", keys["signing-log"].key_id)
    return Services(
        ca=CertificateService(keys["ca"], authority.chain, ct=ct, entropy=registry.entropy),
        log=Log.open(log_folder, keys["signing-log"].public_pem),
        log_signer=keys["signing-log"],
        tsa=TimestampService(keys["tsa"], stamps.chain, entropy=registry.entropy),
        verifier=TokenVerifier(registry.authority.issuers),
        retired=_ended(registry),
        operator=_name(registry.id),
    )


def development_token(registry: Registry, subject: str) -> str:
    """Return a token of the development issuer; raises UsageError outside of a demonstration."""
    if not registry.authority.demonstration:
        raise UsageError(
            "this registry has no development issuer",
            cause="only a registry made with `weighbridge init --demo` vouches for whoever sits at the machine",
            remedy="give --identity-token, or sign with --key",
            check="identity.development",
        )
    issuer = DevelopmentIssuer(registry.service_key(DEVELOPMENT_KEY), entropy=registry.entropy)
    return issuer.token(subject, registry.clock.now())


def sign_here(registry: Registry, statement: Statement, token: str) -> Bundle:
    """Sign a statement as whom a token names, with the registry's own services; raises as `sign_keyless`."""
    return sign_keyless(statement, token, open_services(registry), registry.clock.now())


def check(registry: Registry) -> list[str]:
    """Read every log of the services again, and look when what signs here ends; returns what is not in order."""
    authority, now = registry.authority, registry.clock.now()
    logs = [("ct", row.pem) for row in authority.trusted.ctlogs]
    logs += [
        ("signing-log", row.pem)
        for row in authority.logs
        if row.origin.startswith(log_origin_start(registry.id, "signing"))
    ]
    problems = []
    if (registry.layout.services / ELSEWHERE).exists():
        logs = []  # a replica that joined: these logs lie with the one that serves
    for kind, pem in logs:
        try:
            Log.open(folder_of(registry.layout, kind, key_id_of_pem(pem)), pem).verify_all()
        except WeighbridgeError as error:
            problems.append(f"{kind}: {error.problem} ({error.cause})")
    chains = [("ca", row.chain) for row in authority.trusted.authorities if row.window.end is None]
    chains += [("tsa", row.chain) for row in authority.trusted.timestamps if row.window.end is None]
    for name, chain in chains:
        ends = min(read_certificate(der).not_valid_after_utc for der in chain)
        if ends < now + SOON:
            problems.append(
                f"the certificate of the {name} ends {rfc3339(ends)}: weighbridge trust rotate {name}"
            )
    return problems


def _in_use(
    rows: Sequence[tuple[CertificateAuthority | TimestampAuthority, bytes]], key: Signer, name: str
) -> CertificateAuthority | TimestampAuthority:
    for row, own in rows:
        if row.window.end is None and pem_of_der(key_of(read_certificate(own))) == key.public_pem:
            return row
    raise _missing(name)


def _ended(registry: Registry) -> Roots:
    """Return the parties of the authority that are no longer in use, and its witnesses."""
    known = registry.authority.material
    return Roots(
        logs=tuple(
            replace(row, operator=_name(registry.id))
            for row in known.logs
            if row.window.end is not None and row.origin.startswith(log_origin_start(registry.id, "signing"))
        ),
        authorities=tuple(row for row in known.authorities if row.window.end is not None),
        ctlogs=tuple(row for row in known.ctlogs if row.window.end is not None),
        timestamps=tuple(row for row in known.timestamps if row.window.end is not None),
        witnesses=known.witnesses,
    )


def _name(registry: str) -> str:
    return f"weighbridge.{registry}"


def _uri(registry: str) -> str:
    return f"https://{_name(registry)}"


def log_origin(registry: str, kind: str, key: Signer) -> str:
    """Return an origin that no other log of this registry has: the tree id is the beginning of the key's id."""
    return origin_of(f"{registry}.{kind}", _tree_id(key))


def log_origin_start(registry: str, kind: str) -> str:
    """Return how the origins of a kind of log begin."""
    return f"{_name(registry)}.{kind}"


def _tree_id(key: Signer) -> int:
    return int(key_id_of_pem(key.public_pem).hex[:12], 16)


def _missing(name: str) -> RegistryUnusable:
    return RegistryUnusable(
        f"the {name} key in this registry is not one that its authority names",
        cause="the registry was made before it had services, or a rotation was cut off",
        remedy=f"finish or begin it with the root keys at hand: weighbridge trust rotate {name}",
        check="services.missing",
    )
