"""Vetting: the canned set is what it says, a policy is refused for what it admits or refuses, and strictness is no mistake."""

import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest
from canned import BAD, GOOD

from weighbridge.core.decision import ACTIONS, Outcome
from weighbridge.core.errors import BadSetting, CannotTell, Unreachable
from weighbridge.policy.canned import CLASSES, bad, canned, good
from weighbridge.policy.contract import Heard, no_answer
from weighbridge.policy.engines.guard import Guard
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.form import errors
from weighbridge.policy.settings import load_bundle, read_settings, starter
from weighbridge.policy.shape import evidence
from weighbridge.policy.vetting import barred, refuse, vet

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/reference/schemas/evidence.schema.json").read_text(encoding="utf-8"))
HEAD = "package weighbridge.own\n\ndefault allow := false\n\n"
DENY = 'deny contains {"rule": "r", "msg": "m"} if '


@pytest.fixture(scope="module")
def engine():
    with RegorusEngine() as made:
        yield made


def own(text, **files):
    return load_bundle({"own.rego": (HEAD + text).encode(), **files})


def told(engine, bundle, severity="error"):
    return [str(remark) for remark in vet(bundle, engine).remarks if remark.severity == severity]


# ---------------------------------------------------------------- the set


def test_the_set_is_as_it_would_be_made_now():
    spec = importlib.util.spec_from_file_location("policy_data", ROOT / "tools/policy_data.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.main(["--check"]) == 0, "run python tools/policy_data.py"


def test_there_are_enough_questions_of_every_class():
    well, badly = canned()
    assert (len(well), len(badly)) == (len(GOOD), len(BAD))
    assert len(well) >= 12
    assert len(badly) >= 30
    assert {row.package for row in well} == {row.package for row in badly} == set(CLASSES)


@pytest.mark.parametrize("row", [row for kind in canned() for row in kind], ids=lambda row: row.name)
def test_each_question_is_about_evidence_as_the_gate_makes_it(row):
    jsonschema.Draft202012Validator(SCHEMA).validate(row.question["evidence"])
    assert row.question["evidence"]["origin"].replace("-", "_") == row.package


def test_the_floor_has_nothing_against_the_good_ones_of_a_class_that_may_be_promoted():
    for row in canned()[0]:
        refused = [check["id"] for check in row.question["floor"] if check["outcome"] != "pass"]
        assert not refused or row.package == "legacy", row.name


def test_the_bad_ones_are_all_refused_by_the_floor_or_the_starter(engine):
    bundle = load_bundle(starter())
    for row in canned()[1]:
        by_floor = any(check["outcome"] != "pass" for check in row.question["floor"])
        answer = engine.evaluate(bundle.modules, bundle.data, row.question, f"data.weighbridge.{row.package}")
        assert by_floor or answer.outcome is Outcome.FAIL, row.name


STRICT = """
[scan]
max_age_days = 1
notes_allowed = false
formats = ["gguf"]
[licences]
allow = ["mit"]
[own]
builders = ["https://builder.example.test"]
minimum = {f1 = 0.99}
[third_party]
publishers = ["Acme"]
commit_required = true
max_valid_days = 10
[legacy]
until = "2026-12-31T00:00:00Z"
[waivers]
allowed = false
[log]
assurance = "public"
[require.own]
slsa_level = 3
ruleset = 7
bom = {"g7-2026" = 100, "house-rules" = 50}
scan_verdict = "clean"
max_claim_days = 1
max_depth = 4
evaluated = true
no_waivers = true
[require.third_party]
revision_pinned = true
dependencies_hashed = true
as_announced = true
assurance = "witnessed"
"""


@pytest.mark.parametrize("settings", ["", STRICT], ids=["default", "strict"])
def test_strict_settings_are_no_mistake(engine, settings):
    files = starter()
    bundle = load_bundle({**files, "policy.toml": settings.encode() or files["policy.toml"]})
    vetted = refuse(bundle, engine)
    promoted = {row.name for row in canned()[0] if row.package != "legacy"}
    assert promoted <= set(vetted.good)
    assert told(engine, bundle, "warning") == []


def test_a_question_is_fitted_without_changing_the_set():
    before = json.dumps([dict(row.question) for row in canned()[0]], sort_keys=True)
    for package in CLASSES:
        good(package, read_settings(STRICT))
    assert json.dumps([dict(row.question) for row in canned()[0]], sort_keys=True) == before


# ---------------------------------------------------------------- what refuses a policy


def test_one_that_allows_everything_is_refused(engine):
    looks = own(
        'allow if input.evidence.scan\n\nallow if input.evidence.schema == "weighbridge.evidence/1"\n\ndeny := []'
    )
    assert [line for line in told(engine, looks) if "allows an own model without scan or claims" in line]


def test_one_that_allows_all_that_is_bad_is_refused_by_the_gate_too(engine):
    """It denies where there is nothing, and looks at nothing that stands there."""
    text = "allow if count(deny) == 0\n\n" + DENY + "not count(input.floor) > 3"
    bundle = own(text)
    assert [line for line in told(engine, bundle) if "allows all of" in line]
    answer = engine.answer(bundle, "own", good("own", {})[0].question)
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "would let anything pass" in answer.problem


def test_one_that_allows_nothing_is_refused_at_use_and_says_what_is_closest(engine):
    bundle = own("allow if count(deny) == 0\n\n" + DENY + 'not input.evidence.project == "elsewhere"')
    with pytest.raises(BadSetting, match="none of the 7 models in which nothing is wrong") as caught:
        refuse(bundle, engine)
    assert "denied by r" in caught.value.cause


def test_one_that_denies_one_bad_thing_may_be_used_and_is_warned(engine):
    bundle = own(
        "allow if count(deny) == 0\n\n" + DENY + 'not input.evidence.scan.verdict in {"clean", "notes"}'
    )
    vetted = refuse(bundle, engine)
    assert set(vetted.good) == {row.name for row in good("own", {})}
    assert [remark for remark in vetted.remarks if "weights in a pickle" in remark.text]


def test_a_changed_copy_of_the_library_is_told(engine):
    files = starter()
    changed = load_bundle({**files, "predicates.rego": files["predicates.rego"] + b"\n# mine\n"})
    assert [
        line
        for line in told(engine, changed, "warning")
        if line.startswith("predicates.rego: this is not the file")
    ]


def test_a_second_file_cannot_widen_the_library(engine):
    widened = b"package weighbridge.predicates\n\nscan_complete := true\n"
    bundle = load_bundle({**starter(), "zzz.rego": widened})
    assert [line for line in told(engine, bundle) if "each widens the other" in line]


def test_the_rules_of_tests_are_not_held_against_evidence(engine):
    test = b"package weighbridge.own_test\n\ntest_x if input.whatever with input as {}\n"
    bundle = load_bundle({**starter(), "mine_test.rego": test})
    assert not errors(vet(bundle, engine).remarks)


def test_the_shape_of_evidence_knows_every_member():
    assert set(evidence()["members"]) == set(SCHEMA["properties"])


# ---------------------------------------------------------------- the gate's part


def test_the_gate_asks_few_questions_of_a_policy_that_is_closed():
    asked = []

    def ask(package, question):
        asked.append(question)
        return no_answer("no")

    assert barred("own", ask) == ""
    assert len(asked) <= 6


class Dumb:
    """An engine elsewhere, which cannot show how it reads."""

    digest = "dumb/1"

    def __init__(self, *, well=True):
        self.well, self.heard = well, 0

    def hear(self, modules, data, question, query):
        self.heard += 1
        return Heard(no_answer("no"), well=self.well)


class Seeing(Dumb):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def look(self, modules):
        raise self.error


def test_an_engine_that_cannot_be_reached_is_asked_again():
    bundle, question = (
        own("allow if count(deny) == 0\n\n" + DENY + "not input.evidence"),
        bad("own")[0].question,
    )
    guard, away = Guard(), Seeing(Unreachable("away"))
    assert guard.ask(away, bundle, "own", question).problem == "away"
    assert (
        "is not sound"
        in guard.ask(Seeing(CannotTell("own.rego:3:1: what is this")), bundle, "own", question).problem
    )
    assert Guard().ask(Dumb(), bundle, "own", question).problem == "no"


def test_an_engine_that_is_not_well_is_put_one_question():
    bundle, question = load_bundle(starter()), bad("own")[0].question
    engine = Dumb(well=False)
    guard = Guard()
    for turn in (1, 2):
        assert guard.ask(engine, bundle, "own", question).problem == "no"
        assert engine.heard == turn


class Counting(RegorusEngine):
    """Writes down which files it was asked to read, and counts what it was asked."""

    def __init__(self, looked):
        super().__init__(timeout_s=60)  # what is counted here does not hang on how busy the machine is
        self.looked, self.heard = looked, 0

    def look(self, modules):
        self.looked.extend(modules)
        return super().look(modules)

    def hear(self, *asked):
        self.heard += 1
        return super().hear(*asked)


class Another(Counting):
    """Might read in another way."""


def test_what_a_policy_allows_is_asked_of_each_engine_and_its_rules_are_read_once():
    sound, text = load_bundle(starter()), starter()["own.rego"]
    unsound = load_bundle({**starter(), "own.rego": text + b"\nwarn contains input.evidense.scan\n"})
    files, question, asked = [*sound.modules, *unsound.modules], bad("own")[0].question, set()
    for kind, read in ((Counting, files), (Counting, []), (Another, files)):
        with kind([]) as engine:
            assert not engine.answer(sound, "own", question).problem
            for _ in range(2):
                assert "is not sound" in engine.answer(unsound, "own", question).problem
        assert engine.looked == read
        asked.add(engine.heard)
    assert len(asked) == 1
    assert asked.pop() > 2 * 2


# ---------------------------------------------------------------- words for what the engine says


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("allow {\n\tinput.x\n}", "own.rego:5: `if` keyword is required"),
        ("allow if {", "own.rego:"),
        (
            "allow if count(deny) == 0\n\n" + DENY + "not time.parse_rfc3339_ns(input.evidence.project)",
            "predicates.moment",
        ),
        ("allow if count(deny) == 0\n\n" + DENY + "nobody(input)", "is nobody misspelt?"),
    ],
)
def test_what_the_engine_says_comes_with_a_place_and_a_remedy(engine, text, words):
    assert [line for line in told(engine, own(text)) if words in line], told(engine, own(text))


# ---------------------------------------------------------------- what the gate is asked


@pytest.mark.parametrize("action", ACTIONS)
def test_a_policy_may_ask_for_every_action_that_there_is(engine, action):
    files = starter()
    text = (
        files["own.rego"].decode()
        + f'\nwarn contains {{"rule": "r", "msg": "m"}} if input.action == "{action}"\n'
    )
    assert told(engine, load_bundle({**files, "own.rego": text.encode()})) == []


def test_what_may_be_promoted_and_would_then_not_stay_is_a_warning(engine):
    files = starter()
    text = (
        files["own.rego"].decode()
        + '\ndeny contains {"rule": "new", "msg": "m"} if not input.action == "promote"\n'
    )
    vetted = refuse(load_bundle({**files, "own.rego": text.encode()}), engine)
    found = [remark.text for remark in vetted.remarks if remark.severity == "warning"]
    assert [text.split(": ")[0] for text in found] == [
        f"what it lets be promoted it refuses when asked to {action}" for action in ("admit", "reevaluate")
    ]
    assert all("denied by new" in text for text in found)
