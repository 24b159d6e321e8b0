"""The rule on safetensors: an honest file says nothing, a lying one is broken, and its bytes are never loaded."""

import pytest

from weighbridge.core.finding import Verdict
from weighbridge.formats.safetensors import lay_out, write_header
from weighbridge.scanner import safetensors_rules
from weighbridge.scanner.file import from_bytes

GOOD = write_header(lay_out([("a", "F32", (2, 2))]), {"format": "pt"}) + bytes(16)


def verdicts(data, kind="safetensors"):
    return [
        finding.verdict for finding in safetensors_rules.examine(from_bytes("model.safetensors", data, kind))
    ]


def test_an_honest_file_says_nothing():
    assert verdicts(GOOD) == []


@pytest.mark.parametrize(
    "data", [GOOD + b"x", GOOD[:-1], GOOD.replace(b"[2,2]", b"[2,3]"), b"", b"PK\x03\x04" + GOOD]
)
def test_a_lying_file_is_broken(data):
    assert verdicts(data) == [Verdict.BROKEN]


def test_the_finding_names_the_check_and_teaches():
    (finding,) = safetensors_rules.examine(from_bytes("model.safetensors", GOOD + b"x", "safetensors"))
    assert finding.subject == "safetensors.trailing"
    assert finding.why
    assert finding.help


def test_other_kinds_are_left_alone():
    assert verdicts(b"anything", kind="pickle") == []
