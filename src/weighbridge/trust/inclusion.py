"""One log entry, from the bundle's row to belief: a known log has it, since when, and who else saw that log.

| step | check | by |
|---|---|---|
| a | `log.known` | the roots: whose word is taken |
| b | `log.body` | the entry is about this content, signature and key (`entries`) |
| c | `log.timestamp` | Rekor v1 signed entry timestamp: body, time, log and index under the log's key |
| d | `log.checkpoint` | C2SP signed note: size and root of the tree under the log's name and key |
| e | `log.inclusion` | RFC 9162 section 2.1.3.2: the entry is at that place of that tree |
| f | `log.witness` | C2SP tlog-cosignature: witnesses known here who cosigned that very checkpoint |

Without a signed entry timestamp an entry has no time: `integratedTime` is then anybody's word.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.public import verify_signature
from weighbridge.ledger.checkpoint import form_of, parse_checkpoint, verify_checkpoint
from weighbridge.ledger.cosignature import verify_cosignatures
from weighbridge.ledger.entry import promise_message
from weighbridge.ledger.merkle import leaf_hash, verify_inclusion
from weighbridge.trust.bundle import LogProof
from weighbridge.trust.entries import Signed, check_body, is_second
from weighbridge.trust.proof import LoggedAt, SignedTime
from weighbridge.trust.roots import LogKey, Roots, Witness
from weighbridge.trust.trusted_root import origin_host

_AGAIN = "fetch the bundle again from where it was logged"


@dataclass(frozen=True, slots=True)
class Included:
    """An entry that was proven, the log whose word that is, and the time it signed, if any."""

    log: LogKey
    logged: LoggedAt
    time: SignedTime | None

    def seen(self, witnesses: int) -> datetime | None:
        """Return the newest moment at which the checkpoint is known to have stood.

        That is when the last of `witnesses` many witnesses cosigned it; with 0, the newest time that anybody
        signed: a witness, or the log for the entry, which the checkpoint must be newer than.
        """
        times = sorted((moment for _, moment in self.logged.witnesses), reverse=True)
        if witnesses:
            return times[witnesses - 1] if len(times) >= witnesses else None
        own = [self.time.moment] if self.time else []
        return max(times + own, default=None)


def prove_entry(entry: LogProof, signed: Signed, roots: Roots) -> Included:
    """Verify one entry; raises VerificationFailed naming the step."""
    # a. The bundle names a log; the key is that of the roots.
    log_id = bytes.fromhex(entry.log_id.hex)
    log = next((log for log in roots.logs if log.log_id == log_id), None)
    if log is None:
        raise VerificationFailed(
            "the entry is in a log that is not trusted here",
            cause=f"log id {entry.log_id}",
            remedy="have it logged in a log that is trusted here",
            check="log.known",
        )
    # b. About this and nothing else.
    check_body(entry, signed)
    # c. Since when.
    moment = _promised(entry, log)
    # d. In which tree.
    origin = _origin(entry.checkpoint, log)
    checkpoint = verify_checkpoint(entry.checkpoint, origin=origin, public_pem=log.pem)
    # e. At which place. Size and root are the checkpoint's, and the bundle may not say otherwise.
    if (entry.size, entry.root) != (checkpoint.size, checkpoint.root) or not verify_inclusion(
        leaf_hash(entry.body), entry.position, checkpoint.size, entry.hashes, checkpoint.root
    ):
        raise VerificationFailed(
            "the entry is not in the log's tree",
            cause=f"the proof does not lead from entry {entry.position} to the root of {checkpoint.size} entries",
            remedy=_AGAIN,
            check="log.inclusion",
        )
    # f. Who else saw that tree.
    witnesses = _witnesses(entry.checkpoint, roots.witnesses)
    logged = LoggedAt(log_id, origin, entry.position, checkpoint.size, checkpoint.root, moment, witnesses)
    return Included(log, logged, SignedTime(moment, "log", origin) if moment else None)


def _promised(entry: LogProof, log: LogKey) -> datetime | None:
    """Return the time that the log signed for this entry, None where it signed none (Rekor v1, "SET")."""
    if not entry.promise:
        return None
    message = promise_message(entry.body, entry.integrated_time, entry.log_id, entry.index)
    if is_second(entry) or not verify_signature(log.pem, message, entry.promise):
        raise VerificationFailed(
            "the log did not sign this entry's time and position",
            cause="entry, time, index or promise was changed",
            remedy=_AGAIN,
            check="log.timestamp",
        )
    return datetime.fromtimestamp(entry.integrated_time, UTC)


def _origin(note: str, log: LogKey) -> str:
    """Return the origin that the checkpoint must have: the roots' where they name one.

    Else that of the note itself, under the log's key: any tree of a Rekor v1 log (its id stands behind the
    name), but for Rekor v2 only the host of the log's address.
    """
    if log.origin:
        return log.origin
    origin = parse_checkpoint(note)[0].origin
    host = origin_host(log.base_url)
    return host if host and form_of(origin) == "v2" else origin


def _witnesses(note: str, witnesses: tuple[Witness, ...]) -> tuple[tuple[str, datetime], ...]:
    """Return name and time of each witness in force who cosigned, one row for each key."""
    known = {witness.name: witness for witness in witnesses}
    found: dict[bytes, tuple[str, datetime]] = {}
    for name, moment in verify_cosignatures(note, witnesses):
        if known[name].window.holds(moment):
            found.setdefault(known[name].key, (name, moment))
    return tuple(sorted(found.values()))
