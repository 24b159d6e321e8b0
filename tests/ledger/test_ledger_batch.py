"""Group commit: what many threads hand in shares appends, and each thread hears of its own entry or its own error."""

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from weighbridge.core.errors import Locked, Refused, RegistryUnusable, UsageError
from weighbridge.keys.files import generate
from weighbridge.ledger import merkle
from weighbridge.ledger.batch import Committer
from weighbridge.ledger.checkpoint import verify_checkpoint
from weighbridge.ledger.sequencer import Log

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
ORIGIN = "weighbridge.test - 7"
KEY = generate()


class Stopped:
    """A clock that stands still."""

    def now(self):
        return NOW


class Gate:
    """A signer whose next signature waits until it is let through: what arrives meanwhile must wait together."""

    def __init__(self):
        self.algorithm, self.public_pem, self.key_id = KEY.algorithm, KEY.public_pem, KEY.key_id
        self.reached, self.open = threading.Event(), threading.Event()

    def sign(self, data):
        self.reached.set()
        assert self.open.wait(30)
        return KEY.sign(data)


@pytest.fixture
def log(tmp_path):
    return Log.create(tmp_path / "log", ORIGIN, KEY, now=NOW, genesis=[b"one", b"two"])


@pytest.fixture
def appends(log, monkeypatch):
    """How many bodies each append took in."""
    sizes, append = [], log.append

    def counted(bodies, **named):
        sizes.append(len(bodies))
        return append(bodies, **named)

    monkeypatch.setattr(log, "append", counted)
    return sizes


def proven(log, logged):
    head = verify_checkpoint(logged.proof.checkpoint, origin=ORIGIN, public_pem=KEY.public_pem)
    assert (head.size, head.root) == (logged.proof.size, logged.proof.root)
    leaf = merkle.leaf_hash(logged.entry.body)
    assert merkle.verify_inclusion(leaf, logged.entry.index, head.size, logged.proof.hashes, head.root)


def test_many_threads_get_their_own_entries_with_proofs(log):
    bodies = [b"body %d" % number for number in range(400)]
    with Committer(log, KEY, Stopped()) as committer, ThreadPoolExecutor(16) as pool:
        results = list(pool.map(committer.append, bodies))
    assert [logged.entry.body for logged in results] == bodies
    assert sorted(logged.entry.index for logged in results) == list(range(2, 402))
    for logged in results:
        proven(log, logged)
    assert log.verify_all() == 402


def test_what_waits_is_appended_together_in_order_and_within_the_limit(log, appends):
    gate = Gate()
    with Committer(log, gate, Stopped(), most=5) as committer:
        first = committer.submit(b"first")
        assert gate.reached.wait(30)
        rest = [committer.submit(b"%d" % number) for number in range(8)]
        assert not first.done()
        gate.open.set()
        assert [future.result(30).entry.index for future in [first, *rest]] == list(range(2, 11))
    assert appends == [1, 5, 3]


def test_nobody_is_told_before_it_is_true(log, tmp_path):
    gate = Gate()
    with Committer(log, gate, Stopped()) as committer:
        future = committer.submit(b"body")
        assert gate.reached.wait(30)
        with pytest.raises(TimeoutError):
            future.result(0.01)
        assert Log.open(tmp_path / "log", KEY.public_pem).size == 2
        gate.open.set()
        future.result(30)
        assert Log.open(tmp_path / "log", KEY.public_pem).entry(2).body == b"body"


def test_a_bad_body_fails_its_caller_and_nobody_else(log):
    gate = Gate()
    with Committer(log, gate, Stopped()) as committer:
        good = [committer.submit(b"a"), committer.submit(b"b")]
        for body in (b"", bytes(65536)):
            with pytest.raises(UsageError) as caught:
                committer.submit(body)
            assert caught.value.check == "log.entry-size"
        gate.open.set()
        assert [future.result(30).entry.index for future in good] == [2, 3]


def test_once_gives_the_entry_that_is_there(log, appends):
    gate = Gate()
    with Committer(log, gate, Stopped()) as committer:
        committer.submit(b"wakes the committer")
        assert gate.reached.wait(30)
        futures = [committer.submit(body, once=True) for body in (b"two", b"new", b"new", b"two")]
        futures += [committer.submit(b"new")]
        gate.open.set()
        results = [future.result(30) for future in futures]
        assert [logged.entry.index for logged in results] == [1, 3, 3, 1, 4]
        for logged in results:
            proven(log, logged)
        assert committer.append(b"new", once=True).entry.index == 3
    assert appends == [1, 2, 0]


def test_an_error_reaches_each_caller_and_the_next_append_works(log, monkeypatch):
    gate = Gate()
    append, failing = log.append, [True]

    def damaged(bodies, **named):
        if bodies[0] != b"first" and failing.pop() if failing else False:
            raise RegistryUnusable("the log is damaged", cause="a test", remedy="none", check="log.damaged")
        return append(bodies, **named)

    monkeypatch.setattr(log, "append", damaged)
    with Committer(log, gate, Stopped()) as committer:
        first = committer.submit(b"first")
        assert gate.reached.wait(30)
        waiting = [committer.submit(b"%d" % number) for number in range(3)]
        gate.open.set()
        errors = [future.exception(30) for future in waiting]
        assert {(type(error), error.check, error.cause) for error in errors} == {
            (RegistryUnusable, "log.damaged", "a test")
        }
        assert len({id(error) for error in errors}) == 3
        assert first.result(30).entry.index == 2
        assert committer.append(b"later", timeout=30).entry.index == 3


def test_an_error_of_ours_does_not_end_the_thread(log, monkeypatch):
    proofs = log.proofs
    monkeypatch.setattr(log, "proofs", lambda _: 1 / 0)
    with Committer(log, KEY, Stopped()) as committer:
        with pytest.raises(ZeroDivisionError):
            committer.append(b"a", timeout=30)
        monkeypatch.setattr(log, "proofs", proofs)
        assert committer.append(b"b", timeout=30).entry.index == 3


def test_closing_commits_what_waits_and_refuses_what_comes(log):
    gate = Gate()
    committer = Committer(log, gate, Stopped(), most=2)
    futures = [committer.submit(b"%d" % number) for number in range(7)]
    closer = threading.Thread(target=committer.close)
    closer.start()
    gate.open.set()
    closer.join(30)
    assert not closer.is_alive()
    assert sorted(future.result(0).entry.index for future in futures) == list(range(2, 9))
    with pytest.raises(Refused) as caught:
        committer.submit(b"late")
    assert caught.value.check == "log.closed"
    committer.close()  # twice is harmless


def test_too_many_are_told_to_come_again(log):
    gate = Gate()
    with Committer(log, gate, Stopped(), waiting=2) as committer:
        committer.submit(b"under way")
        assert gate.reached.wait(30)
        waiting = [committer.submit(b"a"), committer.submit(b"b")]
        with pytest.raises(Locked) as caught:
            committer.submit(b"c")
        assert caught.value.check == "log.busy"
        gate.open.set()
        assert [future.result(30).entry.index for future in waiting] == [3, 4]


def test_who_gave_up_before_it_began_is_not_logged(log):
    gate = Gate()
    with Committer(log, gate, Stopped()) as committer:
        committer.submit(b"under way")
        assert gate.reached.wait(30)
        given_up, kept = committer.submit(b"given up"), committer.submit(b"kept")
        assert given_up.cancel()
        gate.open.set()
        assert kept.result(30).entry.index == 3
        with pytest.raises(CancelledError):
            given_up.result(0)
    assert log.find(b"given up") is None


def test_readers_in_other_threads_never_see_halves(log):
    stop, problems = threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                logged = log.proof(1)
                head = verify_checkpoint(logged.checkpoint, origin=ORIGIN, public_pem=KEY.public_pem)
                leaf = merkle.leaf_hash(b"two")
                assert merkle.verify_inclusion(leaf, 1, head.size, logged.hashes, head.root)
                assert log.find(b"two") == 1
                log.refresh()
            except BaseException as error:  # noqa: BLE001 (told to the test)
                problems.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    with Committer(log, KEY, Stopped()) as committer:
        for reader in readers:
            reader.start()
        for number in range(15):
            committer.append(b"%d" % number * 5, timeout=30)
        stop.set()
        for reader in readers:
            reader.join(30)
    assert problems == []
    assert log.verify_all() == 17
