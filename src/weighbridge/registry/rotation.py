"""Rotation: another key takes the place of one that the registry signs with, and what the old one proved keeps counting.

Three steps, each safe to be cut off at any instruction:

1. The new key is written beside the old one (`next_keys`), and found again by whoever runs this next.
2. The next version of the authority, signed by the root key, names the new key and ends the old one (`succession`).
   From here on the new key is the one in use, whatever its file is called.
3. `finish`, by whoever writes next and without the root key: logs are begun and frozen, the new key takes the old
   one's file name. The old key is gone then.

The log of records changes differently, as the authority's own versions lie in it: the version of step 2 names the
new log beside the old one; step 3 freezes the old and begins the new, each naming the other (`chain`), and the
records are signed for anew; then a second version ends the old log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from weighbridge.core.canonical import canonical
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, RegistryUnusable, UsageError
from weighbridge.keys.files import generate, load
from weighbridge.keys.ports import Algorithm, Signer
from weighbridge.ledger.checkpoint import Form, form_of
from weighbridge.ledger.sequencer import Log
from weighbridge.ledger.shards import Successor, follows, frozen_at, successor_of
from weighbridge.ledger.tiles import CHECKPOINT
from weighbridge.registry import next_keys, services, tally
from weighbridge.registry.authorities import publish
from weighbridge.registry.chain import log_folder
from weighbridge.registry.distribution import change_keys
from weighbridge.registry.next_keys import IDENTITIES, in_force, in_repository, next_path, pem_of_leaf, put
from weighbridge.registry.service_keys import load_service_key, read_passphrase, save_service_key
from weighbridge.registry.wiring import Registry
from weighbridge.trust.authority import Authority, AuthorityLog
from weighbridge.trust.ca import LEAF_LIFE
from weighbridge.trust.certificates import read_certificate
from weighbridge.trust.ctlog import CertificateLog
from weighbridge.trust.minting import EARLY
from weighbridge.trust.roots import CertificateAuthority, TimestampAuthority
from weighbridge.trust.succession import end_of, ended, with_logs, with_new_key, with_successor

ALGORITHMS: Mapping[str, Algorithm] = {
    **services.KEYS,
    "gate": "ecdsa-p256",
    "intake": "ecdsa-p256",
    "log": "ecdsa-p256",
}
"""The keys that can be exchanged, and what they are."""
ABOVE: Mapping[str, str] = {"ca": "ca-root", "tsa": "tsa-root"}
"""The offline keys that certify some of them."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did: the key in use now, and the authority that says so."""

    name: str
    key: Digest
    version: int
    finished: bool
    """An earlier rotation had been cut off, and was brought to its end; no other key was made."""


def rotate(
    registry: Registry,
    name: str,
    root: Signer,
    *,
    above: Signer | None = None,
    since: datetime | None = None,
    new_above: bool = False,
) -> Rotated:
    """Exchange one of the registry's keys; run again after it was cut off, it finishes that.

    `above` is the offline key over certificates (`ABOVE`); a new one with `new_above`. With `since` the old key
    counts no further than that time. Raises UsageError, Refused and VerificationFailed; then the old key is still the one in use.
    """
    _check(registry, name, since)
    left, unended = _left(registry, name), _is_unended(registry, name)
    with registry.writing():  # finishes what needs no root key, and lets what waits in the outbox take effect
        named = left is not None and in_force(registry.authority, name, left)
        finished = since is None and (named or unended or _is_unended(registry, name))
        if not finished:
            _check_above(registry, name, above, new=new_above)
            publish(registry, _named(registry, name, _next_key(registry, name), above, since), root)
            finish(registry)
        if name == "log":
            _end_logs(registry, root, since)
        return Rotated(name, registry.service_key(name).key_id, registry.authority.version, finished)


def rotate_distribution(registry: Registry, root: Signer) -> Rotated:
    """Exchange the key of what clients fetch (`distribution`), with that repository's offline root key.

    Makes its next root in any case, and so renews that as well. Clients follow from root to root; the key that a
    thief has is in force for those who did not fetch the next root yet. Raises Refused(tuf.keys) for another root key.
    """
    name = services.DISTRIBUTION_KEY
    left = _left(registry, name)
    with registry.writing():
        finished = left is not None and in_repository(registry.layout, left)
        key = registry.service_key(name) if finished else _next_key(registry, name)
        change_keys(registry, key, root)
        if not finished:
            put(next_path(registry.layout.keys, name), registry.layout.keys / f"{name}.pem")
        return Rotated(name, key.key_id, registry.authority.version, finished)


def finish(registry: Registry) -> None:
    """Bring to its end what the authority already says; needs no root key. Must be called while writing."""
    for name in sorted(next_keys.waiting(registry.layout.keys), key=_order):
        key = _load_next(registry, name)
        if name == services.DISTRIBUTION_KEY and in_repository(registry.layout, key.public_pem):
            put(next_path(registry.layout.keys, name), registry.layout.keys / f"{name}.pem")
            continue
        if name not in ALGORITHMS or not in_force(registry.authority, name, key.public_pem):
            continue  # it was not published yet
        if name == "ca":
            _log_authority(registry)
        elif name == "ct":
            _begin_ct(registry, key)
        elif name == "signing-log":
            _begin_signing_log(registry, key)
        elif name == "log":
            _go_on(registry, key)
        put(next_path(registry.layout.keys, name), registry.layout.keys / f"{name}.pem")
        registry.forget_keys()


def _order(name: str) -> tuple[bool, str]:
    return name != "ct", name  # certificates are logged in the log that is there


def _check(registry: Registry, name: str, since: datetime | None) -> None:
    if name not in ALGORITHMS:
        raise UsageError(
            f"there is no key {name!r} to exchange", remedy=f"name one of {', '.join(ALGORITHMS)}"
        )
    if since is not None and since > registry.clock.now():
        raise UsageError(
            "a key cannot be known to be stolen from a later time on",
            cause=f"{rfc3339(since)} is still to come",
            remedy="give the last time at which it was surely in your hands only",
        )


def _is_unended(registry: Registry, name: str) -> bool:
    """Tell whether the authority still takes the word of a log that another follows."""
    return name == "log" and any(_row_of(registry, log).window.end is None for log in registry.before)


def _left(registry: Registry, name: str) -> str | None:
    """Return the public key that a rotation before this left beside the old one, or None."""
    try:
        return _load_next(registry, name).public_pem
    except NotFound:
        return None


def _next_key(registry: Registry, name: str) -> Signer:
    """Return the key to follow: the one that a rotation before this left, else a new one, flushed to disk."""
    keys, making = registry.layout.keys, f"{name}{next_keys.SUFFIX}.making"
    passphrase = read_passphrase(registry.config, registry.id)
    try:
        return load(next_path(keys, name), passphrase)
    except NotFound:
        pass
    except UsageError:
        # In the clear, where ours are under a passphrase: whoever put it there has it too, and it is not to be named.
        if passphrase is None:
            raise
    (keys / f"{making}.pem").unlink(missing_ok=True)  # cut off while it was written
    key = generate(ALGORITHMS.get(name, "ecdsa-p256"))
    save_service_key(keys, making, key, registry.config, registry.id)
    put(keys / f"{making}.pem", next_path(keys, name))
    return key


def _load_next(registry: Registry, name: str) -> Signer:
    return load_service_key(registry.layout.keys, f"{name}{next_keys.SUFFIX}", registry.config, registry.id)


# What the next version of the authority says.


def _named(
    registry: Registry, name: str, key: Signer, above: Signer | None, since: datetime | None
) -> Authority:
    authority, now = registry.authority, registry.clock.now()
    if name in IDENTITIES:
        return with_new_key(authority, name, key.public_pem, now=now, since=since)
    if name == "ca":
        made = _certified(registry, key, above)
        return with_successor(authority, "authorities", made, now=now, since=since, grace=LEAF_LIFE)
    if name == "tsa":
        return with_successor(authority, "timestamps", _stamping(registry, key, above), now=now, since=since)
    if name == "ct":
        row = services.ctlog_row(registry.id, key, now=now)
        return with_successor(authority, "ctlogs", row, now=now, since=since)
    if name == "signing-log":
        old = [row for row in authority.logs if _is_signing(registry, row)]
        others = [row for row in authority.logs if row not in old]
        made_log = services.signing_log_row(registry.id, key, now=now, form=_signing_form(registry))
        return with_logs(authority, (*others, *ended(old, now=now, since=since), made_log))
    return with_logs(authority, (*authority.logs, services.log_row(registry.id, key, now=now)))


def _signing_form(registry: Registry) -> Form:
    """Return the form that the registry's signing logs have: clients are told of one."""
    return next((form_of(row.origin) for row in registry.authority.logs if _is_signing(registry, row)), "v1")


def _certified(registry: Registry, key: Signer, above: Signer | None) -> CertificateAuthority:
    assert above is not None
    top = _top(_chains(registry, "ca"), above)
    now, entropy = registry.clock.now(), registry.entropy
    return services.new_authority(registry.id, above, key.public_pem, now=now, entropy=entropy, above=top)


def _stamping(registry: Registry, key: Signer, above: Signer | None) -> TimestampAuthority:
    assert above is not None
    top = _top(_chains(registry, "tsa"), above)
    now, entropy = registry.clock.now(), registry.entropy
    return services.new_timestamps(registry.id, above, key.public_pem, now=now, entropy=entropy, above=top)


def _check_above(registry: Registry, name: str, above: Signer | None, *, new: bool) -> None:
    """Refuse a certified key without the one above it, one that is not known, and a new one that is."""
    if name not in ABOVE:
        return
    if above is None:
        raise UsageError(
            f"the {name} key is certified by an offline key",
            remedy=f"run it where {ABOVE[name]}.pem is, or name that key with --issuer-key",
        )
    chains = _chains(registry, name)
    if chains and bool(_top(chains, above)) == new:
        raise UsageError(
            f"this is not {'a new' if new else 'the'} key above the registry's {name} key",
            cause=f"the authority has {'a' if new else 'no'} root certificate of key {above.key_id.short}",
            remedy=f"give {'another key' if new else f'{ABOVE[name]}.pem, as `init` made it, or say --new-issuer'}",
        )


def _chains(registry: Registry, name: str) -> list[tuple[bytes, ...]]:
    trusted = registry.authority.trusted
    return [row.chain for row in (trusted.authorities if name == "ca" else trusted.timestamps)]


def _top(chains: list[tuple[bytes, ...]], root: Signer) -> bytes:
    """Return the root certificate that the authority has for this key, empty for none."""
    return next((chain[-1] for chain in chains if pem_of_leaf(chain[-1:]) == root.public_pem), b"")


def _end_logs(registry: Registry, root: Signer, since: datetime | None) -> None:
    """End the logs that another follows, when they were frozen, or at `since`."""
    rows = list(registry.authority.logs)
    for log in registry.before:
        at = rows.index(row := _row_of(registry, log))
        end = end_of(row.window, now=frozen_at(log.head), since=since)
        rows[at] = AuthorityLog(row.origin, row.pem, type(row.window)(row.window.start, end))
    if tuple(rows) != registry.authority.logs:
        publish(registry, with_logs(registry.authority, rows), root)


def _row_of(registry: Registry, log: Log) -> AuthorityLog:
    return next(row for row in registry.authority.logs if row.origin == log.origin)


def _is_signing(registry: Registry, row: AuthorityLog) -> bool:
    return row.origin.startswith(services.log_origin_start(registry.id, "signing"))


# What follows from it.


def _log_authority(registry: Registry) -> None:
    """Put the new authority's certificate into the log of certificates, with the time at which it was made."""
    key = registry.service_key("ca")
    ct = registry.service_key("ct")
    log = CertificateLog.open(services.folder_of(registry.layout, "ct", ct.key_id), ct)
    for row in registry.authority.trusted.authorities:
        if pem_of_leaf(row.chain) == key.public_pem:
            made = read_certificate(row.chain[0]).not_valid_before_utc + EARLY
            log.add_authority(row.chain[0], made)


def _begin_ct(registry: Registry, key: Signer) -> None:
    chain = next(row.chain for row in registry.authority.trusted.authorities if row.window.end is None)
    folder = services.folder_of(registry.layout, "ct", key.key_id)
    if not (folder / CHECKPOINT).exists():
        services.new_ctlog(registry.layout, registry.id, key, chain, now=registry.clock.now())
    origin = services.log_origin(registry.id, "ct", key)
    _freeze_service(registry, "ct", Successor(origin, key.key_id))


def _begin_signing_log(registry: Registry, key: Signer) -> None:
    form = _signing_form(registry)
    row = services.signing_log_row(registry.id, key, now=registry.clock.now(), form=form)
    old = _freeze_service(registry, "signing-log", Successor(row.origin, row.log_id))
    folder = services.folder_of(registry.layout, "signing-log", key.key_id)
    if not (folder / CHECKPOINT).exists():
        after = follows(old.checkpoint_text, origin=old.origin, public_pem=old.public_pem) if old else b""
        services.new_signing_log(
            registry.layout, registry.id, key, now=registry.clock.now(), after=after, form=form
        )


def _freeze_service(registry: Registry, name: str, successor: Successor) -> Log | None:
    """Freeze the log of the key that is still under this name; None where that key, or its log, was lost."""
    path = registry.layout.keys / f"{name}.pem"
    if not path.exists():
        return None
    old = load_service_key(registry.layout.keys, name, registry.config, registry.id)
    folder = services.folder_of(registry.layout, name, old.key_id)
    if not (folder / CHECKPOINT).exists():
        return None
    log = Log.open(folder, old.public_pem)
    log.freeze(signer=old, now=registry.clock.now(), successor=successor)
    return log


def _go_on(registry: Registry, key: Signer) -> None:
    """Freeze the log of records, begin the one that follows, and sign for the records with its key."""
    if registry.log.public_pem != key.public_pem:
        row = next(row for row in registry.authority.logs if row.pem == key.public_pem)
        successor = Successor(row.origin, row.log_id)
        registry.log.freeze(signer=registry.log_key, now=registry.clock.now(), successor=successor)
        if successor_of(registry.log.head) != successor:
            raise RegistryUnusable(
                "the log of records was frozen for another log than the one to begin",
                cause=f"it goes on with {registry.log.head.continues or 'none'}",
                remedy=f"put back that log's key as {next_path(Path('keys'), 'log')}, from a backup",
                check="log.successor",
            )
        _begin_log(registry, row, key)
        registry.follow()
    with tally.keeping(registry):
        pass  # the tally that this signs is the new key's
    registry.remember()


def _begin_log(registry: Registry, row: AuthorityLog, key: Signer) -> None:
    before, now = registry.log, registry.clock.now()
    about = {"kind": "weighbridge.log/1", "registry": registry.id, "time": rfc3339(now)}
    first = follows(before.checkpoint_text, origin=before.origin, public_pem=before.public_pem)
    folder: Path = log_folder(registry.layout, key.key_id)
    Log.create(folder, row.origin, key, now=now, genesis=[first, canonical(about)], journal=registry.journal)
