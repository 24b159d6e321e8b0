"""A witness: each status of the state machine, a memory that is never guessed, and attacks on both."""

import base64
import json
import shutil
import threading
from datetime import timedelta

import pytest
from witness_bench import NOW, ORIGIN, House, key

from weighbridge.core.errors import Refused, Unreadable, UsageError
from weighbridge.ledger.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from weighbridge.ledger.cosignature import Cosigner, read_witness_key, verify_cosignatures
from weighbridge.ledger.witness import MAX_REQUEST, Request, Witness

SIZE = "text/x.tlog.size"


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def cosign(house, old=0, **more):
    status, _, lines = house.ask(house.request(old, **more))
    assert status == 200, lines
    return lines


def names(note, cosigners):
    return verify_cosignatures(note, cosigners)


# 200


def test_both_kinds_of_key_cosign_and_verify_over_the_logs_own_note(house):
    note = house.log.checkpoint_text + cosign(house)
    for cosigner in house.cosigners:
        assert names(note, [cosigner]) == (("witness.test/w1", NOW),)
    assert len(parse_checkpoint(note)[1]) == 3


def test_it_goes_along_while_the_log_only_grows(house):
    cosign(house)
    for size in range(2, 40):
        house.grow(f"entry {size}")
        house.clock.pass_by(seconds=7)
        lines = cosign(house, size)
        assert names(house.log.checkpoint_text + lines, house.cosigners)[0][1] == house.clock.now()
    assert house.reopened().last(ORIGIN)[1].size == 40


def test_the_same_checkpoint_again_is_cosigned_again_with_a_new_time(house):
    cosign(house)
    house.clock.pass_by(hours=1)
    assert names(house.log.checkpoint_text + cosign(house, 2), house.cosigners)[0][1] == NOW + timedelta(
        hours=1
    )


def test_signatures_of_others_are_neither_believed_nor_kept(house):
    own = house.cosigners[0]
    forged = own.line(Checkpoint("elsewhere", 1, bytes(32)), 5)  # under our name and key, over something else
    stranger = Cosigner("witness.test/w1", key("stranger", "ed25519")).line(house.log.head, 5)
    note = house.log.checkpoint_text + forged + stranger
    cosign(house, note=note)
    kept = house.reopened().last(ORIGIN)[0]
    assert forged not in kept
    assert stranger not in kept
    assert len(parse_checkpoint(kept)[1]) == 3


# 400, 403, 404, 413


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: b"",
        lambda body: b"\xff\xfe",
        lambda body: body.replace(b"old 0", b"old 00"),
        lambda body: body.replace(b"old 0", b"old -1"),
        lambda body: body.replace(b"old 0", b"old\t0"),
        lambda body: body.replace(b"old 0", b"OLD 0"),
        lambda body: body.replace(b"old 0\n", b"old 0\nAAAA\n"),
        lambda body: body.replace(b"old 0\n", b"old 0\n" + base64.b64encode(bytes(32))[:-1] + b"\n"),
        lambda body: body.replace(b"old 0\n", b"old 0\n" + (base64.b64encode(bytes(32)) + b"\n") * 64),
        lambda body: body.replace(b"\n", b"\r\n"),
        lambda body: body.partition(b"\n\n")[0] + b"\n\n",
        lambda body: body[:-1],
        lambda body: body.replace(b"old 0", b"old 9"),
        lambda body: body.replace(b"\n2\n", b"\n02\n"),
    ],
)
def test_what_is_no_request_is_400(house, spoil):
    assert house.ask(house.request(0))[0] == 200
    assert house.ask(spoil(house.request(0)))[0] == 400


def test_unknown_logs_are_404_and_unsigned_ones_403(house):
    other = Checkpoint("example.org", 2, bytes(32))
    assert house.ask(house.request(0, note=sign_checkpoint(other, house.signer)))[0] == 404
    assert house.ask(house.request(0, note=sign_checkpoint(house.log.head, key("thief"))))[0] == 403
    note = house.log.checkpoint_text.replace("\n2\n", "\n1\n")  # their signature, over something else
    assert house.ask(house.request(0, note=note))[0] == 403
    assert house.witness.last(ORIGIN)[1].size == 0


def test_huge_bodies_are_not_read(house):
    assert house.ask(b"old 0\n" * MAX_REQUEST)[0] == 413
    many = house.log.checkpoint_text + "— x AAAA\n" * 6000
    assert house.ask(house.request(0, note=many))[0] == 200
    assert house.ask(house.request(2, note=many + "— x AAAA\n" * 6000))[0] == 400  # longer than a note may be


# 409, 422


def test_another_old_size_is_409_with_the_one_that_is_known(house):
    cosign(house)
    house.grow("a", "b", "c")
    cosign(house, 2)
    house.grow("d")
    for old in (0, 1, 2, 4):
        assert house.ask(house.request(old)) == (409, SIZE, "5\n")
    assert house.ask(house.request(5))[0] == 200


def test_an_old_checkpoint_replayed_is_never_cosigned_again(house):
    before = house.log.checkpoint_text
    cosign(house)
    house.grow("a", "b")
    cosign(house, 2)
    for old in (0, 1, 2):
        assert house.ask(Request(old, (), before).encode())[0] == 409
    assert house.ask(Request(4, (), before).encode())[0] == 400
    assert house.witness.last(ORIGIN)[1].size == 4


def test_a_split_view_is_refused_and_both_checkpoints_are_kept(house):
    twin = house.twin()
    house.grow("the truth")
    house.grow("a lie", log=twin)
    cosign(house)
    assert house.ask(house.request(3, log=twin)) == (409, SIZE, "3\n")
    house.grow("more lies", log=twin)
    assert house.ask(house.request(3, log=twin))[0] == 422
    house.grow("x", "y", log=twin)
    assert house.ask(house.request(3, log=twin))[0] == 422
    (fork,) = (house.folder / "w1" / "conflicts").glob("fork-*")
    text = fork.read_text()
    assert text.count(f"{ORIGIN}\n3\n") == 2
    house.grow("still the truth")
    assert house.ask(house.request(3))[0] == 200  # the honest log is not hurt


@pytest.mark.parametrize("how", ["dropped", "changed", "longer", "none"])
def test_a_proof_that_does_not_hold_is_422(house, how):
    house.grow("a", "b", "c")
    cosign(house)
    house.grow("d", "e", "f")
    proof = list(house.log.consistency(5))
    assert len(proof) > 1
    wrong = {
        "dropped": proof[:-1],
        "changed": [bytes(32), *proof[1:]],
        "longer": [*proof, bytes(32)],
        "none": [],
    }[how]
    assert house.ask(house.request(5, proof=wrong))[0] == 422
    assert house.witness.last(ORIGIN)[1].size == 5
    assert house.ask(house.request(5, proof=proof))[0] == 200


def test_a_proof_from_nothing_must_be_empty(house):
    assert house.ask(house.request(0, proof=[bytes(32)]))[0] == 422
    empty = Checkpoint(ORIGIN, 0, bytes(32))
    assert house.ask(house.request(0, note=sign_checkpoint(empty, house.signer)))[0] == 422


def test_what_contradicts_is_kept_but_does_not_fill_the_disk(house):
    cosign(house)
    for number in range(80):
        twin = Checkpoint(ORIGIN, 2, number.to_bytes(32, "big"))
        assert house.ask(house.request(2, note=sign_checkpoint(twin, house.signer)))[0] == 409
    assert len(list((house.folder / "w1" / "conflicts").iterdir())) == 64


# Memory


def state(house):
    (found,) = (house.folder / "w1" / "logs").glob("*/last")
    return found


def anchor(house):
    (found,) = (house.folder / "w1.anchor").iterdir()
    return found


@pytest.mark.parametrize(
    "harm",
    [
        lambda house: state(house).unlink(),
        lambda house: state(house).write_bytes(b""),
        lambda house: state(house).write_bytes(state(house).read_bytes()[:-9]),
        lambda house: state(house).write_bytes(state(house).read_bytes().replace(b"\n3\n", b"\n2\n")),
        lambda house: state(house).write_bytes(f"{ORIGIN}\n{house.log.checkpoint_text}".encode()),
        lambda house: state(house).write_text(f"{ORIGIN}\nnever cosigned\n"),
        lambda house: state(house).write_bytes(b"x" * 300_000),
        lambda house: shutil.rmtree(state(house).parent),
        lambda house: shutil.rmtree(house.folder / "w1" / "logs"),
        lambda house: anchor(house).unlink(),
        lambda house: anchor(house).write_bytes(b"\xff"),
        lambda house: anchor(house).write_bytes(b"999999999999999999999999 x\n"),
        lambda house: (house.folder / "w1" / "witness.json").unlink(),
        lambda house: (house.folder / "w1" / "witness.json").write_bytes(b"{}"),
        lambda house: (house.folder / "w1" / "witness.json").write_bytes(b"[" * 100_000),
    ],
)
def test_a_memory_that_is_lost_or_damaged_cosigns_nothing(house, harm):
    house.grow("a")
    cosign(house)
    harm(house)
    house.grow("b")
    for old in (0, 2, 3):
        status, kind, text = house.ask(house.request(old))
        assert (status, kind) == (500, "text/plain; charset=utf-8")
        assert str(house.folder) not in text


def test_a_memory_that_was_rolled_back_is_noticed(house):
    cosign(house)
    shutil.copytree(house.folder / "w1", house.folder / "backup")
    twin = house.twin()
    house.grow("the truth")
    cosign(house, 2)
    shutil.rmtree(house.folder / "w1")
    shutil.move(house.folder / "backup", house.folder / "w1")
    house.grow("a lie", log=twin)
    assert house.ask(house.request(2, log=twin), house.reopened())[0] == 500
    with pytest.raises(Unreadable) as error:
        house.reopened().last(ORIGIN)
    assert error.value.check == "log.witness-state"
    assert "rolled back: 3 entries were cosigned, and 2 are remembered" in error.value.cause


def test_a_crash_before_the_anchor_is_written_harms_nothing(house):
    cosign(house)
    before = anchor(house).read_bytes()
    house.grow("a")
    cosign(house, 2)
    anchor(house).write_bytes(before)
    house.grow("b")
    assert house.ask(house.request(3))[0] == 200
    assert anchor(house).read_bytes().startswith(b"4 ")


def test_nothing_is_said_that_is_not_on_disk(house, monkeypatch):
    """A disk that refuses: no cosignature leaves, and what was remembered stays."""
    import weighbridge.ledger.witness_state as module

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    cosign(house)
    house.grow("a")
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_durably", full)
        status, _, text = house.ask(house.request(2))
        assert (status, "—" in text) == (500, False)
    assert house.witness.last(ORIGIN)[1].size == 2
    assert house.ask(house.request(2))[0] == 200


def test_a_log_added_by_a_killed_command_can_be_added_again(house):
    config = house.folder / "w1" / "witness.json"
    before = config.read_bytes()
    house.witness.add_log("example.org", key("other").public_pem)
    config.write_bytes(before)
    house.witness.add_log("example.org", key("other").public_pem)
    assert [row.origin for row in house.witness.logs()] == [ORIGIN, "example.org"]


def test_a_log_that_was_forgotten_by_name_is_not_begun_again(house):
    cosign(house)
    config = house.folder / "w1" / "witness.json"
    value = json.loads(config.read_bytes())
    config.write_text(json.dumps(value | {"logs": []}))
    assert house.ask(house.request(0))[0] == 404
    with pytest.raises(Unreadable):
        house.witness.add_log(ORIGIN, house.signer.public_pem)
    house.reopened().add_log("x.example", key("other").public_pem)
    with pytest.raises(Refused) as error:
        house.reopened().add_log("x.example", key("other").public_pem)
    assert error.value.check == "log.exists"


def test_a_clock_that_went_back_is_noticed(house):
    cosign(house)
    house.clock.pass_by(minutes=-5)
    assert house.ask(house.request(2))[0] == 200
    house.clock.pass_by(minutes=-6)
    assert house.ask(house.request(2))[0] == 500


def test_keys_and_folders_of_another_are_refused(house):
    with pytest.raises(Refused):
        house.reopened(cosigners=house.keys("witness.test/w2"))
    with pytest.raises(Refused):
        Witness.create(house.folder / "w1", house.cosigners, clock=house.clock, anchor=None)
    with pytest.raises(UsageError):
        Witness.open(house.folder / "w1", (), clock=house.clock, anchor=None)
    twice = (Cosigner("a", key("e", "ed25519")), Cosigner("b", key("e", "ed25519")))
    with pytest.raises(UsageError):
        Witness.create(house.folder / "w9", twice, clock=house.clock, anchor=None)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "é" * 128, "\ud800"])
def test_names_that_a_signature_line_cannot_carry(name):
    with pytest.raises(UsageError):
        Cosigner(name, key("e", "ed25519"))


def test_keys_that_are_for_other_things():
    with pytest.raises(UsageError):
        Cosigner("w", key("log"))


def test_verifier_keys_are_read_back_and_nothing_else_is(house):
    for cosigner in house.cosigners:
        text = cosigner.verifier_key
        known = read_witness_key(text + "\n")
        assert (known.name, known.key, known.algorithm) == (cosigner.name, cosigner.key, cosigner.algorithm)
        for other in (
            text.replace("w1", "w2"),
            text[:-4],
            text + "AAAA",
            text.replace("+", " ", 1),
            "",
            "+",
            "a+b",
        ):
            with pytest.raises(UsageError):
                read_witness_key(other)


# Two at once


def test_two_writers_never_cosign_two_histories(house):
    """Threads with witnesses of their own on one folder: a true and a lying log race for every size."""
    cosign(house)
    twin = house.twin()
    for number in range(12):
        house.grow(f"true {number}")
        house.grow(f"lie {number}", log=twin)
    accepted = []
    lock = threading.Lock()
    start = threading.Barrier(2)

    def race(log):
        witness = house.reopened()
        start.wait()
        for size in range(3, log.size + 1):
            note = sign_checkpoint(Checkpoint(ORIGIN, size, log.root_at(size)), house.signer)
            for _ in range(3):
                old = witness.last(ORIGIN)[1].size
                if not 0 < old <= size:
                    break
                body = Request(old, log.consistency(old, size), note).encode()
                if house.ask(body, witness)[0] == 200:
                    with lock:
                        accepted.append((size, log.root_at(size)))
                    break

    threads = [threading.Thread(target=race, args=(log,)) for log in (house.log, twin)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accepted
    known = [{log.root_at(size) for size, _ in accepted} for log in (house.log, twin)]
    roots = {root for _, root in accepted}
    assert roots in known  # all of one history


def test_a_witness_is_opened_by_its_folder_and_all_of_its_keys(house, tmp_path):
    from weighbridge.ledger.witness import open_witness
    from weighbridge.ledger.witness_state import anchor_of

    folder, home = tmp_path / "w5", tmp_path / "home"
    cosigners = house.keys("witness.test/w5")
    made = Witness.create(folder, cosigners, clock=house.clock, anchor=anchor_of(home, cosigners))
    made.add_log(ORIGIN, house.signer.public_pem)
    signers = [row.signer for row in cosigners]
    opened = open_witness(folder, signers[::-1], clock=house.clock, home=home)
    assert house.ask(house.request(0), opened)[0] == 200
    for wrong in (
        signers[:1],
        [*signers, key("stranger", "ed25519")],
        [key("log")],
        [signers[0], signers[0]],
    ):
        with pytest.raises(Refused) as error:
            open_witness(folder, wrong, clock=house.clock, home=home)
        assert error.value.check == "log.witness-key"
    with pytest.raises(Unreadable):  # elsewhere there is no anchor
        open_witness(folder, signers, clock=house.clock, home=tmp_path / "other").last(ORIGIN)
    with pytest.raises(Unreadable):
        open_witness(tmp_path / "nowhere", signers, clock=house.clock, home=home)
