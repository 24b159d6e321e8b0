"""Steps are announced in full, end as announced, and fail the drill by name when a control is taken away."""

import json
from pathlib import Path

import jsonschema
import pytest

from weighbridge.cli.main import run
from weighbridge.core.decision import Check, Outcome
from weighbridge.core.tier import Mode, Role
from weighbridge.drill import MODULES, STORIES, identity, insider_rules
from weighbridge.drill.issuer import signed, trust
from weighbridge.drill.play import play_steps, steps_of, total
from weighbridge.drill.stage import make
from weighbridge.drill.steps import Ending, Seen, Step, play, refused, shown, through
from weighbridge.gate.judging import setting
from weighbridge.gate.modes import mode_of
from weighbridge.gate.policies import approve, use_policy
from weighbridge.loader.load import load
from weighbridge.policy import floor
from weighbridge.registry import approvals, tally, wiring
from weighbridge.registry.wiring import SystemClock, SystemEntropy
from weighbridge.trust.authority_file import sign_authority
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.seal import sign_statement

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "drill.md").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "docs" / "reference" / "schemas" / "drill.schema.json").read_text())
STEPS = {step.id: step for story in STORIES for step in steps_of(story)}
QUICK = (
    "opportunist.typosquat", "opportunist.template", "opportunist.swapped", "opportunist.bundle",
    "identity.workflow", "identity.late", "identity.intermediate",
    "insider.store", "insider.served", "insider.tier", "insider.decision", "insider.name-again", "insider.truncate",
    "insider.rollback-pin", "insider.rollback-kept", "insider.authority-row",
)  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drill")
    return make(folder / "base", clock=SystemClock(), entropy=SystemEntropy(), loader=load)


@pytest.fixture
def stage(base, tmp_path):
    made = base.copy(tmp_path / "stage")
    yield made
    made.close()


def test_every_story_is_told_in_full():
    assert set(MODULES) == set(STORIES)
    assert len(STEPS) >= 60
    assert len(STEPS) == sum(len(steps_of(story)) for story in STORIES), "two steps have one id"
    for story in STORIES:
        assert all(step.id.startswith(f"{story}.") for step in steps_of(story))
    for step in STEPS.values():
        assert step.tried, step.id
        assert step.had, step.id
        assert step.means, step.id
        assert bool(step.control) == (step.ends is not Ending.OPEN), step.id


@pytest.mark.parametrize("name", QUICK)
def test_a_step_ends_as_announced(stage, name):
    played = play(STEPS[name], stage)
    assert played.problem == ""
    assert played.seen.ending is STEPS[name].ends


# The drill can fail: a control is taken away, and the step that needs it is named.


def without_scan(monkeypatch):
    passes = floor.Found(floor.PASS, "nobody looked")
    rows = [
        floor.Condition(row.id, lambda *_: passes, row.invariant, row.attack)
        if row.id == "scan.verdict"
        else row
        for row in floor.FLOOR
    ]
    monkeypatch.setattr(floor, "FLOOR", tuple(rows))


def without_tally(monkeypatch):
    def believe(registry, connection):
        return tally._signed(registry, connection)

    monkeypatch.setattr(tally, "check_in", believe)


def without_pin(monkeypatch):
    monkeypatch.setattr(wiring, "check_pinned", lambda *_: None)
    monkeypatch.setattr(
        wiring, "advance", lambda pin, **seen: wiring.Pin(pin.registry, pin.roots, 1, seen["checkpoint"])
    )


def without_bytes(monkeypatch):
    from weighbridge.core.evidence import BytesFact
    from weighbridge.gate import evidence

    monkeypatch.setattr(evidence, "weigh", lambda *_: BytesFact(Outcome.PASS, "nobody looked"))


WEAKER = {
    "insider.waiver": without_scan,
    "insider.decision": without_tally,
    "insider.mode-row": without_tally,
    "insider.rollback": without_pin,
    "insider.authority-row": without_pin,
    "insider.store": without_bytes,
}


@pytest.mark.parametrize("name", WEAKER)
def test_a_control_that_is_taken_away_fails_the_drill_and_names_the_step(
    base, tmp_path, monkeypatch, capsys, name
):
    monkeypatch.setattr("weighbridge.drill.play.steps_of", lambda _: (STEPS[name],))
    monkeypatch.setattr("weighbridge.drill.stage.make", lambda *_, **__: base)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert run(["drill", "insider"]) == 0, capsys.readouterr()
    WEAKER[name](monkeypatch)
    capsys.readouterr()
    assert run(["drill", "insider", "--format", "json"]) == 1
    said = capsys.readouterr()
    assert f"not as announced: {name}: " in said.err
    document = json.loads(said.out)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    (story,) = document["drills"]
    assert (story["tried"], story["failed"]) == (1, 1)
    assert story["steps"][0]["as_announced"] is False
    assert not (tmp_path / "home").exists()


def step(ends=Ending.STOPPED, control="a.b", act=lambda _: through("it happened")):
    return Step("story.step", "tries", "something", ends, control, "means", act)


class Nowhere:
    folder = Path("/nowhere")


def broken(_):
    raise ZeroDivisionError("oh")


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (step(), "nothing stopped it: it happened"),
        (step(Ending.SHOWN), "nothing showed it: it happened"),
        (step(Ending.OPEN, ""), ""),
        (
            step(act=lambda _: Seen(Ending.STOPPED, (("c.d", "no"),))),
            "announced as stopped by a.b, and stopped by c.d: no",
        ),
        (step(act=lambda _: shown(("a.b", "look"))), "announced as stopped by a.b, and shown by a.b: look"),
        (step(act=lambda _: shown()), "nothing stopped it: nobody was told"),
        (
            step(Ending.OPEN, "", lambda _: Seen(Ending.STOPPED, (("c.d", "no"),))),
            "announced as open, and stopped by c.d: no",
        ),
        (step(act=lambda _: Seen(Ending.STOPPED, (("c.d", "no"), ("a.b", "never")))), ""),
        (step(act=broken), "it broke: ZeroDivisionError: oh"),
        (step(act=lambda _: refused(lambda: 1, "it happened")), "nothing stopped it: it happened"),
    ],
)
def test_what_happened_is_held_against_what_was_announced(made, problem):
    assert play(made, Nowhere()).problem == problem


# What is refused above is refused for what is wrong with it: the same, rightly done, passes.


def test_the_honest_workflow_is_believed(stage):
    ci, folder = trust(stage, timestamps=1), identity.target(stage)
    stage.hand_in_proven(signed(stage, identity.training(stage, folder), ci))
    assert stage.promote(folder).decision.allow


def test_the_honest_change_of_mode_counts(stage):
    owner = stage.secret("owner")
    stage.push(sign_statement(insider_rules.mode_change(stage), owner), owner.public_pem)
    assert mode_of(stage.registry) is Mode.OBSERVE


def test_the_honest_authority_counts(stage):
    before, root = stage.registry.authority, stage.secret("root")
    stage.push(
        Envelope.decode(sign_authority(before.without_roles("train", [Role.TRAIN]), root)), root.public_pem
    )
    stage.close()
    assert stage.registry.authority.version == before.version + 1


def test_two_people_change_the_policy(stage):
    second = insider_rules._two(stage, "policy")
    before = setting(stage.registry, "policy")
    use_policy(stage.registry, insider_rules._laxer(stage), stage.secret("owner"))
    (waiting,) = approvals.pending(stage.registry)
    approve(stage.registry, waiting.bundle, second)
    assert setting(stage.registry, "policy") != before


def test_the_registry_in_use_is_in_order(stage):
    from weighbridge.registry import fsck

    assert fsck.log(stage.registry) == []
    stage.load(stage.laid_out(stage.brought("second")))
    assert stage.admit(stage.brought("second")).decision.allow


# The page, and what is left behind.


def test_the_page_shows_every_step_and_no_other():
    import re

    transcript = PAGE.partition("```text\n")[2].partition("```")[0]
    shown_ids = re.findall(r"^  [✓!○] ([a-z-]+): ", transcript, re.MULTILINE)
    assert shown_ids == [one.id.partition(".")[2] for one in STEPS.values()]
    flat = " ".join(transcript.split())
    for one in STEPS.values():
        assert " ".join(one.tried.split()) in flat, one.id
        assert " ".join(one.means.split()) in flat, one.id
    counts = [
        sum(one.ends is ending for one in STEPS.values())
        for ending in (Ending.STOPPED, Ending.SHOWN, Ending.OPEN)
    ]
    assert (
        f"{len(STEPS)} tried, {counts[0]} stopped, {counts[1]} only shown, {counts[2]} open by design"
        in transcript
    )


def test_what_is_kept_is_what_the_steps_left(base, tmp_path):
    chosen = [STEPS["insider.tier"], STEPS["insider.served"]]
    for keep in (True, False):
        folder = tmp_path / str(keep)
        played = list(play_steps(chosen, base, folder, keep=keep))
        assert str(total(played)) == "2 tried, 2 stopped, 0 only shown, 0 open by design"
        assert (folder / "insider.tier" / "registry" / "registry.db").exists() is keep


def test_a_folder_that_holds_something_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine").write_text("precious")
    assert run(["drill", "opportunist", "--keep", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_check_has_words_of_its_own():
    """What `blocked` reads out of a decision is its checks, and the check that refused the evidence inside of one."""
    from weighbridge.drill.steps import GATHERED, blocked

    class Decided:
        allow = False
        refusals = (Check(GATHERED, Outcome.CANNOT_TELL, "x", "it was exchanged [records.bundle]: y"),)

    assert blocked(Decided()).controls == (GATHERED, "records.bundle")
