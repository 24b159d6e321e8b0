"""The fault matrix: each part the gate depends on, failing in each way, while each thing is asked of it.

Nothing that would have been blocked is ever allowed, nothing that was said is ever lost, and a command that cannot do its
work says which part failed.
"""

import re
from pathlib import Path

import pytest
from faulty_house import BLOCKED, template
from gate_faults import FAULTS

pytestmark = pytest.mark.full

SOUND = {
    "promote": ("promote", "ready", "--format", "json"),
    "admit": ("admit", "approved", "--target", "prod/again", "--format", "json"),
    "revoke": ("revoke", "spare", "--reason", "poisoned", "--format", "json"),
}
ASKED = {f"promote {name}": ("promote", name, "--format", "json") for name in BLOCKED} | SOUND
CASES = [(fault, asked) for fault in FAULTS for asked in ASKED]


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return template(tmp_path_factory.mktemp("house") / "template")


def test_every_part_fails_in_every_way():
    parts = {fault.part for fault in FAULTS}
    assert parts == {
        "engine", "opa", "log", "database", "blob store", "clock", "disk", "policy", "authority", "trusted root", "alert sink",
    }  # fmt: skip
    for part in parts:
        ways = {fault.failure for fault in FAULTS if fault.part == part}
        assert {"absent"} <= ways, part
        assert len(ways) >= 4, (part, ways)
    assert len(CASES) >= 150


def test_the_page_lists_every_failure():
    page = (Path(__file__).resolve().parents[2] / "docs/reference/faults.md").read_text(encoding="utf-8")
    told = {
        (cells[0], failure)
        for cells in re.findall(r"^\| ([a-z ]+) \| ([a-z0-9 ,]+) \|", page, re.MULTILINE)
        for failure in cells[1].split(", ")
    }
    assert told - {("part", "failures")} == {(fault.part, fault.failure) for fault in FAULTS}


def wrong(fault, asked, said):
    """Say what is wrong with what a command came to while something was broken; empty when nothing is."""
    if asked not in SOUND:
        return "" if said.code in (1, 3) else "it was not blocked"
    if asked not in fault.stops:
        return "" if said.code == 0 else "it was stopped for nothing"
    if said.code not in ((1, 3) if fault.code is None else (fault.code,)):
        return "it should have been stopped, with another code"
    return "" if re.search(fault.words, said.text) else "it does not say which part failed"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_failing_part_never_opens_the_gate(made, tmp_path, fault):
    house = made.copy(tmp_path / "house")
    house.call("promote", "unproven", "--format", "json")  # something that was said before anything failed
    before, came = house.trusted(), {}
    with fault.break_(house):
        for asked, words in ASKED.items():
            came[asked] = house.call(*words)
            assert not house.laid_out() & set(BLOCKED)
    problems = [
        f"{asked}: {problem}: {said.code}, {said.text}"
        for asked, said in came.items()
        if (problem := wrong(fault, asked, said))
    ]
    assert not problems, "\n\n".join(problems)
    house.admits_nothing_blocked()
    gained = {"ready"} if came["promote"].code == 0 else set()
    assert house.trusted() <= before | gained
    for asked, words in ASKED.items():
        again = house.call(*words)
        assert again.code == (0 if asked in SOUND else 1), (asked, again.text)
    house.holds_what_it_said()
