"""Event files of TensorBoard pass to the last byte; damage, other bytes, and what hides in them do not."""

import struct
import sys
from pathlib import Path

import pytest

from weighbridge.core.finding import Verdict
from weighbridge.formats import tfevents
from weighbridge.formats.tfevents import begins_events, masked_crc
from weighbridge.scanner.engine import scan_one
from weighbridge.scanner.file import from_bytes

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))
from seeds_tfevents import FIRST, PNG, TIME, picture, record, row, seeds, value

NAME = "runs/events.out.tfevents.1700000000.host.1.0"
EVIL = b"cposix\nsystem\n(S'true'\ntR."


def scan(data, name=NAME):
    return scan_one(from_bytes(name, data, "unknown"))


def found(data):
    return {(finding.rule, finding.subject) for finding in scan(data).findings}


@pytest.mark.parametrize("data", seeds())
def test_an_event_file_passes(data):
    part = scan(data)
    assert (part.kind, part.findings) == ("tfevents", ())
    assert part.coverage.complete
    assert scan(data, "model.bin").findings == ()


def test_the_checksum_is_that_of_tensorflow():
    """The published check value of CRC-32C, turned by 15 bits and moved by TensorFlow's constant."""
    assert masked_crc(b"123456789") == (((0xE3069283 >> 15) | (0xE3069283 << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    assert struct.pack("<I", masked_crc(struct.pack("<Q", 24))) == b"\xa3\x7f\x4b\x22"


@pytest.mark.parametrize(
    ("check", "data"),
    [
        ("crc", FIRST + EVIL),
        ("truncated", FIRST + b"\0"),
        ("truncated", FIRST[:-1]),
        ("truncated", FIRST + picture()[:-5]),
        ("crc", FIRST[:-1] + bytes((FIRST[-1] ^ 1,))),
        ("crc", FIRST + picture()[:40] + b"\1" + picture()[41:]),
        ("version", FIRST + FIRST),
        ("twice", FIRST + record(TIME + TIME)),
        ("wire", FIRST + record(b"\x08\x01")),
        ("truncated", FIRST + record(b"\x2a\x7f")),
        ("truncated", FIRST + struct.pack("<Q", 1 << 60) + struct.pack("<I", masked_crc(struct.pack("<Q", 1 << 60))) + b"\0" * 9),
    ],
)  # fmt: skip
def test_damage_is_broken(check, data):
    part = scan(data)
    assert {(finding.rule, finding.subject) for finding in part.findings} == {
        ("tfevents-broken", f"tfevents.{check}")
    }
    assert not part.coverage.complete


def test_a_field_that_is_not_known_is_unread():
    part = scan(
        FIRST + record(TIME + row(11, b"x")) + value(b"a", row(15, b"x")) + value(b"b", row(15, b"y"))
    )
    subjects = sorted(finding.subject for finding in part.findings)
    assert subjects == ["Event 11", "Summary.Value 15"]
    assert all(finding.verdict is Verdict.UNREAD for finding in part.findings)
    assert not part.coverage.complete


@pytest.mark.parametrize("content", [EVIL, b"\x80\x04" + EVIL, PNG + EVIL, b"\x7fELF" + bytes(60), b"\1\2\3"])
def test_a_picture_is_judged_by_its_content(content):
    part = scan(FIRST + picture(content))
    assert any(not finding.verdict.passes for finding in part.findings)
    assert part.findings[0].location.members == ("picture 1",)


def test_what_came_before_damage_is_judged():
    assert {rule for rule, _ in found(FIRST + picture(EVIL) + b"\0")} == {"pickle-call", "tfevents-broken"}


def test_an_archive_behind_the_last_record_is_seen():
    import io
    import zipfile

    out = io.BytesIO(FIRST)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("data.pkl", EVIL)
    assert ("archive-polyglot", "archive-polyglot") in found(out.getvalue())


@pytest.mark.parametrize(
    "data", [b"", bytes(12), FIRST[:20], record(TIME + row(3, b"brain")), b"\1" + FIRST[1:]]
)
def test_other_bytes_are_no_event_file(data):
    assert not begins_events(data[:4096])


@pytest.mark.parametrize(("name", "value_"), [("MAX_RECORD", 20), ("MAX_BYTES", 20), ("MAX_BLOBS", 0)])
def test_what_is_too_much_is_unread(monkeypatch, name, value_):
    from weighbridge.core.errors import OutOfBudget

    monkeypatch.setattr(tfevents, name, value_)
    with pytest.raises(OutOfBudget) as refusal:
        scan(FIRST + picture())
    assert refusal.value.check == "budget.tfevents"
