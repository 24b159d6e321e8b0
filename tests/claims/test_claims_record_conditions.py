"""What the gate writes down is read by conditions; each is asked for by what could be slipped past a reader without it."""

from datetime import UTC, datetime

import pytest

from weighbridge.claims import words
from weighbridge.claims.predicates import kind_of, read_claim, stage_of
from weighbridge.claims.records import event, read_event
from weighbridge.claims.results import decided, properties_of, unwrapped
from weighbridge.claims.settings import is_namespace
from weighbridge.claims.summary import build_vsa, read_vsa
from weighbridge.core.advisory import Advisory, AdvisorySeverity
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import Distrust, Distrusted
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.lineage import AdvisoryKind
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.core.statement import Statement, Subject, subject_of
from weighbridge.core.tier import Tier

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON, LATER = "2026-11-22T12:00:00Z", "2026-11-23T12:00:00Z"
SHA, OTHER = Digest.of(b"one"), Digest.of(b"other")
MODEL, WEIGHTS = Digest("wb1", "a" * 64), Digest("wbw1", "b" * 64)
ALIAS = Digest("alias", Digest.of(b"a name").hex)


def said(kind, body, *subjects):
    """Make a record by hand, as somebody does who does not use `event`."""
    row = {"schema": f"weighbridge.{kind}/1", "project": "default", "actor": "x", "at": NOON, "body": body}
    return Statement(subjects, words.record_type(kind), row)


def told(statement):
    """Return why a record is refused."""
    with pytest.raises(VerificationFailed) as caught:
        read_event(statement)
    assert caught.value.check == "record.form"
    return caught.value.cause


def nameless(digest):
    return Subject("", (("sha256", digest.hex),))


# What a record may be about.


REVOCATION = {"reason": "poisoned", "since": NOON}


def alias(**changes):
    return Subject(str(ALIAS), tuple(({"sha256": ALIAS.hex} | changes).items()))


def test_a_model_known_by_name_only_can_be_withdrawn_and_nothing_else():
    assert read_event(said("revocation", REVOCATION, alias())).about == (ALIAS,)
    made = event("revocation", [ALIAS], REVOCATION, project="default", actor="x", at=NOW)
    assert made.subjects == (alias(),)
    assert "is not an identity" in told(said("name", {"name": "search"}, alias()))
    assert "is not an identity" in told(said("decision", {}, subject_of(MODEL), alias()))


def test_a_name_that_carries_another_digest_is_seen():
    for changes in ({"sha256": "0" * 64}, {"sha512": "0" * 128}):
        assert "does not carry its own SHA-256" in told(said("revocation", REVOCATION, alias(**changes)))


def test_other_subjects_are_no_identities():
    """A revocation of a path would look like one of a model and withdraw nothing."""
    for subject in (Subject("./model", (("sha256", SHA.hex),)), Subject(str(MODEL), (("sha256", SHA.hex),))):
        assert "is not an identity" in told(said("revocation", REVOCATION, subject_of(MODEL), subject))


def test_what_names_no_model_is_no_record_of_one():
    assert told(said("revocation", REVOCATION, nameless(SHA))) == "it names no model, weights or dataset"
    assert told(said("name", {"name": "x"})) == "it names no model, weights or dataset"


# Advisories, distrusts and what takes them back.


ADVISORY = Advisory(AdvisoryKind.WEIGHTS, (MODEL,), "poisoned", AdvisorySeverity.HIGH, NOON, "default")
DISTRUST = Distrust(Distrusted.SCANS, "a blind scanner", NOON, "default", before=NOON)


def lift(identity, *subjects):
    return said("lift", {"id": identity, "reason": "a false alarm", "since": NOON}, *subjects)


def test_an_advisory_is_about_its_targets():
    body = {"id": ADVISORY.id, **ADVISORY.body()}
    assert read_event(said("advisory", body, subject_of(MODEL))).about == (MODEL,)
    other = subject_of(Digest("wb1", "c" * 64))
    for subjects in ((other,), (subject_of(MODEL), other)):
        assert told(said("advisory", body, *subjects)) == "its subjects are not the targets that it names"


def test_a_distrust_is_about_the_digest_of_what_it_says():
    body = {"id": DISTRUST.id, **DISTRUST.body()}
    assert read_event(said("distrust", body, nameless(DISTRUST.digest))).about == ()
    for subjects in ((nameless(SHA),), (nameless(DISTRUST.digest), nameless(SHA)), ()):
        assert told(said("distrust", body, *subjects)) == "its subject is not the digest of what it says"


def test_a_lift_means_one_advisory_or_one_distrust():
    assert read_event(lift(ADVISORY.id, subject_of(MODEL))).about == (MODEL,)
    assert read_event(lift(DISTRUST.id, nameless(DISTRUST.digest))).about == ()


@pytest.mark.parametrize(
    ("identity", "subjects"),
    [
        (ADVISORY.id, (nameless(SHA),)),
        (DISTRUST.id, (nameless(SHA),)),
        (DISTRUST.id, (nameless(DISTRUST.digest), nameless(SHA))),
        (f"dis-{MODEL.hex[:16]}", (subject_of(MODEL),)),
        (DISTRUST.digest.hex[:16], (nameless(DISTRUST.digest),)),
        ("dis-", (nameless(DISTRUST.digest),)),
        ("whatever", (subject_of(MODEL),)),
    ],
)
def test_a_lift_of_nothing_is_none(identity, subjects):
    """It would be logged as if something had been taken back."""
    assert told(lift(identity, *subjects)) == "it lifts nothing that could be an advisory or a distrust"


# Exceptions, and where a model stands.


@pytest.mark.parametrize("kind", ["waiver", "break-glass"])
def test_an_exception_is_for_one_model(kind):
    body = {"rule": "r", "fingerprint": "f", "reason": "so", "expires": LATER}
    assert read_event(said(kind, body, subject_of(MODEL))).about == (MODEL,)
    for subjects in ((WEIGHTS,), (MODEL, WEIGHTS), (MODEL, Digest("wb1", "c" * 64))):
        cause = told(said(kind, body, *map(subject_of, subjects)))
        assert cause == f"a {kind} is for exactly one model (wb1:)"


def test_a_standing_is_one_of_two_for_one_model():
    body = {"status": "active", "reason": "so", "decision": str(SHA)}
    for status in ("active", "quarantined"):
        assert (
            read_event(said("standing", body | {"status": status}, subject_of(MODEL))).body["status"]
            == status
        )
    wrong = "it gives exactly one model (wb1:) one of active, quarantined"
    assert told(said("standing", body | {"status": "revoked"}, subject_of(MODEL))) == wrong
    assert told(said("standing", body, subject_of(WEIGHTS))) == wrong
    assert told(said("standing", body, subject_of(MODEL), subject_of(WEIGHTS))) == wrong


@pytest.mark.parametrize("name", ["since", "expires"])
def test_times_are_times_and_other_words_are_not(name):
    kind = "revocation" if name == "since" else "break-glass"
    body = {"reason": "tomorrow", "since": NOON, "expires": LATER}
    assert read_event(said(kind, body, subject_of(MODEL))).body["reason"] == "tomorrow"
    assert "tomorrow" in told(said(kind, body | {name: "tomorrow"}, subject_of(MODEL)))


# Settings.


POLICY = {"digest": str(SHA), "previous": str(OTHER), "blob": str(OTHER), "commit": "c" * 40}
MODE = {"mode": "warn", "previous": "", "namespace": "search", "reason": "so"}
APPROVAL = {"bundle": str(SHA), "kind": "policy"}
SETTINGS = {"policy": POLICY, "mode": MODE, "approval": APPROVAL}


def setting(what, **changes):
    return event(what, (), SETTINGS[what] | changes, project="*", actor="x", at=NOW)


def wrong(what, **changes):
    with pytest.raises(VerificationFailed) as caught:
        setting(what, **changes)
    return caught.value.cause


def test_a_setting_is_about_what_its_body_speaks_of():
    """A policy signed under the digest of another would pin what nobody read."""
    for kind, body in SETTINGS.items():
        statement = setting(kind)
        assert read_event(statement).about == ()
        assert statement.subjects[0].name == kind
        for subjects in ((), (nameless(OTHER),), (*statement.subjects, subject_of(MODEL))):
            assert told(said(kind, body, *subjects)) == "its subject is not what its body speaks of"
    assert [dict(setting(kind).subjects[0].digests)["sha256"] for kind in ("policy", "approval")] == [
        SHA.hex
    ] * 2
    assert setting("mode").subjects != setting("mode", mode="off").subjects


@pytest.mark.parametrize("name", ["digest", "previous", "blob"])
def test_a_policy_is_named_by_sha256(name):
    assert wrong("policy", **{name: str(MODEL)}) == f"{name} is not a SHA-256"


def test_what_a_policy_came_from_may_be_left_open():
    for name in ("previous", "blob", "commit"):
        assert read_event(setting("policy", **{name: ""})) is not None
    assert read_event(setting("policy", commit="c" * 64)) is not None
    for commit in ("main", "c" * 39, "C" * 40):
        assert wrong("policy", commit=commit) == "commit is not a git commit"


def test_a_mode_is_one_there_is_for_a_namespace_that_can_be():
    assert "strict" in wrong("mode", mode="strict")
    assert wrong("mode", previous=3) == "previous is no string, or an empty one"
    assert wrong("mode", namespace="a/b") == "namespace is no name of a namespace"
    assert read_event(setting("mode", namespace="")).body["namespace"] == ""
    found = {name: is_namespace(name) for name in ("a", "a.b-c_d", "a" * 63, "a" * 64, "", "-a", "a-", "a b")}
    assert found == dict.fromkeys(found, False) | dict.fromkeys(("a", "a.b-c_d", "a" * 63), True)


def test_an_approval_names_a_bundle_and_a_kind_that_can_wait():
    assert wrong("approval", bundle=str(MODEL)) == "bundle is not a SHA-256"
    for kind in ("approval", "rumour"):
        assert wrong("approval", kind=kind) == "it approves nothing that could be proposed"


# Decisions as others read them.


CHECKS = [
    {"id": "bytes.match", "outcome": "pass"},
    {"id": "scan.rules", "outcome": "fail"},
    {"id": "policy.licence", "outcome": "pass"},
]
DECISION = {"decision": "allow", "enforced": True, "action": "promote", "checks": CHECKS}


def decision(**changes):
    return event("decision", [MODEL], DECISION | changes, project="default", actor="x", at=NOW)


def test_a_decision_has_the_properties_that_it_found_and_no_more():
    found = ["WEIGHBRIDGE_CHECK_BYTES_MATCH"]
    assert properties_of(DECISION) == ["WEIGHBRIDGE_ALLOWED_PROMOTE", *found]
    for changes in ({"decision": "block"}, {"enforced": False}, {"enforced": "yes"}):
        assert properties_of(DECISION | changes) == found


def test_a_decision_names_its_policy_where_there_is_one():
    with_one = decided(decision(digests={"policy": str(SHA)}), "example").predicate["verifier"]
    assert with_one["policies"] == [{"uri": "weighbridge:policy/default", "digest": {"sha256": SHA.hex}}]
    assert decided(decision(digests={"policy": ""}), "example").predicate["verifier"]["policies"] == []


def test_a_decision_and_the_result_around_it_cannot_contradict():
    """Somebody who reads only the result would believe an allow where the decision blocks."""
    bare = decision()
    whole = decided(bare, "example")
    assert read_event(whole) == read_event(bare)
    assert (kind_of(whole), stage_of(whole), read_claim(whole)) == ("decision", None, None)
    for changes in ({"properties": ["WEIGHBRIDGE_ALLOWED_ADMIT"]}, {"more": "x"}, {"timeCreated": LATER}):
        changed = Statement(whole.subjects, whole.predicate_type, {**whole.predicate, **changes})
        assert told(changed) == "the verification result around it says something else"


def test_only_a_verification_result_carries_a_decision():
    bare = said("name", {"name": "search"}, subject_of(MODEL))
    beside = Statement(bare.subjects, bare.predicate_type, {**bare.predicate, words.DECIDED: {"schema": "x"}})
    assert read_event(beside) == read_event(bare)
    assert kind_of(beside) == "name"
    alone = Statement((subject_of(MODEL),), words.SVR, {"verifier": {"id": "v"}})
    assert unwrapped(alone) is alone
    assert (kind_of(alone), read_event(alone)) == (None, None)


# Summaries.


WHOLE = Manifest.of([FileEntry("m.safetensors", 3, SHA), FileEntry("c.json", 2, OTHER)])


def vsa(**changes):
    parts = {"project": "default", "policy_digest": SHA, "decision_digest": OTHER, "now": NOW}
    return build_vsa(
        "example", Tier.TRUSTED, WHOLE, **parts, expires=datetime(2026, 11, 29, tzinfo=UTC), **changes
    )


def test_a_summary_names_the_exceptions_that_it_rests_on():
    assert read_vsa(vsa()).exceptions == ()
    assert "exceptions" not in vsa().predicate[words.ADMISSION]
    statement = vsa(exceptions=[SHA, OTHER])
    assert read_vsa(Statement.decode(statement.encode())).exceptions == (SHA, OTHER)
    statement = Statement.decode(statement.encode())
    statement.predicate[words.ADMISSION]["exceptions"] = [str(MODEL)]
    with pytest.raises(VerificationFailed) as caught:
        read_vsa(statement)
    assert caught.value.cause == "an exception is named by the SHA-256 of its bundle"
