"""The registry's log and its witnesses: asking them, and what their cosignatures make of receipts, bundles and freshness.

Which witnesses count is in the authority; where they are asked is the setting `witnesses`
(`NAME=URL NAME=URL`, the names as the authority has them). Without that setting nobody is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weighbridge.core.errors import BadSetting, NotFound, VerificationFailed
from weighbridge.core.tier import Assurance
from weighbridge.ledger.sequencer import Log
from weighbridge.ledger.witnessing import MAX_LINES, SECONDS, Post, Round, WitnessAddress, ask_witnesses
from weighbridge.net import Door, ask
from weighbridge.registry.wiring import Registry
from weighbridge.trust.assurance import Freshness, assurance_of, freshness
from weighbridge.trust.authority import Authority
from weighbridge.trust.bundle import Bundle, LogProof
from weighbridge.trust.roots import LogKey


def addresses(setting: str, authority: Authority) -> tuple[WitnessAddress, ...]:
    """Read the setting `witnesses`; raises BadSetting for what is not NAME=URL, or a name the authority does not have."""
    known = {row.name: row for row in authority.trusted.witnesses}
    found = []
    for word in setting.split():
        name, equals, url = word.rpartition("=") if "=" not in word.partition("://")[2] else ("", "", "")
        if not equals or name not in known or not url.startswith(("http://", "https://")):
            raise BadSetting(
                f"{word!r} is no witness",
                cause=f"the authority names {', '.join(known) or 'none'}; the address begins with https:// or http://",
                remedy="write NAME=URL, and have the authority name the witness first",
                check="log.witness-address",
            )
        found.append(WitnessAddress(url, known[name]))
    return tuple(found)


def poster(*, offline: bool) -> Post:
    """Return a way to post to witnesses through the one door to the network."""

    def post(url: str, body: bytes) -> tuple[int, bytes]:
        door = Door(
            url, offline=offline, most=MAX_LINES, what="the witness", setting="the setting `witnesses`"
        )
        answer = ask(door, url, method="POST", headers={"Content-Type": "text/plain"}, body=body)
        return answer.status, answer.body

    return post


def cosign(
    registry: Registry,
    *,
    quorum: int | None = None,
    post: Post | None = None,
    setting: str | None = None,
    seconds: float = SECONDS,
) -> Round | None:
    """Have the log's newest checkpoint cosigned by the witnesses of the setting; None when there are none.

    The quorum is by default the largest that the authority demands of anybody, or one. Never raises for a witness
    that fails or contradicts: `Round.check` tells.
    """
    where = addresses(str(registry.config["witnesses"]) if setting is None else setting, registry.authority)
    if not where:
        return None
    return ask_witnesses(
        registry.log,
        where,
        post=post or poster(offline=bool(registry.config["offline"])),
        clock=registry.clock,
        quorum=demanded(registry.authority) if quorum is None else quorum,
        seconds=seconds,
    )


def demanded(authority: Authority) -> int:
    """Return how many witnesses the authority demands of anybody, and at least one."""
    return max([1, *(identity.evidence.witnesses for identity in authority.identities)])


def fresh(log: Log, authority: Authority, quorum: int | None = None) -> Freshness | None:
    """Return how fresh the newest kept checkpoint is that a quorum of witnesses saw; None when there is none."""
    named = _named(log, authority)
    if named is None:
        return None
    wanted = demanded(authority) if quorum is None else quorum
    return freshness(named, log.cosigned_text, authority.trusted.witnesses, wanted)


def assurance(log: Log, authority: Authority, entry: LogProof | None) -> Assurance:
    """Return how much a proof in the registry's log is worth; the least for one that is not in it."""
    named = _named(log, authority)
    if named is None or entry is None:
        return Assurance.SINGLE_OPERATOR
    try:
        return assurance_of(named, entry.checkpoint, authority.trusted.witnesses)
    except VerificationFailed:
        return Assurance.SINGLE_OPERATOR


def newest(log: Log, authority: Authority) -> Assurance:
    """Return how much the log is worth by its newest cosigned checkpoint."""
    named = _named(log, authority)
    note = log.cosigned_text or log.checkpoint_text
    return assurance_of(named, note, authority.trusted.witnesses) if named else Assurance.SINGLE_OPERATOR


def witnessed(bundle: Bundle, log: Log) -> Bundle:
    """Return the bundle with the proof that leads to the kept cosigned checkpoint, where that covers its entry.

    The claim, and its digest, stay the same. A bundle of another log, or an entry that is too new, is returned as it is.
    """
    entry = bundle.entry
    if entry is None or entry.log_id != log.log_id:
        return bundle
    try:
        proof = log.proof(entry.position, witnessed=True)
    except NotFound:
        return bundle
    if proof.size < entry.size and not _adds(log, entry):
        return bundle
    row = replace(entry, size=proof.size, root=proof.root, hashes=proof.hashes, checkpoint=proof.checkpoint)
    return replace(bundle, entries=(row, *bundle.entries[1:]))


def _adds(log: Log, entry: LogProof) -> bool:
    """Tell whether an entry's own checkpoint is the log's alone, so that an older cosigned one says more."""
    return entry.checkpoint.count("\n— ") <= 1 and bool(log.cosigned_text)


def _named(log: Log, authority: Authority) -> LogKey | None:
    rows: Sequence[LogKey] = authority.material.logs
    return next((row for row in rows if row.origin == log.origin), None)
