"""Asking witnesses (C2SP tlog-witness) to cosign a log's newest checkpoint, all at once and within one span of time.

A witness that does not answer, answers nonsense, or answers too late is passed over; how many cosigned is for the
caller's quorum. Four answers say that something is wrong with the log, with a copy of its key or with the witness:
they are alarms, whatever the others answered.

| answer | means |
|---|---|
| 409 with a larger size | somebody showed the witness more entries than this log has: it was rolled back, or its key is used elsewhere |
| 409 with our size | the witness saw another root at that size: a fork |
| 422 | the witness saw another history |
| 409 with a smaller size than it cosigned before | the witness forgot: its word is worth nothing |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import TypeAlias

from weighbridge.core.clock import Clock, rfc3339
from weighbridge.core.errors import (
    Refused,
    Unreachable,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.ledger.checkpoint import Checkpoint, verify_checkpoint
from weighbridge.ledger.cosignature import CHECK as COSIGNATURE
from weighbridge.ledger.cosignature import WitnessKey, cosigner_id, verify_cosignatures
from weighbridge.ledger.sequencer import Log
from weighbridge.ledger.witness import Request

Post: TypeAlias = Callable[[str, bytes], tuple[int, bytes]]
"""Posts a body to an address; returns status and body, or raises a WeighbridgeError. Called from several threads."""

SECONDS = 20.0
"""How long all witnesses together have."""
SKEW = timedelta(minutes=5)
"""How far a witness's clock may be from ours."""
MAX_LINES = 64 * 1024
"""Bytes of an answer; a cosignature has at most 3.5 kB."""
TRIES = 4
"""Requests to one witness: what it knows may change while we ask."""

_SIZE = re.compile(rb"(0|[1-9][0-9]{0,15})\n?")


@dataclass(frozen=True, slots=True)
class WitnessAddress:
    """Where a witness is asked: its submission prefix; and its key."""

    url: str
    key: WitnessKey


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking one witness."""

    name: str
    cosigned: datetime | None = None
    problem: str = ""
    """Why it did not cosign; empty when it did."""
    alarm: bool = False
    """Whether that is no failure but a contradiction, see the table above."""
    line: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """What came of asking all of them about one checkpoint."""

    head: Checkpoint
    note: str
    """The checkpoint with every cosignature that verified."""
    answers: tuple[Asked, ...]
    quorum: int

    @property
    def cosigned(self) -> int:
        """How many cosigned; no key is counted twice."""
        return sum(row.cosigned is not None for row in self.answers)

    def check(self) -> None:
        """Raise as `check_alarms`, and Unreachable(log.quorum) when fewer than the quorum cosigned."""
        self.check_alarms()
        if self.cosigned < self.quorum:
            raise Unreachable(
                f"{self.cosigned} of {self.quorum} witnesses cosigned",
                cause=_causes(self.answers) or "no others are known",
                remedy="ask again later; what was logged stays logged, and is not witnessed yet",
                check="log.quorum",
            )

    def check_alarms(self) -> None:
        """Raise VerificationFailed(log.witness-alarm) when a witness contradicts the log, or itself."""
        alarms = [row for row in self.answers if row.alarm]
        if alarms:
            raise VerificationFailed(
                "a witness contradicts the log",
                cause=_causes(alarms),
                remedy="keep the log's folder as it is and find out which of the two forgot, or who uses the log's key",
                check="log.witness-alarm",
            )


def _causes(answers: Sequence[Asked]) -> str:
    return "; ".join(f"{row.name}: {row.problem}" for row in answers if row.problem)


def ask_witnesses(
    log: Log,
    witnesses: Sequence[WitnessAddress],
    *,
    post: Post,
    clock: Clock,
    quorum: int = 1,
    seconds: float = SECONDS,
) -> Round:
    """Have the log's newest checkpoint cosigned and keep it beside the log when `quorum` or more did.

    Fewer do not replace what is kept, which more may have cosigned. Raises Refused when one witness is named twice,
    and what `Log` raises; whether the round is good enough, `Round.check` says.
    """
    keys = [row.key.key for row in witnesses]
    if len(set(keys)) != len(keys):
        raise Refused(
            "one witness was named twice",
            cause="the same key under two names would count as two",
            remedy="name each witness once",
            check="log.witness-twice",
        )
    log.refresh()
    head, note = log.signed_head
    before = _cosigned_before(log, witnesses)
    inquiries = [_Inquiry(log, row, note, head, before.get(row.key.key, 0)) for row in witnesses]
    answers = _all(inquiries, post, clock, seconds)
    cosigned = note + "".join(row.line for row in answers)
    found = Round(head, cosigned, tuple(answers), quorum)
    if found.cosigned >= max(1, quorum):
        log.cosigned(cosigned)
    return found


def _cosigned_before(log: Log, witnesses: Sequence[WitnessAddress]) -> dict[bytes, int]:
    """Return at which size each witness cosigned the checkpoint that is kept."""
    note = log.cosigned_text
    if not note:
        return {}
    size = verify_checkpoint(note, origin=log.origin, public_pem=log.public_pem).size
    found = {}
    for row in witnesses:
        try:
            if verify_cosignatures(note, [row.key]):
                found[row.key.key] = size
        except VerificationFailed:
            continue  # a line somebody else put there; what is kept is a help and no evidence
    return found


@dataclass(frozen=True, slots=True)
class _Inquiry:
    log: Log
    witness: WitnessAddress
    note: str
    head: Checkpoint
    known: int

    def ask(self, post: Post, clock: Clock) -> Asked:
        """Ask until the witness cosigned or said no; raises WeighbridgeError when it did neither."""
        old, url = self.known, self.witness.url.rstrip("/") + "/add-checkpoint"
        nothing = Asked(self.witness.key.name)
        for _ in range(TRIES):
            proof = self.log.consistency(old, self.head.size) if old else ()
            status, body = post(url, Request(old, proof, self.note).encode())
            if status == 200:
                return self._read(body, clock.now())
            if status != 409:
                return self._said_no(status, nothing)
            match = _SIZE.fullmatch(body)
            if match is None:
                return replace(nothing, problem="it answered 409 and no size")
            said = int(match[1])
            if said == old or said > self.head.size or said < self.known:
                return self._contradicts(said, nothing)
            old = said
        return replace(nothing, problem="it kept answering with other sizes")

    def _contradicts(self, said: int, nothing: Asked) -> Asked:
        """Tell what a size means from which no proof to our checkpoint can be given."""
        if said > self.head.size:
            self.log.refresh()
            if said <= self.log.size:
                return replace(nothing, problem="the log grew while it was asked")
            return replace(
                nothing, problem=f"it saw {said} entries, and this log has {self.log.size}", alarm=True
            )
        if said < self.known:
            problem = f"it cosigned {self.known} entries, and now says that it knows {said}"
            return replace(nothing, problem=problem, alarm=True)
        if said == self.head.size:
            return replace(nothing, problem=f"it saw another root of {said} entries", alarm=True)
        return replace(nothing, problem="it refused the very size that it asked for")

    def _said_no(self, status: int, nothing: Asked) -> Asked:
        words = {
            403: "it does not know the log's key",
            404: "it does not know the log",
            422: "it saw another history of this log",
        }
        return replace(nothing, problem=words.get(status, f"it answered {status}"), alarm=status == 422)

    def _read(self, body: bytes, now: datetime) -> Asked:
        """Take our witness's line out of an answer; others are passed over (C2SP tlog-witness)."""
        key = self.witness.key
        nothing = Asked(key.name)
        if len(body) > MAX_LINES:
            return replace(nothing, problem="its answer is too long")
        text, found = self.note.partition("\n\n")[0] + "\n\n", Asked(key.name)
        for line in body.decode(errors="replace").split("\n"):
            try:
                times = verify_cosignatures(f"{text}{line}\n", [key])
            except VerificationFailed as error:
                if error.check == COSIGNATURE:  # else it is no signature line at all
                    found = replace(nothing, problem=error.problem)
                continue
            for _, moment in times:
                if abs(moment - now) > SKEW:
                    found = replace(
                        nothing, problem=f"its cosignature is of {rfc3339(moment)}, now is {rfc3339(now)}"
                    )
                else:
                    return Asked(key.name, moment, line=line + "\n")
        identity = cosigner_id(key.name, key.key, key.algorithm).hex()
        return (
            found if found.problem else replace(nothing, problem=f"it did not cosign with the key {identity}")
        )


def _all(inquiries: Sequence[_Inquiry], post: Post, clock: Clock, seconds: float) -> list[Asked]:
    """Ask all at once; who has not answered when the time is over is left to itself (its thread ends with ours)."""
    arrived: SimpleQueue[tuple[int, Asked]] = SimpleQueue()

    def run(number: int, inquiry: _Inquiry) -> None:
        try:
            answer = inquiry.ask(post, clock)
        except WeighbridgeError as error:
            answer = Asked(inquiry.witness.key.name, problem=f"{error.problem}: {error.cause}")
        except Exception as error:  # noqa: BLE001 (a witness cannot make us fail, however strange its answer)
            answer = Asked(
                inquiry.witness.key.name, problem=f"its answer could not be read ({type(error).__name__})"
            )
        arrived.put((number, answer))

    for number, inquiry in enumerate(inquiries):
        Thread(target=run, args=(number, inquiry), name=f"witness {number}", daemon=True).start()
    found: dict[int, Asked] = {}
    end = monotonic() + seconds
    while len(found) < len(inquiries):
        try:
            number, answer = arrived.get(timeout=max(0.0, end - monotonic()))
        except Empty:
            break
        found[number] = answer
    late = "it did not answer in time"
    return [
        found.get(number) or Asked(row.witness.key.name, problem=late) for number, row in enumerate(inquiries)
    ]
