"""The monitor: it proves growth from its pin, reads every entry, and speaks of what nobody announced."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Locked, NotFound, RegistryUnusable, Unreadable, VerificationFailed
from weighbridge.core.statement import Statement, subject_of
from weighbridge.gate.monitor import Monitor, Patience
from weighbridge.gate.monitor_entries import Announced, Watch, announced_by
from weighbridge.keys.files import generate
from weighbridge.ledger.checkpoint import Checkpoint, origin_of, sign_checkpoint
from weighbridge.ledger.following import FolderSource, LogReader
from weighbridge.ledger.merkle import EMPTY_ROOT
from weighbridge.ledger.sequencer import Log
from weighbridge.trust.bundle import Bundle, log_body
from weighbridge.trust.dsse import pae
from weighbridge.trust.expect import ExpectedKey
from weighbridge.trust.log_bodies import hashedrekord1_body, hashedrekord2_body
from weighbridge.trust.seal import sign_statement

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
ORIGIN = origin_of("test", 7)
GENESIS = [canonical({"kind": "weighbridge.genesis/1", "n": number}) for number in (1, 2)]
MODEL, STRANGE = Digest("wb1", "ab" * 32), Digest("wb1", "cd" * 32)


@cache
def key(name):
    return generate("ecdsa-p256")


def envelope(number=0, by="trainer", about=MODEL):
    statement = Statement((subject_of(about),), "https://weighbridge.dev/test/v1", {"n": number})
    return sign_statement(statement, key(by))


class Post:
    """A log, what was announced, and a monitor that watches the trainer."""

    def __init__(self, folder, **patience):
        self.folder, self.now = folder, NOW
        self.log = Log.create(folder / "log", ORIGIN, key("log"), now=NOW, genesis=GENESIS)
        self.announced = Announced(models=frozenset((MODEL,)))
        self.patience = Patience(**patience)
        self.watch = Watch((ExpectedKey(key("trainer").key_id),))

    def add(self, *bodies, log=None):
        (log or self.log).append(list(bodies), signer=key("log"), now=NOW)

    def sign(self, number=0, by="trainer", about=MODEL, *, announce=False):
        made = envelope(number, by, about)
        self.add(log_body(made, key(by).public_pem))
        if announce:
            self.announced |= announced_by(Bundle(made, key(by).key_id))

    def monitor(self, folder="log"):
        reader = LogReader(FolderSource(self.folder / folder), origin=ORIGIN, public_pem=self.log.public_pem)
        return Monitor(self.folder / "home", reader, self.log.public_pem, self.watch, self.patience)

    def look(self, folder="log", *, keep=True, most=65536):
        monitor = self.monitor(folder)
        with monitor.holding():
            step = monitor.step(lambda: self.announced, self.now, most)
            if keep:
                monitor.keep()
        return step

    @property
    def state(self):
        (path,) = (self.folder / "home" / "monitor").glob("*.json")
        return path


@pytest.fixture
def post(tmp_path):
    return Post(tmp_path)


def kinds(step):
    return [alert.kind for alert in step.alerts]


def test_a_quiet_log_is_quiet(post):
    step = post.look()
    assert (step.first, step.size, step.start, step.end, step.alerts) == (True, 2, 0, 2, ())
    post.sign(announce=True)
    post.sign(1, by="somebody else")
    step = post.look()
    assert (step.first, step.start, step.end, step.alerts, step.done) == (False, 2, 4, (), True)
    assert post.look().start == 4


def test_what_a_watched_key_signed_and_nobody_announced_is_told(post):
    post.look()
    post.sign(1, announce=True)
    post.sign(2)
    (alert,) = post.look().alerts
    assert (alert.kind, alert.index) == ("entry.unannounced", 3)
    assert alert.details["key"] == str(key("trainer").key_id)
    assert alert.details["content"] == str(Digest.of(envelope(2).payload))


def test_every_kind_of_entry_is_read(post):
    made, pem = envelope(3), key("trainer").public_pem
    sealed = Digest.of(pae(made.payload_type, made.payload))
    bodies = [
        log_body(made, pem),
        hashedrekord1_body(Digest.of(b"a file"), b"signature", pem),
        hashedrekord2_body(sealed, b"signature", pem),
    ]
    post.add(*bodies)
    assert kinds(post.look(keep=False)) == ["entry.unannounced"] * 3
    post.announced |= announced_by(Bundle(made, key("trainer").key_id))
    assert [alert.index for alert in post.look(keep=False).alerts] == [3]
    post.announced |= Announced(frozenset((Digest.of(b"a file"),)))
    assert post.look().alerts == ()


def test_with_everything_no_signer_is_too_strange(post):
    post.watch = Watch(everything=True)
    post.sign(1, by="somebody else")
    (alert,) = post.look().alerts
    assert alert.kind == "entry.unannounced"


def test_an_entry_about_a_model_that_nobody_registered_is_told(post):
    post.sign(1, about=STRANGE, announce=True)
    (alert,) = post.look(keep=False).alerts
    assert (alert.kind, alert.details["model"]) == ("model.unregistered", str(STRANGE))
    post.announced |= Announced(models=frozenset((STRANGE,)))
    assert post.look().alerts == ()


UNREADABLE = [
    b"junk",
    b"{}",
    b"[" * 60000,
    canonical({"kind": "rpm", "apiVersion": "0.0.1", "spec": {}}),
    canonical({"kind": ["dsse"], "apiVersion": "0.0.1", "spec": {}}),
    canonical({"kind": "weighbridge.genesis/1", "spec": {}}),
    canonical({"kind": "dsse", "apiVersion": "0.0.1", "spec": {}}),
    canonical({"kind": "dsse", "apiVersion": "0.0.1", "spec": {"payloadHash": {"algorithm": "sha256", "value": "a" * 64}, "signatures": []}}),
    log_body(envelope(), "not a key"),
    log_body(envelope(), key("trainer").public_pem * 2),
    hashedrekord1_body(Digest.of(b""), b"", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    canonical(json.loads(hashedrekord2_body(Digest.of(b""), b"", key("trainer").public_pem)) | {"kind": "dsse"}),
]  # fmt: skip


@pytest.mark.parametrize("body", UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_cannot_be_read_is_told_and_never_passed_over(post, body):
    post.add(body)
    post.sign(2)
    assert kinds(post.look()) == ["entry.unreadable", "entry.unannounced"]


def test_a_monitor_killed_before_it_kept_says_it_again(post):
    post.sign(2)
    assert kinds(post.look(keep=False)) == ["entry.unannounced"]
    assert kinds(post.look()) == ["entry.unannounced"]
    assert kinds(post.look()) == []


def test_it_goes_on_where_it_stopped(post):
    post.add(*(b"entry %d" % number for number in range(2000)))
    ends, step = [], None
    while step is None or not step.done:
        step = post.look(most=300)
        ends.append((step.start, step.end))
        assert len(step.alerts) == step.end - max(2, step.start)
        if len(ends) == 2:
            post.add(b"meanwhile")
    assert [start for start, _ in ends[1:]] == [end for _, end in ends[:-1]]
    assert ends[-1][1] == post.log.size == 2003


def test_grace_gives_time_to_announce(tmp_path):
    post = Post(tmp_path, grace=timedelta(minutes=10))
    post.sign(1)
    post.sign(2)
    step = post.look()
    assert (step.alerts, step.pending) == ((), 2)
    post.announced |= announced_by(Bundle(envelope(1), key("trainer").key_id))
    post.announced |= Announced(frozenset((Digest.of(envelope(1).payload),)))
    post.now += timedelta(minutes=9)
    assert (post.look().alerts, post.look().pending) == ((), 1)
    post.now += timedelta(minutes=1)
    (alert,) = post.look().alerts
    assert alert.index == 3
    assert post.look().alerts == ()


# Contradictions


def test_a_fork_is_told_each_time_with_both_checkpoints_kept(post):
    shutil.copytree(post.folder / "log", post.folder / "twin")
    twin = Log.open(post.folder / "twin", post.log.public_pem)
    post.add(GENESIS[0])
    post.look()
    for bodies in ([GENESIS[1]], [GENESIS[0], GENESIS[0]]):
        post.add(*bodies, log=twin)
        for _ in range(2):
            step = post.look("twin")
            assert kinds(step) == ["log.fork"]
            assert step.done
            text = Path(step.alerts[0].details["evidence"]).read_text(encoding="utf-8")
            assert post.log.checkpoint_text in text
            assert twin.checkpoint_text in text
    assert post.look().alerts == ()  # the pin did not move


def test_a_rollback_is_told(post):
    shutil.copytree(post.folder / "log", post.folder / "backup")
    post.add(GENESIS[0])
    post.look()
    assert kinds(post.look("backup")) == ["log.rollback"]
    assert kinds(post.look("backup")) == ["log.rollback"]


def test_entries_that_are_not_those_signed_are_told(post):
    post.look()
    post.sign(2)
    (tile,) = (post.folder / "log" / "tile" / "entries").glob("000.p/3")
    honest = tile.read_bytes()
    tile.write_bytes(honest.replace(b'"value":"', b'"value":"0', 1)[: len(honest)])
    assert kinds(post.look()) == ["log.entries"]
    tile.write_bytes(honest)
    assert kinds(post.look()) == ["entry.unannounced"]


def test_files_that_are_withheld_or_cut_are_no_answer(post):
    post.look()
    post.sign(2)
    (tile,) = (post.folder / "log" / "tile" / "entries").glob("000.p/3")
    honest = tile.read_bytes()
    tile.write_bytes(honest[:-3])
    with pytest.raises(Unreadable):
        post.look()
    tile.unlink()
    with pytest.raises(NotFound) as error:
        post.look()
    assert error.value.check == "log.missing"
    tile.write_bytes(honest)
    assert kinds(post.look()) == ["entry.unannounced"]


def test_a_head_that_the_log_did_not_sign_is_refused(post):
    post.look()
    path = post.folder / "log" / "checkpoint"
    path.write_text(sign_checkpoint(post.log.head, key("thief")))
    with pytest.raises(VerificationFailed) as error:
        post.look()
    assert error.value.check == "log.checkpoint"
    path.unlink()
    with pytest.raises(NotFound):
        post.look()


def test_an_empty_log_is_followed_from_its_first_entry(post):
    empty = post.folder / "empty"
    empty.mkdir()
    (empty / "checkpoint").write_text(sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), key("log")))
    step = post.look("empty")
    assert (step.size, step.end, step.alerts, step.done) == (0, 0, (), True)
    post.sign(2)
    assert kinds(post.look()) == ["entry.unannounced"]
    assert kinds(post.look("empty")) == ["log.rollback"]


def test_an_empty_log_whose_root_is_not_that_of_nothing(post):
    (post.folder / "log" / "checkpoint").write_text(
        sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), key("log"))
    )
    assert kinds(post.look()) == ["log.entries"]


def test_a_frozen_log_is_never_stale_and_must_stay_frozen(tmp_path):
    post = Post(tmp_path, max_age=timedelta(days=1))
    shutil.copytree(post.folder / "log", post.folder / "thawed")
    post.look()
    post.now += timedelta(days=1)
    assert post.look().alerts == ()
    post.now += timedelta(seconds=1)
    assert kinds(post.look()) == ["log.stale"]
    post.log.freeze(signer=key("log"), now=NOW)
    step = post.look()
    assert (step.alerts, bool(step.frozen)) == ((), True)
    post.now += timedelta(days=9)
    assert post.look().alerts == ()
    assert kinds(post.look("thawed")) == ["log.fork"]
    thawed = Log.open(post.folder / "thawed", post.log.public_pem)
    post.add(GENESIS[0], log=thawed)
    assert kinds(post.look("thawed")) == ["log.fork"]


# What is pinned


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: data[:-9],
        lambda data: data.replace(b'"size":3', b'"size":2'),
        lambda data: data.replace(b'"size":3', b'"size":-3'),
        lambda data: data.replace(b'"size":3', b'"size":"3"'),
        lambda data: data.replace(b'"edge":["', b'"edge":["00'),
        lambda data: data.replace(b'"edge":["', b'"edge":["zz'),
        lambda data: data.replace(b"monitor/1", b"monitor/2"),
        lambda data: data.replace(b"- 7", b"- 8"),
        lambda data: data.replace(b'"pending":[]', b'"pending":[{}]'),
        lambda data: b"[" * 10000,
    ],
)
def test_a_pin_that_is_damaged_is_not_begun_again(post, harm):
    post.add(GENESIS[0])
    post.look()
    data = post.state.read_bytes()
    post.state.write_bytes(harm(data))
    assert post.state.read_bytes() != data
    with pytest.raises(RegistryUnusable) as error:
        post.look()
    assert error.value.check == "monitor.state"


def test_an_edge_that_was_changed_accuses_nobody_falsely(post):
    """The position is part of what is trusted; where it is behind the head a change shows up when it is used."""
    post.add(*(b"entry %d" % number for number in range(600)))
    post.look(most=256)
    value = json.loads(post.state.read_bytes())
    assert value["size"] == 256
    value["edge"][0] = "00" * 32
    post.state.write_text(json.dumps(value))
    assert kinds(post.look()) == ["log.entries"]


def test_two_monitors_do_not_run_at_once(post, monkeypatch):
    import weighbridge.ledger.lock as module

    monkeypatch.setattr(module, "TRIES", 2)
    with post.monitor().holding(), pytest.raises(Locked):
        post.look()


def test_our_own_log_is_followed_while_it_grows_across_tiles(post):
    for number in range(6):
        post.add(*(canonical({"kind": "weighbridge.genesis/1", "n": [number, row]}) for row in range(97)))
        step = post.look()
        assert (step.end, step.alerts) == (post.log.size, ())
