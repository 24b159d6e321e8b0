"""Being a witness (C2SP tlog-witness, `add-checkpoint`): cosign what extends all that was cosigned before, nothing else.

| status | when |
|---|---|
| 200 | the checkpoint extends the last one cosigned; body: one cosignature line for each of our keys |
| 400 | the request is none, or its old size is larger than the checkpoint's |
| 403 | no signature on it is by a key of that log |
| 404 | the log is not known here |
| 409 | the old size is not that of the last one cosigned; body: that size, `text/x.tlog.size`. Also another root at that size |
| 413 | the request is larger than any could be |
| 422 | the consistency proof does not hold |
| 500, 503 | what was cosigned cannot be told (`witness_state`), or others hold it for too long |

The order is: read, known, signed, sizes, memory, proof; then sign, remember, answer. What was answered is on disk.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from weighbridge.core.clock import Clock, rfc3339
from weighbridge.core.errors import (
    CannotTell,
    Locked,
    Refused,
    Unreadable,
    UsageError,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import der_of_pem
from weighbridge.ledger.checkpoint import MAX_NOTE, Checkpoint, parse_checkpoint, verify_checkpoint
from weighbridge.ledger.cosignature import Cosigner
from weighbridge.ledger.merkle import EMPTY_ROOT, HASH_SIZE, verify_consistency
from weighbridge.ledger.witness_state import Holding, WitnessedLog, WitnessState, anchor_of, keys_of

MAX_PROOF = 63
"""Hashes of a consistency proof (C2SP tlog-witness)."""
MAX_REQUEST = MAX_NOTE * 4 + MAX_PROOF * 45 + 32
"""Bytes; a note is counted in characters."""
SIZE_TYPE = "text/x.tlog.size"
SKEW = timedelta(minutes=5)
"""How far the clock may stand behind what was cosigned last."""

_RAW = {"ed25519": 32, "ml-dsa-44": 1312}
"""Bytes of a raw public key, which end its SubjectPublicKeyInfo."""
_OLD = re.compile(r"old (0|[1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a witness: the size it is believed to know, the proof from there, the log's checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: str

    def encode(self) -> bytes:
        """Return the body of the request."""
        lines = [f"old {self.old}", *(base64.b64encode(step).decode("ascii") for step in self.proof)]
        return ("\n".join(lines) + "\n\n" + self.note).encode()

    @classmethod
    def decode(cls, body: bytes) -> Request:
        """Read the body of a request; raises ValueError."""
        head, blank, note = body.decode().partition("\n\n")
        first, *rest = head.split("\n")
        match = _OLD.fullmatch(first)
        if match is None or not blank:
            raise ValueError("it does not begin with a line `old SIZE`, hashes and a blank line")
        if len(rest) > MAX_PROOF:
            raise ValueError(f"it has more than {MAX_PROOF} hashes")
        proof = []
        for line in rest:
            try:
                step = base64.b64decode(line, validate=True)
            except binascii.Error as error:
                raise ValueError("a hash is not base64") from error
            if len(step) != HASH_SIZE or base64.b64encode(step).decode("ascii") != line:
                raise ValueError("a hash is not 32 bytes in base64")
            proof.append(step)
        return cls(int(match[1]), tuple(proof), note)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"


class Witness:
    """A witness with its keys and its memory; may be used by several threads, and by several processes at once."""

    def __init__(self, state: WitnessState, cosigners: Sequence[Cosigner], clock: Clock) -> None:
        self.cosigners = tuple(cosigners)
        self._state = state
        self._clock = clock

    @classmethod
    def create(
        cls, directory: Path, cosigners: Sequence[Cosigner], *, clock: Clock, anchor: Path | None
    ) -> Witness:
        """Make a witness that knows no log yet.

        `anchor` is a folder for sizes and roots that no backup of `directory` brings back; None does without, and
        then nothing notices that the memory was rolled back. Raises UsageError, Refused(log.exists), Unreadable.
        """
        _check(cosigners)
        return cls(WitnessState.create(directory, cosigners, anchor), cosigners, clock)

    @classmethod
    def open(
        cls, directory: Path, cosigners: Sequence[Cosigner], *, clock: Clock, anchor: Path | None
    ) -> Witness:
        """Open a witness; raises Unreadable(log.witness-state), and Refused when the keys are not its own."""
        _check(cosigners)
        made = cls(WitnessState(directory, cosigners, anchor), cosigners, clock)
        made.logs()
        return made

    def logs(self) -> tuple[WitnessedLog, ...]:
        """Return the logs that this witness knows; raises Unreadable."""
        return self._state.logs()

    def add_log(self, origin: str, *pems: str, name: str = "") -> None:
        """Know one more log, of which nothing was cosigned yet; raises Refused(log.exists), Locked, Unreadable."""
        self._state.add_log(WitnessedLog(origin, pems, name))

    def last(self, origin: str) -> tuple[str, Checkpoint]:
        """Return what was last cosigned for a known log: the note (empty: nothing yet) and what it says."""
        with self._state.holding(origin) as holding:
            return holding.last.note, holding.last.head

    def add_checkpoint(self, body: bytes) -> Answer:
        """Judge one request and answer it; raises Unreadable or Locked when nothing can be answered."""
        if len(body) > MAX_REQUEST:
            return Answer(413, f"a request has at most {MAX_REQUEST} bytes\n")
        try:
            request = Request.decode(body)
            head = parse_checkpoint(request.note)[0]
        except (ValueError, VerificationFailed) as error:
            cause = (
                error.cause
                if isinstance(error, VerificationFailed)
                else "it is not text in the form of C2SP tlog-witness"
            )
            return Answer(400, f"this is no request to cosign: {cause}\n")
        log = next((row for row in self._state.logs() if row.origin == head.origin), None)
        if log is None:
            return Answer(404, "this log is not known here\n")
        signed = _signed_by(request.note, log)
        if not signed:
            return Answer(403, "no signature on this checkpoint is by a key of its log\n")
        if request.old > head.size:
            return Answer(400, "the old size is larger than the checkpoint's\n")
        with self._state.holding(head.origin) as holding:
            refusal = self._refusal(request, head, holding)
            return refusal or self._cosign(signed, head, holding)

    def _refusal(self, request: Request, head: Checkpoint, holding: Holding) -> Answer | None:
        last = holding.last.head
        if request.old != last.size:
            return Answer(409, f"{last.size}\n", SIZE_TYPE)
        if last.size and head.size == last.size and head.root != last.root:
            self._state.keep_conflict("fork", head.origin, holding.last.note, request.note)
            return Answer(409, f"{last.size}\n", SIZE_TYPE)
        if last.size == 0:
            proven = not request.proof and (head.size > 0 or head.root == EMPTY_ROOT)
        else:
            roots = {"old_root": last.root, "new_root": head.root}
            proven = verify_consistency(last.size, head.size, request.proof, **roots)
        if proven:
            return None
        self._state.keep_conflict("unproven", head.origin, holding.last.note, request.note)
        return Answer(422, f"nothing proves that this extends the {last.size} entries cosigned before\n")

    def _cosign(self, note: str, head: Checkpoint, holding: Holding) -> Answer:
        now, before = self._clock.now(), holding.last.time
        if before is not None and now < before - SKEW:
            raise Unreadable(
                "the witness's clock stands behind what it cosigned",
                cause=f"it says {rfc3339(now)}, and the last cosignature is of {rfc3339(before)}",
                remedy="set the clock",
                check="log.witness-clock",
            )
        lines = "".join(row.line(head, int(now.timestamp())) for row in self.cosigners)
        holding.advance(note + lines, head)
        return Answer(200, lines)


def open_witness(directory: Path, signers: Sequence[Signer], *, clock: Clock, home: Path) -> Witness:
    """Open the witness in a folder with its keys, which it names itself; its anchor lies in the configuration home.

    Raises Unreadable(log.witness-state), and Refused when a key is not one of this witness, or one is missing.
    """
    known = keys_of(directory)
    spelled = {row.key: row.name for row in known}
    cosigners = []
    for signer in signers:
        name = spelled.pop(der_of_pem(signer.public_pem)[-_RAW.get(signer.algorithm, 0) :], "")
        if not name:
            raise Refused(
                f"the key {signer.key_id.short} is not one of the witness in {directory}",
                cause=f"its own are those of {', '.join(sorted({row.name for row in known}))}",
                remedy="give the keys it was made with",
                check="log.witness-key",
            )
        cosigners.append(Cosigner(name, signer))
    if spelled:
        raise Refused(
            "a key of the witness is missing",
            cause=f"{len(known)} are needed, {len(cosigners)} were given",
            remedy="give all of its keys: who asks expects a cosignature by each",
            check="log.witness-key",
        )
    return Witness.open(directory, cosigners, clock=clock, anchor=anchor_of(home, known))


def witness_response(body: bytes, witness: Witness) -> tuple[int, Mapping[str, str], bytes]:
    """Answer a POST to `<prefix>/add-checkpoint`: status, headers, body. Never raises a WeighbridgeError.

    The caller reads at most MAX_REQUEST + 1 bytes of the request.
    """
    try:
        answer = witness.add_checkpoint(body)
    except Locked:
        answer = Answer(503, "busy, try again\n")
    except CannotTell:
        answer = Answer(500, "this witness cannot tell what it cosigned before, and cosigns nothing\n")
    except WeighbridgeError:
        answer = Answer(500, "this witness cannot answer\n")
    data = answer.body.encode()
    headers = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(data)),
        "Cache-Control": "no-store",
    }
    return answer.status, headers, data


def _signed_by(note: str, log: WitnessedLog) -> str:
    """Return the note with the log's own signature alone, or nothing when there is none by a known key.

    Whatever else stands there is a stranger's: it is neither believed nor remembered.
    """
    text, _, tail = note.partition("\n\n")
    for pem in log.pems:
        for line in tail.split("\n"):
            try:
                alone = f"{text}\n\n{line}\n"
                verify_checkpoint(alone, origin=log.origin, public_pem=pem, name=log.name)
            except VerificationFailed:
                continue
            return alone
    return ""


def _check(cosigners: Sequence[Cosigner]) -> None:
    """Refuse a witness without keys, or with one key under two names (Ed25519 cosignatures do not bind the name)."""
    keys = [row.key for row in cosigners]
    if not keys or len(set(keys)) != len(keys):
        raise UsageError(
            "a witness has one or more keys, no two of them the same",
            remedy="make keys with: weighbridge key new KEY --algorithm ml-dsa-44",
            check="log.witness-key",
        )
