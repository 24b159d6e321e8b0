"""Some hundreds of the cases of tools/differential.py, and that its net has no hole where a verifier might have one."""

import json
import logging
import random
import re
from dataclasses import replace
from pathlib import Path

import differ_cases
import differ_signed
import differ_supersets
import differ_verifiers
import pytest
from differ_bases import CHAIN, base, names, specifications, wider

from weighbridge.core.errors import VerificationFailed
from weighbridge.ledger.checkpoint import parse_checkpoint
from weighbridge.trust import certificates, inclusion, sct, timestamp
from weighbridge.trust.roots import Window

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
ROOT = Path(__file__).resolve().parents[2]
FIRST, EACH = 1_000_000, 14
"""Numbers that the long run does not come to."""


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def asked(name, number):
    return differ_verifiers.ask(differ_cases.made(name, number))


@pytest.mark.parametrize("name", names())
def test_both_accept_what_is_in_order(name):
    assert differ_verifiers.ask(base(name)).outcome == "both accept"


@pytest.mark.parametrize("name", [*wider(), CHAIN])
def test_kinds_that_only_we_accept(name):
    assert differ_verifiers.ask(base(name)).outcome == "we are looser"


@pytest.mark.parametrize("name", names())
def test_what_we_accept_they_accept_but_for_the_written_list(name):
    for number in range(FIRST, FIRST + EACH):
        said = asked(name, number)
        assert said.outcome != "traceback", (number, said)
        assert said.outcome != "we are looser" or said.rule, (number, said)


@pytest.mark.parametrize("name", wider())
def test_every_refusal_names_its_step(name):
    for number in range(FIRST, FIRST + EACH):
        step, traceback = differ_verifiers.ours(differ_cases.made(name, number))
        assert not traceback, (number, traceback)
        assert step == "" or re.fullmatch(r"[a-z]+\.[a-z-]+", step), number


def holes(bases, change):
    """The cases of one kind of change that are accepted and that sigstore refuses, beyond the written list."""
    for name in bases:
        for number in range(120):
            rng = random.Random(number)
            piece = dict(differ_signed.CHANGES)[change]
            case = differ_signed.changed(rng, specifications()[name], change, piece)
            said = differ_verifiers.ask(case)
            if said.outcome == "we are looser" and not said.rule:
                yield name, number


@pytest.mark.parametrize(
    ("module", "step", "instead", "change"),
    [
        (inclusion, "verify_inclusion", lambda *_: True, "place in the tree"),
        (inclusion, "check_body", lambda *_: None, "body"),
        (inclusion, "verify_signature", lambda *_: True, "promise"),
        (inclusion, "verify_checkpoint", lambda note, **_: parse_checkpoint(note)[0], "checkpoint"),
        (sct, "verify_scts", lambda *_: (b"",), "certificate"),
        (certificates, "_check_usage", lambda _: None, "profile"),
        (Window, "holds", lambda *_: True, "window"),
        (timestamp, "_trial", lambda *_: None, "timestamp"),
    ],
)
def test_a_verifier_without_one_of_its_steps_is_caught(monkeypatch, module, step, instead, change):
    assert not list(holes(["dsse", "hashedrekord2"], change))
    monkeypatch.setattr(module, step, instead)
    assert next(holes(["dsse", "hashedrekord2"], change), None)


def test_a_case_is_made_again_by_its_number():
    first, second = (differ_cases.made("dsse", 7) for _ in range(2))
    assert (first.field, first.done) == (second.field, second.done)
    fields = {differ_cases.made("dsse", number).field for number in range(300)}
    assert {
        "time of verification",
        "content",
        "signed anew: certificate",
        "signed anew: checkpoint",
    } <= fields
    assert len(fields) > 40


def test_something_that_is_no_refusal_is_a_fault(monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    def nameless(*_, **__):
        raise VerificationFailed("no", remedy="none")

    for one in (broken, nameless):
        monkeypatch.setattr(differ_verifiers, "prove", one)
        assert differ_verifiers.ask(base("dsse")).outcome == "traceback"


def test_no_superset_covers_a_lie():
    """Each row answers no for what is wrong however generous one is."""
    forged = specifications()["dsse"]
    for changes in ({"promised": {"seconds": 1}}, {"claims": {"root": bytes(32)}}, {"body": b"{}"}):
        case = replace(base("dsse"), bundle=replace(forged, **changes).build().to_json())
        why = differ_verifiers.ask_each(case)
        assert why
        assert differ_supersets.covering(case, why, why, differ_verifiers.ask_each) == ""


def test_the_list_in_the_documentation_is_the_list_here():
    page = (ROOT / "docs" / "reference" / "bundle.md").read_text(encoding="utf-8")
    section = page.partition("### Where we accept more, and why")[2].partition("\n## ")[0]
    written = set(re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE)) - {"where", "---"}
    assert written == {row.name for row in differ_supersets.SUBSTANCE} | set(differ_supersets.SPELLINGS) | {"kinds of entries", "kinds of keys"}  # fmt: skip


def test_the_record_is_of_a_run_without_faults():
    record = json.loads((ROOT / "benchmarks" / "results" / "differential.json").read_text(encoding="utf-8"))
    assert record["faults"] == []
    assert record["cases"] == sum(record["outcomes"].values()) >= 20_000
    assert sum(record["looser"].values()) == record["outcomes"]["we are looser"]
