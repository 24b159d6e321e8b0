"""Asking witnesses: quorum, late and lying ones, catching up, and the alarms that a fork or a loss of memory sets off."""

import shutil
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from witness_bench import NOW, ORIGIN, House, key

from weighbridge.core.errors import Refused, Unreachable, VerificationFailed
from weighbridge.ledger.checkpoint import parse_checkpoint
from weighbridge.ledger.cosignature import Cosigner, verify_cosignatures
from weighbridge.ledger.witness import witness_response
from weighbridge.ledger.witnessing import MAX_LINES, WitnessAddress, ask_witnesses

NAMES = ("w1", "w2", "w3")


class Village(House):
    """A log and three witnesses, each at an address of its own, and ways for them to fail."""

    def __init__(self, folder):
        super().__init__(folder)
        self.witnesses = {"w1": self.witness}
        for name in NAMES[1:]:
            self.witnesses[name] = self.new_witness(name, self.keys(f"witness.test/{name}"))
        self.broken = {}
        self.requests = []

    def addresses(self, which=0):
        return [WitnessAddress(f"http://{name}/", self.witnesses[name].cosigners[which]) for name in NAMES]

    def post(self, url, body):
        name = url.removeprefix("http://").partition("/")[0]
        assert url == f"http://{name}/add-checkpoint"
        self.requests.append((name, body.partition(b"\n")[0].decode()))
        status, _, data = witness_response(body, self.witnesses[name])
        if name in self.broken:
            return self.broken[name](status, data)
        return status, data

    def round(self, quorum=2, *, log=None, which=0, seconds=20.0):
        return ask_witnesses(
            log or self.log,
            self.addresses(which),
            post=self.post,
            clock=self.clock,
            quorum=quorum,
            seconds=seconds,
        )


@pytest.fixture
def village(tmp_path):
    return Village(tmp_path)


def fail(error):
    def broken(status, data):
        raise error

    return broken


@pytest.mark.parametrize("which", [0, 1])
def test_all_cosign_and_the_checkpoint_is_kept(village, which):
    found = village.round(3, which=which)
    found.check()
    assert found.cosigned == 3
    known = [row.key for row in village.addresses(which)]
    assert village.log.cosigned_text == found.note
    assert len(verify_cosignatures(found.note, known)) == 3
    assert village.log.proof(0).checkpoint == found.note


def test_the_second_time_each_is_asked_once_from_where_it_stands(village):
    village.round()
    village.grow("a", "b", "c")
    village.requests.clear()
    village.round().check()
    assert sorted(village.requests) == [(name, "old 2") for name in NAMES]


def test_one_that_stayed_behind_catches_up(village):
    village.broken["w3"] = fail(Unreachable("w3 gave no usable answer", cause="no route"))
    for number in range(5):
        village.grow(f"entry {number}")
        found = village.round()
        found.check()
        # w3 itself did answer; its words never arrived
        assert [row.name for row in found.answers if row.cosigned] == ["witness.test/w1", "witness.test/w2"]
        assert "no route" in found.answers[2].problem
    village.witnesses["w2"] = village.new_witness("w2b", village.witnesses["w2"].cosigners)
    village.broken.clear()
    village.grow("last")
    found = village.round()
    assert [bool(row.cosigned) for row in found.answers] == [True, False, True]


def test_a_witness_that_stood_still_for_long(village):
    village.round(3)
    asleep = {"w3": lambda status, data: (503, b"busy")}
    shutil.copytree(village.folder / "w3", village.folder / "asleep")
    shutil.copytree(village.folder / "w3.anchor", village.folder / "asleep.anchor")
    village.broken = asleep
    for number in range(4):
        village.grow(f"{number}")
        village.round().check()
    village.broken = {}
    village.witnesses["w3"] = village.reopened("asleep", village.witnesses["w3"].cosigners)
    village.grow("x")
    village.requests.clear()
    assert village.round(3).cosigned == 3
    assert [old for name, old in sorted(village.requests) if name == "w3"] == ["old 0", "old 2"]


def test_fewer_than_the_quorum_are_told_and_do_not_replace_what_more_cosigned(village):
    before = village.round(3).note
    village.broken["w2"] = village.broken["w3"] = lambda status, data: (500, b"")
    village.grow("a")
    found = village.round(2)
    with pytest.raises(Unreachable) as error:
        found.check()
    assert error.value.check == "log.quorum"
    assert error.value.problem == "1 of 2 witnesses cosigned"
    assert village.log.cosigned_text == before


def test_a_witness_that_never_answers_holds_up_nobody(village):
    never = threading.Event()

    def silent(status, data):
        never.wait()
        return status, data

    village.broken["w2"] = silent
    found = village.round(2, seconds=0.5)
    found.check()
    assert [row.problem for row in found.answers] == ["", "it did not answer in time", ""]
    never.set()


def own_line(data):
    return data


LIES = {
    "html": (lambda status, data: (200, b"<html>"), "did not cosign with the key"),
    "nothing": (lambda status, data: (200, b""), "did not cosign with the key"),
    "bytes": (lambda status, data: (200, b"\xff\x00" * 9), "did not cosign with the key"),
    "huge": (lambda status, data: (200, data * 100), "too long"),
    "flipped": (
        lambda status, data: (200, data[:40] + (b"B" if data[40:41] == b"A" else b"A") + data[41:]),
        "does not verify",
    ),
    "redirect": (lambda status, data: (302, b""), "it answered 302"),
    "endless 409": (lambda status, data: (409, b"1\n"), "the very size that it asked for"),
    "409 without a size": (lambda status, data: (409, b"soon"), "409 and no size"),
    "409 with a long size": (lambda status, data: (409, b"9" * 4000), "409 and no size"),
    "bug": (fail(RecursionError("deep")), "could not be read (RecursionError)"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_witness_that_answers_nonsense_is_passed_over(village, lie):
    village.broken["w2"], words = LIES[lie]
    found = village.round(2)
    found.check()
    assert words in found.answers[1].problem
    assert len(parse_checkpoint(found.note)[1]) == 3
    assert MAX_LINES < 100 * 3600


def test_a_stranger_with_the_same_name_does_not_count(village):
    impostor = Cosigner("witness.test/w2", key("impostor", "ed25519"))
    village.broken["w2"] = lambda status, data: (
        200,
        impostor.line(village.log.head, int(NOW.timestamp())).encode(),
    )
    found = village.round(2)
    assert [bool(row.cosigned) for row in found.answers] == [True, False, True]
    assert "impostor" not in found.note
    assert len(parse_checkpoint(found.note)[1]) == 3


def test_another_witnesss_line_does_not_count_for_this_one(village):
    other = village.witnesses["w1"].cosigners[0]
    village.broken["w2"] = lambda status, data: (
        200,
        other.line(village.log.head, int(NOW.timestamp())).encode(),
    )
    assert [bool(row.cosigned) for row in village.round(2).answers] == [True, False, True]


def test_one_witness_under_two_names_is_refused(village):
    row = village.addresses()[0]
    twin = replace(row, key=Cosigner("another.name", row.key.signer))
    for rows in ([row, row], [row, twin]):
        with pytest.raises(Refused):
            ask_witnesses(village.log, rows, post=village.post, clock=village.clock)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_cosignature_of_another_time_is_none(village, minutes):
    cosigner = village.witnesses["w2"].cosigners[0]
    then = int((NOW + timedelta(minutes=minutes)).timestamp())
    village.broken["w2"] = lambda status, data: (200, cosigner.line(village.log.head, then).encode())
    found = village.round(2)
    assert "its cosignature is of 2026-11-22T" in found.answers[1].problem


def test_a_log_that_was_rolled_back_sets_off_an_alarm(village):
    twin = village.twin()
    village.grow("a", "b")
    village.round(3)
    found = village.round(2, log=twin)
    with pytest.raises(VerificationFailed) as error:
        found.check()
    assert error.value.check == "log.witness-alarm"
    assert "it saw 4 entries, and this log has 2" in error.value.cause
    assert found.cosigned == 0


def test_a_fork_sets_off_an_alarm_at_the_same_and_at_another_size(village):
    twin = village.twin()
    village.grow("truth")
    village.round(3)
    village.grow("lie", log=twin)
    assert {row.problem for row in village.round(log=twin).answers} == {"it saw another root of 3 entries"}
    village.grow("lies", log=twin)
    found = village.round(log=twin)
    assert {row.problem for row in found.answers} == {"it saw another history of this log"}
    assert all(row.alarm for row in found.answers)
    assert twin.cosigned_text == ""


def test_a_witness_that_forgot_sets_off_an_alarm(village):
    village.round(3)
    village.grow("a")
    village.round(3)
    village.witnesses["w2"] = village.new_witness("w2b", village.witnesses["w2"].cosigners)
    village.grow("b")
    found = village.round(2)
    with pytest.raises(VerificationFailed) as error:
        found.check()
    assert "witness.test/w2: it cosigned 3 entries, and now says that it knows 0" in error.value.cause
    assert found.cosigned == 2


def test_a_log_that_grows_meanwhile_is_no_alarm(village):
    """Another process appends and has its own checkpoint cosigned while we are asking."""
    other = type(village.log).open(village.folder / "log", village.signer.public_pem)
    first = threading.Event()

    def overtaken(status, data):
        if not first.is_set():
            first.set()
            village.grow("meanwhile", log=other)
            body = village.request(2, log=other)
            assert witness_response(body, village.witnesses["w1"])[0] == 200
            return 409, b"3\n"
        return status, data

    village.broken["w1"] = overtaken
    found = village.round(2)
    found.check()
    assert found.answers[0].problem == "the log grew while it was asked"
    assert village.round(3).cosigned == 3


def test_an_unknown_log_is_said_to_be_unknown(village):
    village.witnesses["w2"] = village.new_witness("w2b", village.witnesses["w2"].cosigners, knows=False)
    assert village.round(2).answers[1].problem == "it does not know the log"
    assert ORIGIN in village.log.checkpoint_text
