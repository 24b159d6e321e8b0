"""What an advisory names and says, and what it refuses to be."""

import pytest

from weighbridge.core.advisory import (
    Advisory,
    AdvisorySeverity,
    distinct,
    is_id,
    node_of,
    parse_target,
    read_advisory,
)
from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.canonical import canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference
from weighbridge.core.lineage import CARRIES, AdvisoryKind

HEX = "ab" * 32
MODEL = Digest("wb1", HEX)


def advisory(**changes):
    row = {
        "kind": AdvisoryKind.WEIGHTS,
        "targets": (MODEL, Alias(Scheme.NAME, "org/base")),
        "reason": "poisoned",
        "severity": AdvisorySeverity.HIGH,
        "since": "2026-11-22T20:10:00Z",
        "project": "default",
    } | changes
    row["targets"] = distinct(row["targets"])
    return Advisory(**row)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (f"wb1:{HEX}", MODEL),
        (f"wbw1:{HEX}", Digest("wbw1", HEX)),
        (f"file-sha256:{HEX}", Alias(Scheme.FILE_SHA256, HEX)),
        (f"sha256:{HEX}", Alias(Scheme.FILE_SHA256, HEX)),
        (f" file-sha256:{HEX.upper()}\n", Alias(Scheme.FILE_SHA256, HEX)),
        ("name:org/model", Alias(Scheme.NAME, "org/model")),
        (f"tensor-set:{HEX}", Alias(Scheme.TENSOR_SET, HEX)),
    ],
)
def test_targets(text, target):
    assert parse_target(text) == target
    assert parse_target(str(target)) == target
    assert node_of(target) == (target if isinstance(target, Digest) else target.node)


@pytest.mark.parametrize(
    "text",
    ["", "base", "wb1:", "wb1:12", f"wb1:{HEX.upper()}", "file-sha256:12", f"file-sha256:{HEX}00",
     f"file-sha256:{'g' * 64}", "name:", "name:a\nb", f"name:{'x' * 300}", "npm:left-pad", "alias:" + HEX, "name:a\u202eb"],
)  # fmt: skip
def test_what_could_match_nothing_is_no_target(text):
    with pytest.raises(BadReference) as caught:
        parse_target(text)
    assert caught.value.remedy


def test_targets_stand_once_each_and_in_order():
    assert distinct([MODEL, Alias(Scheme.NAME, "a"), MODEL]) == (Alias(Scheme.NAME, "a"), MODEL)
    with pytest.raises(BadReference):
        distinct([])
    with pytest.raises(BadReference):
        distinct(Alias(Scheme.NAME, str(number)) for number in range(1001))


def test_the_id_is_a_digest_of_all_it_says():
    said = advisory()
    assert is_id(said.id)
    changes = [
        {"reason": "other"}, {"kind": AdvisoryKind.CODE}, {"severity": AdvisorySeverity.LOW}, {"project": "p"},
        {"since": "2026-11-22T20:10:01Z"}, {"targets": (MODEL,)},
    ]  # fmt: skip
    assert len({said.id, *(advisory(**change).id for change in changes)}) == 7
    assert advisory(bundle="sha256:x", lifted="2026-11-22T20:10:00Z").id == said.id


def read(**changes):
    said = advisory()
    body = {"id": said.id, **said.body()} | changes
    return read_advisory(parse(canonical(body)), "default")


def test_what_was_written_is_read():
    assert read() == advisory()
    assert read().relations == CARRIES[AdvisoryKind.WEIGHTS]
    assert read().stands


@pytest.mark.parametrize(
    "changes",
    [{"id": "adv-0000000000000000"}, {"reason": ""}, {"reason": " "}, {"reason": "x" * 4001}, {"reason": 3},
     {"kind": "weather"}, {"severity": "awful"}, {"since": "yesterday"}, {"since": None}, {"targets": []},
     {"targets": "name:a"}, {"targets": [3]}, {"targets": ["name:org/base", f"wb1:{HEX}", f"wb1:{HEX}"]},
     {"targets": [f"wb1:{HEX}", "name:org/base"]}, {"targets": [f"sha256:{HEX}"]}, {"targets": ["nonsense"]}],
)  # fmt: skip
def test_anything_else_is_refused(changes):
    with pytest.raises((ValueError, TypeError, KeyError, BadReference)):
        read(**changes)


def test_another_project_has_other_ids():
    said = advisory()
    with pytest.raises(ValueError, match="its id"):
        read_advisory({"id": said.id, **said.body()}, "elsewhere")
