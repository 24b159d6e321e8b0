"""How evidence is put together, each condition on its own: everything around it is played, so that it is quick."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from weighbridge.core.decision import Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Unreadable, VerificationFailed
from weighbridge.core.evidence import Ancestry, BytesFact, ClaimFact, Proven, Revocation
from weighbridge.core.finding import Coverage, Report, Ruleset
from weighbridge.core.identity import Identity
from weighbridge.core.lineage import Grade, Relation
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.core.tier import Origin, Role, Stage
from weighbridge.gate import evidence as ev
from weighbridge.store import schema

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SHA = Digest.of(b"x")
MANIFEST = Manifest.of([FileEntry("config.json", 2, SHA), FileEntry("model.safetensors", 8, SHA)])
PLAIN = Manifest.of([FileEntry("config.json", 2, SHA)])
BASE, BASE_WEIGHTS = Digest("wb1", "b" * 64), Digest("wbw1", "b" * 64)
KEY = Digest.of(b"the gate's key")
WHO = Identity(KEY, "gate")


def proven(signer=WHO):
    return Proven(signer, SHA, "type", 1, NOW, None)


def fact(stage, about, outcome=Outcome.PASS, parents=(), bundle=SHA, **detail):
    return ClaimFact(stage, outcome, tuple(about), WHO, bundle, parents=tuple(parents), detail=detail)


class Records:
    """The one table that is asked, in memory."""

    def __init__(self):
        self.engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
        schema.revocation.create(self.engine)
        schema.setting.create(self.engine)

    @contextmanager
    def read(self):
        with self.engine.begin() as connection:
            yield connection


def house(**changes):
    """What stands for a registry: an authority under which the gate may scan, and a clock that stands still."""
    authority = SimpleNamespace(
        version=3,
        digest=SHA,
        issued=NOW - timedelta(days=1),
        expires=NOW + timedelta(days=1),
        demonstration=False,
        checkpoint_age=None,
        trusted=SimpleNamespace(witnesses=()),
        identity_for=lambda key: WHO if key == KEY else None,
        may=lambda name, role, project: (name, role, project) == ("gate", Role.SCAN, "default"),
        required=lambda project, origin: (
            (Stage.TRAIN,) if (project, origin) == ("default", Origin.OWN) else ()
        ),
    )
    for name, value in changes.pop("authority", {}).items():
        setattr(authority, name, value)
    parts = {
        "project": "default",
        "authority": authority,
        "clock": SimpleNamespace(now=lambda: NOW),
        "gate_key": SimpleNamespace(key_id=KEY),
        "log": "the log",
        "records": Records(),
    }
    return SimpleNamespace(**(parts | changes))


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Nothing is distrusted and nothing withdrawn by name, unless a test says so."""
    monkeypatch.setattr(ev.distrusts, "standing", lambda registry: [])
    monkeypatch.setattr(ev.withdrawn, "named", lambda connection, project: [])
    monkeypatch.setattr(ev.bundles, "about", lambda registry, identities: [])
    monkeypatch.setattr(ev.dropping, "every", lambda registry: {})


# ------------------------------------------------------------ bytes


class Blobs:
    def __init__(self, answer, place=None):
        self.answer = answer
        self.place = place

    def placed(self, digest):
        return self.place

    def verify(self, digest):
        assert digest == SHA
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "outcome", "found"),
    [
        (True, Outcome.PASS, "2 files, 10 bytes, read again just now"),
        (False, Outcome.FAIL, f"'config.json' no longer has its digest {SHA.short}"),
        (NotFound("gone"), Outcome.FAIL, f"'config.json' ({SHA.short}) is no longer kept"),
        (Unreadable("a bad sector"), Outcome.CANNOT_TELL, "'config.json' cannot be read: a bad sector"),
    ],
)
def test_every_kept_byte_is_read_again(answer, outcome, found):
    weighed = ev.weigh(SimpleNamespace(blobs=Blobs(answer)), MANIFEST)
    assert (weighed.outcome, weighed.found) == (outcome, found)


@pytest.mark.parametrize(("version", "loose"), [("v7", False), ("", True)])
def test_bytes_that_lie_elsewhere_are_said_to(version, loose):
    found = ev.weigh(SimpleNamespace(blobs=Blobs(True, SimpleNamespace(version=version))), MANIFEST).found
    assert "2 of them lie in place" in found
    assert ("may change at any time" in found) is loose


# ------------------------------------------------------------ authority, log, class


@pytest.mark.parametrize(
    ("issued", "expires", "outcome"),
    [
        (NOW, NOW + timedelta(seconds=1), Outcome.PASS),
        (NOW + timedelta(seconds=1), NOW + timedelta(days=1), Outcome.FAIL),
        (NOW - timedelta(days=1), NOW, Outcome.FAIL),
    ],
)
def test_an_authority_is_current_from_its_issue_to_its_end(issued, expires, outcome):
    made = ev._authority(house(authority={"issued": issued, "expires": expires}), Origin.OWN)
    assert made.outcome is outcome
    assert made.found == f"version 3, {'current' if outcome is Outcome.PASS else 'expired or not yet valid'}"
    assert made.required == (Stage.TRAIN,)


@pytest.mark.parametrize(("age", "said"), [(60, False), (61, True), (None, True)])
def test_a_log_that_its_witnesses_saw_too_long_ago_is_a_problem(monkeypatch, age, said):
    seen = SimpleNamespace(seen=NOW, age=lambda now: timedelta(seconds=age)) if age is not None else None
    monkeypatch.setattr(ev, "fresh", lambda log, authority: seen)
    found = ev._stale(house(authority={"checkpoint_age": 60}))
    assert bool(found) is said
    if said:
        assert ("never" in found[0]) is (age is None)


def test_where_no_age_is_asked_for_nobody_looks(monkeypatch):
    monkeypatch.setattr(ev, "fresh", lambda log, authority: pytest.fail("nobody asked"))
    assert ev._stale(house()) == ()


def ancestry(*relations, **changes):
    return Ancestry(
        "origin", (BASE,), tuple((BASE, MANIFEST.digest, relation) for relation in relations), **changes
    )


@pytest.mark.parametrize("origin", list(Origin))
@pytest.mark.parametrize(
    ("relations", "trained"),
    [
        ((), False),
        ((Relation.PACKAGING.value, Relation.CONVERSION.value), False),
        ((Relation.PACKAGING.value, Relation.FINE_TUNE.value), True),
        ((Relation.QUANTIZATION.value,), True),
    ],
)
def test_what_somebody_here_trained_is_our_own(origin, relations, trained):
    made = ev._origin(SimpleNamespace(origin=origin), ancestry(*relations))
    assert made is (Origin.OWN if trained and origin is Origin.THIRD_PARTY else origin)


def test_only_relations_that_are_known_prove_a_link():
    [edge] = ev._proven(ancestry(Relation.MERGE.value, "rumour"))
    assert (edge.parent, edge.relation, edge.grade) == (BASE, Relation.MERGE, Grade.ATTESTED)


def test_an_evaluation_counts_where_it_speaks_of_this_model():
    walked = ancestry(equal=(BASE_WEIGHTS,))
    assert ev._counts(fact(Stage.TRAIN, [BASE]), walked)
    assert ev._counts(fact(Stage.EVALUATE, [BASE_WEIGHTS]), walked)
    assert not ev._counts(fact(Stage.EVALUATE, [BASE]), walked)


def test_contradictions_are_those_of_the_weights(monkeypatch):
    row = SimpleNamespace(to_json=lambda: {"message": "so"})
    monkeypatch.setattr(
        ev, "contradictions", lambda connection, weights: [row] * (weights == MANIFEST.weights)
    )
    assert ev._contradicted(house(), MANIFEST) == ({"message": "so"},)
    assert PLAIN.weights is None
    monkeypatch.setattr(ev, "contradictions", lambda connection, weights: pytest.fail("there are no weights"))
    assert ev._contradicted(house(), PLAIN) == ()


# ------------------------------------------------------------ revocations


def revoked(registry, target, project="default", reason="poisoned"):
    row = {"schema_version": 1, "project": project, "actor": "x", "created_at": "2026-11-20T00:00:00Z"}
    row |= {"target": str(target), "reason": reason, "since": "2026-11-20T00:00:00Z", "bundle": str(SHA)}
    with registry.records.read() as connection:
        connection.execute(sa.insert(schema.revocation).values(row))


def test_revocations_are_those_of_these_identities_in_this_project():
    registry = house()
    revoked(registry, BASE)
    revoked(registry, BASE_WEIGHTS, project="another")
    revoked(registry, Digest("wb1", "c" * 64))
    found = ev.revocations(registry, [BASE, BASE_WEIGHTS, MANIFEST.digest])
    assert [(row.target, row.reason) for row in found] == [(BASE, "poisoned")]


def test_a_kept_revocation_counts_though_its_row_is_gone(monkeypatch):
    registry, other = house(), Digest("wb1", "c" * 64)
    said = [Revocation(target, "by the bundle", NOW, SHA) for target in (BASE, BASE_WEIGHTS, other)]
    monkeypatch.setattr(ev.bundles, "about", lambda registry, identities: ["a bundle"])
    monkeypatch.setattr(ev, "_revocations_in", lambda registry, bundle: said)
    revoked(registry, BASE, reason="by the row")
    found = ev.revocations(registry, [BASE, BASE_WEIGHTS])
    assert [(row.target, row.reason) for row in found] == [
        (BASE, "by the row"),
        (BASE_WEIGHTS, "by the bundle"),
    ]


def test_a_revocation_by_name_reaches_what_the_name_stands_for(monkeypatch):
    said = SimpleNamespace(
        alias="hf://lab/base", since="2026-11-20T00:00:00Z", reason="by name", bundle=str(SHA)
    )
    other = Digest("wb1", "c" * 64)
    monkeypatch.setattr(ev.withdrawn, "named", lambda connection, project: [said])
    monkeypatch.setattr(ev.withdrawn, "known", lambda connection, names: [BASE, other])
    assert [(row.target, row.reason) for row in ev.revocations(house(), [BASE])] == [(BASE, "by name")]


class Said:
    """A bundle of a record."""

    def __init__(self, kind="revocation"):
        self.kind, self.digest = kind, SHA
        self.envelope = SimpleNamespace(payload=self)


@pytest.fixture
def records(monkeypatch):
    """Bundles are read as the records that they are said to be; everything verifies, unless a test says otherwise."""
    body = {"since": "2026-11-20T00:00:00Z", "reason": "so"}
    monkeypatch.setattr(ev, "Statement", SimpleNamespace(decode=lambda said: said))
    monkeypatch.setattr(ev, "kind_of", lambda said: said.kind)
    monkeypatch.setattr(
        ev, "read_event", lambda said: SimpleNamespace(kind=said.kind, body=body, about=(BASE,))
    )
    monkeypatch.setattr(
        ev, "_verify", lambda registry, bundle, role: proven() if role is Role.REVOKE else None
    )
    return body


def test_a_revocation_is_read_from_its_bundle(records):
    [found] = ev._revocations_in(house(), Said())
    assert (found.target, found.reason, found.bundle) == (BASE, "so", SHA)


def test_another_record_is_no_revocation(records, monkeypatch):
    for event in (None, SimpleNamespace(kind="deployment", body=records, about=(BASE,))):
        monkeypatch.setattr(ev, "read_event", lambda said, event=event: event)
        assert ev._revocations_in(house(), Said()) == []


def test_another_record_is_not_even_read(records, monkeypatch):
    monkeypatch.setattr(ev, "read_event", lambda said: pytest.fail("it was read"))
    assert ev._revocations_in(house(), Said("deployment")) == []


def test_a_revocation_by_a_stranger_is_none(records, monkeypatch):
    def refuse(registry, bundle, role):
        raise VerificationFailed("a stranger")

    monkeypatch.setattr(ev, "_verify", refuse)
    assert ev._revocations_in(house(), Said()) == []


def test_a_distrusted_signer_counts_only_for_what_withdraws(monkeypatch):
    asked = []

    def verify(bundle, **named):
        asked.append((bundle, named["role"], named["project"], named["now"]))
        return SimpleNamespace(proven=proven())

    def refuse(standing, found):
        assert standing == ["all"]
        raise VerificationFailed("distrusted")

    monkeypatch.setattr(ev, "verify_bundle", verify)
    monkeypatch.setattr(ev, "check_signer", refuse)
    monkeypatch.setattr(ev.distrusts, "standing", lambda registry: ["all"])
    assert ev._verify(house(), "a bundle", Role.REVOKE) == proven()
    with pytest.raises(VerificationFailed):
        ev._verify(house(), "a bundle", Role.WAIVE)
    assert asked == [("a bundle", role, "default", NOW) for role in (Role.REVOKE, Role.WAIVE)]


def test_what_witnesses_say_is_shown_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(ev, "witnessed", lambda bundle, log: (bundle, log))
    assert ev._shown(house(), "bundle") == "bundle"
    asked = house(authority={"trusted": SimpleNamespace(witnesses=("one",))})
    assert ev._shown(asked, "bundle") == ("bundle", "the log")


# ------------------------------------------------------------ the walk through the claims


class Claim:
    """A bundle of a claim; `fact` is what it makes, None for what is none."""

    def __init__(self, name, made):
        self.digest, self.made = Digest.of(name.encode()), made


def walked(monkeypatch, kept, manifest=MANIFEST):
    """Gather over claims kept by identity; returns the facts, the walk, and what was asked for."""
    asked = []

    def about(registry, identities):
        asked.append(list(identities))
        return [claim for identity in identities for claim in kept.get(identity, ())]

    monkeypatch.setattr(ev.bundles, "about", about)
    facts = ev._Facts(house(), manifest)
    facts.read = []

    def made(bundle):
        facts.read.append(bundle)
        return bundle.made

    facts._fact = made
    return facts.gather(), facts, asked


def test_claims_are_followed_upwards_and_each_is_read_once(monkeypatch):
    train = Claim("train", fact(Stage.TRAIN, [MANIFEST.weights], parents=[BASE_WEIGHTS]))
    origin = Claim("origin", fact(Stage.ORIGIN, [BASE, BASE_WEIGHTS]))
    nothing = Claim("nothing", None)
    kept = {MANIFEST.weights: [train, train, nothing], BASE_WEIGHTS: [origin, train], BASE: [origin]}
    found, facts, asked = walked(monkeypatch, kept)
    assert found == (train.made, origin.made)
    assert facts.read == [train, nothing, origin]
    assert asked == [sorted([MANIFEST.digest, MANIFEST.weights]), [BASE_WEIGHTS], [BASE]]


@pytest.mark.parametrize(
    "made",
    [
        fact(Stage.TRAIN, [MANIFEST.weights], Outcome.FAIL, parents=[BASE]),
        fact(Stage.TRAIN, [MANIFEST.weights], Outcome.CANNOT_TELL, parents=[BASE]),
        fact(Stage.EVALUATE, [MANIFEST.weights, BASE], parents=[BASE]),
    ],
)
def test_nobody_is_followed_whose_claim_did_not_verify_nor_an_evaluation(monkeypatch, made):
    found, _, asked = walked(monkeypatch, {MANIFEST.weights: [Claim("one", made)]})
    assert (found, len(asked)) == ((made,), 1)


def test_a_model_without_weights_begins_with_itself_alone(monkeypatch):
    assert walked(monkeypatch, {}, PLAIN)[2] == [[PLAIN.digest]]


@pytest.mark.parametrize("most", [2, 3])
def test_more_ancestors_than_are_looked_at_are_a_problem(monkeypatch, most):
    monkeypatch.setattr(ev, "MAX_IDENTITIES", most)
    train = Claim("train", fact(Stage.TRAIN, [MANIFEST.weights], parents=[BASE]))
    _, facts, asked = walked(monkeypatch, {MANIFEST.weights: [train]})
    assert facts.problems == ([] if most == 3 else ["more than 2 ancestors: out of budget"])
    assert len(asked) == most - 1


@pytest.fixture
def bundles_read(monkeypatch):
    """Each bundle is its own statement: stage, role and identities as given; a claim of a stage makes that word."""
    monkeypatch.setattr(ev, "Statement", SimpleNamespace(decode=lambda payload: payload))
    monkeypatch.setattr(ev, "stage_of", lambda said: said.stage)
    monkeypatch.setattr(ev, "role_of", lambda said: said.role)

    def made(bundle, **named):
        assert named["shown"](bundle) is bundle
        assert (named["project"], named["now"], named["manifest"]) == ("default", NOW, MANIFEST)
        return f"the {bundle.envelope.payload.stage.value} claim"

    monkeypatch.setattr(ev, "fact_of", made)


def of(stage, role, *identities):
    said = SimpleNamespace(stage=stage, role=role, identities=identities)
    return SimpleNamespace(envelope=SimpleNamespace(payload=said))


def test_every_bundle_is_looked_at_as_an_exception_and_claims_become_facts(bundles_read):
    facts = ev._Facts(house(), MANIFEST)
    noted = []
    facts.excuses = SimpleNamespace(note=lambda bundle, statement: noted.append(bundle))
    train, waiver = of(Stage.TRAIN, Role.TRAIN, BASE), of(None, Role.WAIVE, MANIFEST.digest)
    odd = of(Stage.TRAIN, None, BASE)
    assert facts._fact(train) == "the train claim"
    assert facts._fact(waiver) is None
    assert facts._fact(odd) is None
    assert noted == [train, waiver, odd]


@pytest.mark.parametrize("stage", [Stage.BOM, Stage.SCAN, Stage.ADMIT])
def test_what_describes_a_model_is_gathered_for_the_model_alone(bundles_read, stage):
    facts = ev._Facts(house(), MANIFEST)
    facts.excuses = SimpleNamespace(note=lambda bundle, statement: None)
    assert facts._fact(of(stage, Role.BOM, BASE)) is None
    assert facts._fact(of(stage, Role.BOM, BASE, MANIFEST.weights)) == f"the {stage.value} claim"
    assert facts._fact(of(Stage.TRAIN, Role.TRAIN, BASE)) == "the train claim"


# ------------------------------------------------------------ the gate's own scan

REPORT = Report("m", MANIFEST.digest, (), Coverage(10, 10, 2, 2), Ruleset("1", SHA))


@pytest.fixture
def submitted(monkeypatch):
    """What was signed and logged."""
    found = []
    monkeypatch.setattr(ev, "scan_claim", lambda manifest, report: "scan")
    monkeypatch.setattr(ev, "sign", lambda statement, key: statement)
    monkeypatch.setattr(ev, "submit", lambda registry, draft: found.append(draft))
    return found


def scanned(registry=None, claims=(), *, keep=True):
    return ev._scanned(registry or house(), MANIFEST, tuple(claims), REPORT, keep=keep)


def test_a_scan_is_logged_once_for_each_ruleset(submitted):
    mine = {"ruleset": str(SHA)}
    for claims, logged in [
        ([], 1),
        ([fact(Stage.SCAN, [MANIFEST.digest], **mine)], 0),
        ([fact(Stage.SCAN, [MANIFEST.digest], ruleset="another")], 1),
        ([fact(Stage.SCAN, [MANIFEST.digest], Outcome.FAIL, **mine)], 1),
        ([fact(Stage.BOM, [MANIFEST.digest], **mine)], 1),
    ]:
        submitted.clear()
        scanned(claims=claims)
        assert len(submitted) == logged, claims
    submitted.clear()
    scanned(keep=False)
    assert submitted == []


def test_the_scan_is_the_gates_own_only_while_its_key_may_scan(submitted, monkeypatch):
    made = scanned()
    assert (made.by_gate, made.scanner) == (True, WHO)
    assert (made.complete, made.scanned_at, made.manifest) == (True, NOW, MANIFEST.digest)
    unnamed = scanned(house(authority={"identity_for": lambda key: None}))
    assert (unnamed.by_gate, unnamed.scanner.name) == (False, "")
    assert not scanned(house(authority={"may": lambda *words: False})).by_gate
    monkeypatch.setattr(ev.distrusts, "standing", lambda registry: [SimpleNamespace(key=str(SHA))])
    monkeypatch.setattr(ev, "check_scan", lambda standing, ruleset, now: None)
    assert scanned().by_gate
    monkeypatch.setattr(ev.distrusts, "standing", lambda registry: [SimpleNamespace(key=str(KEY))])
    assert not scanned().by_gate


def test_a_scan_under_distrusted_rules_says_so_and_is_not_logged(submitted, monkeypatch):
    def refuse(standing, ruleset, now):
        assert (ruleset, now) == (str(SHA), NOW)
        raise VerificationFailed("rules are distrusted", cause="they miss a payload")

    assert scanned().distrusted == ""
    submitted.clear()
    monkeypatch.setattr(ev, "check_scan", refuse)
    assert scanned().distrusted == "rules are distrusted (they miss a payload)"
    assert submitted == []


# ------------------------------------------------------------ all of it


@pytest.fixture
def gathered(monkeypatch):
    """Gather with every part played; `state` says what the parts answer."""
    state = SimpleNamespace(
        bytes=BytesFact(Outcome.PASS, "same"), versions=["v", "v"], claims=(), walk=ancestry(), asked=None,
        checked=0, manifest=MANIFEST, reached=None,
    )  # fmt: skip

    def check(registry):
        state.checked += 1

    def look(registry, identities):
        state.asked = set(identities)
        return ()

    def reach(registry, own, links):
        state.reached = own
        return ()

    played = SimpleNamespace(
        gather=lambda: state.claims, problems=["a problem"], own={MANIFEST.digest},
        excuses=SimpleNamespace(waivers=["w"], break_glass=["g"]),
    )  # fmt: skip
    answers = iter(())
    parts = {
        "weigh": lambda registry, manifest: state.bytes,
        "_Facts": lambda registry, manifest: played,
        "scan_kept": lambda registry, model: REPORT,
        "walk": lambda digest, weights, claims: state.walk,
        "revocations": look,
        "licences_of": lambda registry, model: SimpleNamespace(fact=None),
        "_contradicted": lambda registry, manifest: (),
        "_stale": lambda registry: ("stale",),
        "bom_of": lambda registry, manifest, claims: None,
        "build_of_model": lambda registry, manifest, claims: None,
        "reaching": reach,
        "_scanned": lambda registry, manifest, claims, report, keep: (report, keep),
    }
    for name, part in parts.items():
        monkeypatch.setattr(ev, name, part)
    monkeypatch.setattr(ev.tally, "check_subjects", check)

    def gather(**options):
        nonlocal answers
        answers = iter(state.versions)
        monkeypatch.setattr(ev.models, "versions", lambda registry, files: next(answers))
        model = SimpleNamespace(manifest=state.manifest, origin=Origin.OWN)
        return ev.gather(house(), model, **options)

    return gather, state


def test_evidence_is_put_together_from_its_parts(gathered):
    gather, state = gathered
    made = gather()
    assert (made.bytes, made.scan) == (state.bytes, (REPORT, True))
    assert (made.waivers, made.break_glass) == (("w",), ("g",))
    assert made.problems == ("a problem", "stale")
    assert state.checked == 1
    assert state.asked == {MANIFEST.digest, MANIFEST.weights, BASE}
    assert state.reached == [MANIFEST.digest]
    assert gather(keep_scan=False).scan == (REPORT, False)


def test_bytes_that_changed_are_not_scanned(gathered):
    gather, state = gathered
    for outcome in (Outcome.FAIL, Outcome.CANNOT_TELL):
        state.bytes = BytesFact(outcome, "changed")
        assert (gather().bytes, gather().scan) == (state.bytes, None)


def test_a_file_that_changes_while_it_is_read_fails_and_is_not_scanned(gathered):
    gather, state = gathered
    state.versions = ["before", "after"]
    made = gather()
    assert (made.bytes.outcome, made.scan) == (Outcome.FAIL, None)
    assert made.bytes.found == "a kept file was changed while it was being read"


def test_claims_that_do_not_count_are_left_out_of_the_evidence(gathered):
    gather, state = gathered
    state.claims = (fact(Stage.TRAIN, [BASE]), fact(Stage.EVALUATE, [BASE]))
    assert gather().claims == state.claims[:1]


def test_a_model_without_weights_is_looked_up_alone(gathered):
    gather, state = gathered
    state.manifest = PLAIN
    assert gather().weights is None
    assert state.asked == {PLAIN.digest, BASE}


def test_what_is_told_of_a_model_is_gathered_from_its_claims(gathered):
    _, state = gathered
    state.claims = ("one",)
    assert ev.told(house(), MANIFEST) == ("one",)
