"""The other words: errors, clock, envelope, tiers, lineage, decisions, evidence."""

import ast
import inspect
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core import canonical as canonical_module
from weighbridge.core import decision, envelope, errors, evidence, finding, identity, lineage, tier
from weighbridge.core.canonical import canonical
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.decision import Check, Decision, Outcome, Receipt
from weighbridge.core.digest import Digest
from weighbridge.core.evidence import Ancestry, AuthorityFact, BytesFact, ClaimFact, Evidence
from weighbridge.core.identity import Identity
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.core.tier import Mode, Origin, Role, Stage

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
MODEL, OTHER = Digest("wb1", "a" * 64), Digest("wb1", "b" * 64)
WEIGHTS = Digest("wbw1", "c" * 64)
SIGNER = Identity(Digest.of(b"key"), "gate")


# Errors -------------------------------------------------------------------------------------------

TREE = [
    cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.WeighbridgeError)
]


@pytest.mark.parametrize("cls", TREE)
def test_each_error_stands_in_the_tree_with_the_exit_code_drawn_beside_its_branch(cls):
    lines = errors.__doc__.splitlines()
    assert any(line.split("──")[-1].split()[0] == cls.__name__ for line in lines if cls.__name__ in line)
    branch = next((base for base in cls.__mro__ if errors.WeighbridgeError in base.__bases__), cls)
    drawn = next(line for line in lines if branch.__name__ in line)
    digits = [word for word in drawn.split() if word.isdigit()]
    assert digits in ([], [str(cls.exit_code)])
    assert bool(digits) == (cls is not errors.WeighbridgeError)


def test_kinds_of_errors_are_told_apart():
    assert (
        len({cls.kind for cls in TREE} - {"internal"}) == len(TREE) - 2
    )  # the root and InternalError share theirs


def test_an_error_shows_problem_check_cause_and_remedy():
    error = errors.VerificationFailed("it is wrong", cause="a bit", remedy="do this", check="bytes.match")
    assert str(error) == "it is wrong [bytes.match]\n  cause: a bit\n  help: do this"
    assert str(errors.NotFound("gone")) == "gone"
    assert error.to_json() == {
        "kind": "verification-failed",
        "check": "bytes.match",
        "problem": "it is wrong",
        "cause": "a bit",
        "remedy": "do this",
    }


# Clock --------------------------------------------------------------------------------------------


@given(
    st.datetimes(
        min_value=datetime.fromisoformat("1971-01-01"), max_value=datetime.fromisoformat("9000-01-01")
    ),
    st.integers(-14 * 60, 14 * 60),
)
def test_times_are_written_in_utc_and_read_back_to_the_second(moment, minutes):
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    text = rfc3339(aware)
    assert text.endswith("Z")
    assert len(text) == 20
    assert parse_rfc3339(text) == aware.astimezone(UTC).replace(microsecond=0)


def test_times_without_a_zone_are_refused():
    with pytest.raises(ValueError, match="zone"):
        rfc3339(datetime(2026, 1, 1))  # noqa: DTZ001 (that is the point)
    with pytest.raises(ValueError, match="zone"):
        parse_rfc3339("2026-01-01T00:00:00")
    with pytest.raises(ValueError, match="Invalid"):
        parse_rfc3339("yesterday")
    assert parse_rfc3339("2026-01-01T01:00:00+01:00") == datetime(2026, 1, 1, tzinfo=UTC)


# Envelope, tiers, lineage -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "plural"),
    [
        ("report", "reports"),
        ("decision", "decisions"),
        ("authority", "authorities"),
        ("lineage", "lineages"),
        ("entry", "entries"),
        ("identity", "identities"),
    ],
)
def test_the_envelope_is_one_object_also_for_one_item(kind, plural):
    assert envelope.envelope(kind, [{"a": 1}]) == {
        "schema": f"weighbridge.{kind}/1",
        "tool": {"name": "weighbridge", "version": envelope.VERSION},
        plural: [{"a": 1}],
    }


def test_every_stage_is_a_role():
    assert {stage.value for stage in Stage} <= {role.value for role in Role}


def test_grades_from_sure_to_said():
    assert sorted(Grade, key=lambda grade: grade.rank) == [Grade.ATTESTED, Grade.OBSERVED, Grade.DECLARED]


def test_an_edge_as_json():
    edge = Parentage(MODEL, OTHER, Relation.FINE_TUNE, Grade.ATTESTED, "sha256:x")
    assert edge.to_json() == {
        "parent": str(MODEL),
        "child": str(OTHER),
        "relation": "fine-tune",
        "grade": "attested",
        "source": "sha256:x",
    }


# Decisions ----------------------------------------------------------------------------------------


def check(outcome):
    return Check(f"id.{outcome}", outcome, "this", "that")


def decide(*outcomes, allow=False):
    return Decision(
        allow, Mode.ENFORCE, True, tuple(check(outcome) for outcome in outcomes), {"floor": "x"}, NOW
    )


@pytest.mark.parametrize(
    ("outcomes", "allow", "code"),
    [
        ([Outcome.PASS], True, 0),
        ([Outcome.FAIL], False, 1),
        ([Outcome.CANNOT_TELL], False, 3),
        ([Outcome.CANNOT_TELL, Outcome.FAIL], False, 1),
        ([Outcome.PASS, Outcome.CANNOT_TELL], False, 3),
    ],
)
def test_a_definite_refusal_wins_over_could_not_tell(outcomes, allow, code):
    made = decide(*outcomes, allow=allow)
    assert made.exit_code == code
    assert [c.outcome for c in made.refusals] == sorted(
        (o for o in outcomes if o is not Outcome.PASS), key=lambda o: o is not Outcome.FAIL
    )


def test_a_decision_as_json_has_what_is_documented():
    item = decide(Outcome.FAIL).to_json()
    assert set(item) >= {"decision", "mode", "enforced", "checks", "digests", "time"}
    assert item["decision"] == "block"
    assert item["checks"] == [
        {"id": "id.fail", "outcome": "fail", "expected": "this", "found": "that", "proof": "", "remedy": ""}
    ]
    assert item["time"] == "2026-11-22T20:10:00Z"
    assert json.loads(canonical(item)) == item
    assert Receipt(3).to_json() == {"log_index": 3, "proof": {}, "assurance": "single-operator"}


# Evidence -----------------------------------------------------------------------------------------


def claim(outcome, *about, stage=Stage.TRAIN):
    return ClaimFact(stage, outcome, tuple(about), SIGNER, Digest.of(b"bundle"))


def gathered(*claims, weights=WEIGHTS):
    return Evidence(
        manifest=MODEL,
        weights=weights,
        project="default",
        origin=Origin.OWN,
        authority=AuthorityFact(1, Digest.of(b"a"), NOW, Outcome.PASS, "", (Stage.TRAIN,)),
        bytes=BytesFact(Outcome.PASS, "equal"),
        scan=None,
        claims=tuple(claims),
        ancestry=Ancestry("broken", (MODEL,), broken_at=MODEL, reason="none"),
    )


def test_only_claims_about_this_very_model_or_its_weights_count_verified_ones_first():
    refused, verified = claim(Outcome.FAIL, MODEL), claim(Outcome.PASS, WEIGHTS)
    foreign, other_stage = claim(Outcome.PASS, OTHER), claim(Outcome.PASS, MODEL, stage=Stage.DATA)
    facts = gathered(foreign, refused, other_stage, verified)
    assert facts.about_model(Stage.TRAIN) == (verified, refused)
    assert gathered(verified, weights=None).about_model(Stage.TRAIN) == ()


def test_evidence_has_one_digest_that_everything_enters():
    base = gathered(claim(Outcome.PASS, MODEL))
    assert base.digest == gathered(claim(Outcome.PASS, MODEL)).digest
    assert base.digest != gathered(claim(Outcome.FAIL, MODEL)).digest
    assert base.digest != gathered().digest
    assert json.loads(canonical(base.to_json()))["schema"] == "weighbridge.evidence/1"


def test_an_identity_is_called_by_its_name_and_a_stranger_a_stranger():
    assert str(SIGNER).startswith("gate (sha256:")
    assert str(Identity(Digest.of(b"key"))).startswith("a stranger (")


# The room -----------------------------------------------------------------------------------------

MODULES = [canonical_module, decision, envelope, errors, evidence, finding, identity, lineage, tier]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_words_import_nothing_but_each_other_and_plain_parts_of_the_standard_library(module):
    allowed = {
        "__future__",
        "collections",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "hashlib",
        "json",
        "math",
        "re",
        "typing",
        "unicodedata",
    }
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module]
        for name in names:
            assert name.startswith("weighbridge.core") or name.split(".")[0] in allowed, name
