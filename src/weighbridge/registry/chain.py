"""The log of records and the logs it followed: found by what each says of the next, under keys the authority names.

A registry begins with the log in `log/`. When that log's key is exchanged it is frozen, its last checkpoint
naming the log that follows (`ledger.shards`), and that one lies in `services/log/<beginning of its key's id>`.
Neither word alone is believed: a frozen head names its successor under the old key, the successor's first entry
names the frozen head under the new one, and the authority must name both. So nobody who has only one of the keys,
or only the folder, can make records go on in a log of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from weighbridge.core.digest import Digest
from weighbridge.core.errors import RegistryUnusable, VerificationFailed
from weighbridge.keys.public import key_id_of_pem
from weighbridge.ledger.checkpoint import origin_of, parse_checkpoint
from weighbridge.ledger.journal import Journal
from weighbridge.ledger.sequencer import Log
from weighbridge.ledger.shards import Predecessor, Successor, read_follows, successor_of
from weighbridge.ledger.tiles import CHECKPOINT
from weighbridge.registry.layout import Layout
from weighbridge.store.plain import read_plain
from weighbridge.trust.authority import Authority, AuthorityLog
from weighbridge.trust.verify import verify_log_extension


def log_folder(layout: Layout, key: Digest) -> Path:
    """Return the folder of a log of records that follows another, by the id of its key."""
    return layout.services / "log" / key.hex[:16]


def open_chain(layout: Layout, authority: Authority, journal: Journal | None = None) -> tuple[Log, ...]:
    """Open every log of records, oldest first; the last one is in use.

    With a journal the folders follow it (`ledger.journal`), and may be empty at first.

    Raises VerificationFailed(log.known) for a log that the authority does not name, (log.follows) for one that does
    not follow the one before, and RegistryUnusable for one that cannot be read.
    """
    chain = [_first(layout, authority, journal)]
    while (following := successor_of(chain[-1].head)) is not None:
        named = _named(authority, following.origin)
        if named.log_id != following.log_id:
            raise _strange(
                f"{following.origin!r} is named with another key than the one that {chain[-1].origin!r} names"
            )
        folder = log_folder(layout, key_id_of_pem(named.pem))
        if not (journal.newest(named.origin) if journal else (folder / CHECKPOINT).exists()):
            break  # whoever was about to begin it was cut off: nothing was written to it yet
        log = _open(folder, named, journal)
        _check_next(chain[-1], log, following)
        chain.append(log)
    return tuple(chain)


def check_pinned(chain: Sequence[Log], pinned: str) -> None:
    """Prove that the logs extend a checkpoint that somebody remembers; raises VerificationFailed(log.consistency).

    It may be of any log of the chain: what was frozen since must extend it, and the rest follows from that.
    """
    if not pinned:
        return
    old = parse_checkpoint(pinned)[0]
    log = next((log for log in chain if log.origin == old.origin), None)
    if log is None:
        raise _rewritten(f"it was {old.origin!r} with {old.size} entries, and is {chain[-1].origin!r}")
    if pinned == log.checkpoint_text:
        return
    note, proof = log.extension(old.size) if 0 < old.size <= log.size else (log.checkpoint_text, ())
    verify_log_extension(pinned, note, proof, log.public_pem)
    if old.frozen and not log.head.frozen:
        raise _rewritten(f"{old.origin!r} was frozen, and goes on")


def first_origin(registry: str) -> str:
    """Return the name of the log that a registry began with."""
    return origin_of(registry, int(registry[:12], 16))


def _first(layout: Layout, authority: Authority, journal: Journal | None) -> Log:
    if journal is not None:
        return _open(layout.log, _named(authority, first_origin(authority.registry)), journal)
    try:
        origin = read_plain(layout.log / CHECKPOINT).decode().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryUnusable(
            "the registry's log cannot be read", cause=str(error), remedy="restore it from a backup"
        ) from error
    return _open(layout.log, _named(authority, origin), None)


def _open(folder: Path, named: AuthorityLog, journal: Journal | None) -> Log:
    if journal is None:
        return Log.open(folder, named.pem)
    return Log.follow(folder, named.origin, named.pem, journal)


def _check_next(before: Log, log: Log, following: Successor) -> None:
    said = read_follows(log.entry(0).body) if log.origin == following.origin else None
    if said != Predecessor(before.origin, before.log_id, before.size, before.root):
        raise VerificationFailed(
            "the registry's log does not follow the one before it",
            cause=f"the first entry of {log.origin!r} is not about the {before.size} entries of {before.origin!r}",
            remedy="find out who can write to the registry's folder, then restore it from a backup",
            check="log.follows",
        )


def _named(authority: Authority, origin: str) -> AuthorityLog:
    named = next((log for log in authority.logs if log.origin == origin), None)
    if named is None:
        raise _strange(f"its origin is {origin!r}")
    return named


def _strange(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "the registry's log is not one the authority names",
        cause=cause,
        remedy="restore the registry from a backup; its log was exchanged",
        check="log.known",
    )


def _rewritten(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "the registry's log does not extend the one that was pinned",
        cause=cause,
        remedy="keep your pin and the log: together they prove that it was rolled back, rewritten or forked",
        check="log.consistency",
    )
