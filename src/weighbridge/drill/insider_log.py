"""The insider, at the log and at time: entries rewritten and cut off, clocks turned back, the whole folder rolled back."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from weighbridge.core.errors import WeighbridgeError
from weighbridge.drill.stage import Stage
from weighbridge.drill.steps import Ending, Seen, Step, blocked, refused, shown, through
from weighbridge.gate.monitor import Monitor
from weighbridge.gate.monitor_entries import Announced, Watch
from weighbridge.gate.revoke import revoke
from weighbridge.keys.files import generate
from weighbridge.ledger.cosignature import Cosigner
from weighbridge.ledger.following import FolderSource, LogReader
from weighbridge.ledger.sequencer import Log
from weighbridge.ledger.witness import Witness
from weighbridge.ledger.witnessing import Post, WitnessAddress, ask_witnesses
from weighbridge.registry import fsck
from weighbridge.trust.verify import verify_log_extension

HAD = "write access to the registry's folder"
BOTH = "write access to the registry's folder, and to the pin of everybody who uses it on this host"


def _tile(stage: Stage) -> Path:
    """Return the file that holds the newest entries of the log."""
    return max(path for path in (stage.root / "log" / "tile" / "entries").rglob("*") if path.is_file())


def _rewritten(stage: Stage) -> Seen:
    """Change what an entry says."""
    path = _tile(stage)
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
    path.write_bytes(path.read_bytes().replace(b"payloadHash", b"payloadhash", 1))
    return refused(lambda: fsck.log(stage.registry), "the changed entry was passed over")


def _older_log(stage: Stage) -> Path:
    """Keep a copy of the log and go on: a revocation is logged."""
    stage.close()
    kept = stage.folder / "older"
    shutil.copytree(stage.root, kept)
    _go_on(stage)
    return kept


def _go_on(stage: Stage) -> None:
    digest = stage.manifest(stage.brought("second")).digest
    revoke(stage.registry, digest, reason="its data was poisoned", signer=stage.secret("owner"))
    stage.close()


def _replace(stage: Stage, part: str, kept: Path) -> None:
    shutil.rmtree(stage.root / part)
    shutil.copytree(kept / part, stage.root / part)


def _truncated(stage: Stage) -> Seen:
    """Put an older state of the log in the place of the log."""
    _replace(stage, "log", _older_log(stage))
    return refused(lambda: stage.registry, "a shorter log was opened")


def _forked(stage: Stage) -> Seen:
    """Take an older log on by another way, with its key: to the same size, with other entries."""
    kept = _older_log(stage)
    key, now = stage.registry.log_key, stage.clock.now()
    missing = stage.registry.log.size
    pem = stage.registry.log.public_pem
    stage.close()
    log = Log.open(kept / "log", pem)
    while log.size < missing:
        log.append([b'{"kind":"nothing happened"}'], signer=key, now=now)
    _replace(stage, "log", kept)
    return refused(lambda: stage.registry, "another history was opened")


def _rolled_back(stage: Stage) -> Seen:
    """Put back the whole folder as it was before a revocation."""
    kept = _older_log(stage)
    shutil.rmtree(stage.root)
    shutil.copytree(kept, stage.root)
    return refused(lambda: stage.registry, "the older registry was opened")


def _with_pin(stage: Stage) -> str:
    """Put back the whole folder and the pin; return the checkpoint that others have seen meanwhile."""
    stage.close()
    kept, pins = stage.folder / "older", stage.folder / "older-pins"
    shutil.copytree(stage.root, kept)
    shutil.copytree(stage.home / "pins", pins)
    _go_on(stage)
    seen = stage.registry.log.checkpoint_text
    stage.close()
    shutil.rmtree(stage.root)
    shutil.copytree(kept, stage.root)
    shutil.rmtree(stage.home / "pins")
    shutil.copytree(pins, stage.home / "pins")
    return seen


def _pin_as_well(stage: Stage) -> Seen:
    _with_pin(stage)
    decision = stage.admit(stage.brought("second")).decision
    if not decision.allow:
        return blocked(decision)
    return through("the revocation is gone, and the revoked model is admitted")


def _kept_checkpoint(stage: Stage) -> Seen:
    """Somebody else kept the newer checkpoint: a colleague, a receipt, a page that was printed."""
    seen = _with_pin(stage)
    log = stage.registry.log
    return _told(lambda: verify_log_extension(seen, log.checkpoint_text, (), log.public_pem))


def _monitored(stage: Stage) -> Seen:
    """Roll everything back under the eyes of a monitor on another machine."""
    log = stage.registry.log

    def look() -> Seen:
        folder = stage.root / "log"
        reader = LogReader(FolderSource(folder), origin=log.origin, public_pem=log.public_pem)
        monitor = Monitor(stage.folder / "elsewhere", reader, log.public_pem, Watch())
        with monitor.holding():
            step = monitor.step(Announced, stage.clock.now())
            monitor.keep()
        return shown(*((alert.kind, alert.what) for alert in step.alerts))

    return _seen_twice(stage, look)


def _witnessed(stage: Stage) -> Seen:
    """Roll everything back when a witness has cosigned what came after."""
    log, key = stage.registry.log, generate("ed25519")
    witness = Witness.create(
        stage.folder / "witness",
        [Cosigner("witness.example", key)],
        clock=stage.clock,
        anchor=stage.folder / "anchor",
    )
    witness.add_log(log.origin, log.public_pem)
    address = WitnessAddress("https://witness.example", Cosigner("witness.example", key))

    def look() -> Seen:
        asked = ask_witnesses(
            stage.registry.log, [address], post=_posted(witness), clock=stage.clock, seconds=30.0
        )
        return _told(asked.check_alarms)

    return _seen_twice(stage, look)


def _posted(witness: Witness) -> Post:
    """Return a way to post to a witness without a network: its own answers, to the very requests."""

    def post(_url: str, body: bytes) -> tuple[int, bytes]:
        answer = witness.add_checkpoint(body)
        return answer.status, answer.body.encode()

    return post


def _seen_twice(stage: Stage, look: Callable[[], Seen]) -> Seen:
    """Have somebody look at the log, go on, look again, roll everything back, and look a third time."""
    look()
    stage.close()
    kept, pins = stage.folder / "older", stage.folder / "older-pins"
    shutil.copytree(stage.root, kept)
    shutil.copytree(stage.home / "pins", pins)
    _go_on(stage)
    look()
    stage.close()
    for there, back in ((stage.root, kept), (stage.home / "pins", pins)):
        shutil.rmtree(there)
        shutil.copytree(back, there)
    return look()


def _told(act: Callable[[], object]) -> Seen:
    """Turn the refusal that somebody outside sees into what is shown to them; here nothing is stopped by it."""
    try:
        act()
    except WeighbridgeError as error:
        return shown((error.check or error.kind, f"{error.problem}: {error.cause}"))
    return through("it saw nothing")


def _clock_before(stage: Stage) -> Seen:
    """Turn the clock of the gate back to a day on which the authority was not yet issued."""
    folder = stage.brought("second")
    stage.clock.pass_(days=-400)
    return refused(lambda: stage.promote(folder), "the gate decided at a time that was over")


def _clock_within(stage: Stage) -> Seen:
    """Turn the clock back to a moment at which an ended identity was still in force, and sign with its key."""
    folder, data = _ended(stage)
    stage.clock.pass_(hours=-3)
    return refused(
        lambda: stage.say(stage.trained(folder, data=[data]), stage.people["train"]),
        "the log dated a claim before what it follows",
    )


def _clock_by_minutes(stage: Stage) -> Seen:
    """Turn the clock back by no more than clocks differ, to when the identity was still in force."""
    folder, data = _ended(stage)
    stage.clock.pass_(minutes=-4)
    stage.say(stage.trained(folder, data=[data]), stage.people["train"])
    stage.clock.pass_(minutes=4)
    return blocked(stage.promote(folder).decision)


def _ended(stage: Stage) -> tuple[Path, Path]:
    """Have a model that lacks only a training claim, and its data, where the training identity ended two minutes ago."""
    stage.clock.pass_(hours=2)
    folder, data = stage.ready("late", 6.0, leave=("train",)), stage.brought("late-data")
    stage.publish(stage.registry.authority.revoked("train", stage.clock.now()))
    stage.clock.pass_(minutes=2)
    return folder, data


def _clock_at_loading(stage: Stage) -> Seen:
    """Turn back the clock of the machine that serves, so that an ended admission is one again."""
    path = stage.laid_out(stage.brought("second"))
    stage.clock.pass_(minutes=-19)
    return refused(lambda: stage.load(path), "an admission from the future was taken")


STEPS = (
    Step(
        "insider.entry", "changes what an entry of the log says", HAD,
        Ending.STOPPED, "log.damaged", "every entry is held against the signed root when it is read (weighbridge doctor)", _rewritten,
    ),
    Step(
        "insider.truncate", "cuts the newest entries off the log", HAD,
        Ending.STOPPED, "log.consistency", "the log must extend the checkpoint that this user pinned", _truncated,
    ),
    Step(
        "insider.fork", "writes another history of the same length, with the log's own key", "write access to the registry's folder, and the log's key",
        Ending.STOPPED, "log.consistency", "the log must extend the checkpoint that this user pinned", _forked,
    ),
    Step(
        "insider.clock", "turns the gate's clock back to before the authority was issued", "the gate's clock",
        Ending.STOPPED, "log.clock", "nothing is decided or logged while the clock stands behind the log's newest entry", _clock_before,
    ),
    Step(
        "insider.clock-loading", "turns back the clock of the machine that serves", "that machine's clock",
        Ending.STOPPED, "time.future", "what was signed in the future was not signed yet", _clock_at_loading,
    ),
    Step(
        "insider.backdate", "signs with a key that was ended, while the log's clock is turned back", "an ended key, and the clock of the host that keeps the log",
        Ending.STOPPED, "log.clock", "nothing is decided or logged while the clock stands behind the log's newest entry", _clock_within,
    ),
    Step(
        "insider.backdate-minutes", "the same, by no more than honest clocks differ", "an ended key, and the clock of the host that keeps the log",
        Ending.STOPPED, "claims.train", "the log's dates never go back: the claim is dated after the end of its key, which is an entry as well", _clock_by_minutes,
    ),
    Step(
        "insider.rollback", "puts the whole registry back to before a revocation", HAD,
        Ending.STOPPED, "log.consistency", "the pin lies in the user's configuration home, not in the registry", _rolled_back,
    ),
    Step(
        "insider.rollback-pin", "puts the registry and the pin back", BOTH,
        Ending.OPEN, "", "nothing on this host contradicts it. Only what lies outside of the insider's reach can tell (next steps)", _pin_as_well,
    ),
    Step(
        "insider.rollback-kept", "the same, and somebody has kept the newer checkpoint", BOTH,
        Ending.SHOWN, "log.consistency", "whoever kept it: `weighbridge log prove --since CHECKPOINT`", _kept_checkpoint,
    ),
    Step(
        "insider.rollback-witness", "the same, and a witness has cosigned the newer checkpoint", BOTH,
        Ending.SHOWN, "log.witness-alarm", "the registry at its next write, and everybody who demands a witness's signature", _witnessed,
    ),
    Step(
        "insider.rollback-monitor", "the same, and a monitor elsewhere follows the log", BOTH,
        Ending.SHOWN, "log.rollback", "whoever runs the monitor (`weighbridge log watch`); it keeps both checkpoints as evidence", _monitored,
    ),
)  # fmt: skip
"""What an insider tries with the log and with time, in this order."""
