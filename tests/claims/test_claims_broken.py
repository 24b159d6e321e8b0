"""Three hundred ways to break a complete claim graph, and for each the link that is named and the check that names it.

Each variant is one thing done to the graph of `claims_world`, signed and logged anew. The same test sees that the
graph without it is proven, so that no variant can fail for another reason.
"""

from dataclasses import replace
from functools import cache
from itertools import combinations

import claims_world as world
import pytest
from claims_world import ANOTHER, MERGE, MODEL, MODELS, NOW, TEAMS, TUNE, Ledger, Signed, about, dataset

from weighbridge.claims import predicates as p
from weighbridge.claims import words
from weighbridge.core.decision import Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.statement import Statement, Subject, subject_of
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.dsse import sign

# Where the walk breaks when a claim does not hold, in the order in which it looks.
LINK = {
    "convert model": MODEL.digest,
    "train merged": MODELS["merged"].digest,
    "package merged": MODELS["merged"].digest,
    "train left": about("left"),
    "convert base": about("base"),
    "origin received": MODELS["received"].digest,
    "data pairs": dataset("pairs"),
    "data raw": dataset("raw"),
    "train right": about("right"),
    "data tickets": dataset("tickets"),
}
BESIDE = ("evaluate merged", "package model")
"""Claims that no ancestry rests on: what breaks with them is the claim itself."""
EVERY = world.graph()
TRAINED = [name for name in LINK if name.startswith("train")]
CONVERTED = [name for name in LINK if name.startswith("convert")]


def resigned(name, statement):
    """Say something else in a claim's place, signed by whoever may."""
    return Signed(statement, EVERY[name][1])


def changed(name, change):
    """Change a copy of a claim's predicate and have it signed by whoever may."""
    statement = EVERY[name][0]
    row = Statement.decode(statement.encode())
    change(row.predicate)
    return resigned(name, row)


def about_others(name, subjects):
    statement = EVERY[name][0]
    return resigned(name, Statement(subjects, statement.predicate_type, statement.predicate))


# Faults of who signed and what the log proves; each is done to every claim.


def unlogged(bundle):
    return replace(bundle, entries=())


def entry(**changes):
    return lambda bundle: replace(bundle, entries=(replace(bundle.entries[0], **changes),))


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def with_path(bundle):
    first, *rest = bundle.entries[0].hashes
    return entry(hashes=(flipped(first), *rest))(bundle)


def with_promise(bundle):
    return entry(promise=flipped(bundle.entries[0].promise))(bundle)


def earlier(bundle):
    return entry(integrated_time=bundle.entries[0].integrated_time - 1)(bundle)


def twice(bundle):
    return replace(bundle, entries=bundle.entries * 2)


def hinted(team):
    """Claim to be signed by the team's key, which it is not."""
    return lambda bundle: replace(bundle, key=world.key(team).key_id)


def recoded(bundle):
    """The same claim under another payload type, signed over that."""
    team = next(name for name in TEAMS if world.key(name).key_id == bundle.key)
    return replace(bundle, content=sign("application/json", bundle.envelope.payload, world.key(team)))


def retold(bundle):
    """Other words in the payload, under the signature over the first ones."""
    said = Statement.decode(bundle.envelope.payload)
    more = replace(said, predicate={**said.predicate, "more": 1})
    return replace(bundle, content=replace(bundle.envelope, payload=more.encode()))


def generic(name):
    """Yield what can be wrong with any claim: an id, the claim, the check."""
    statement, team = EVERY[name]
    yield "missing", None, "chain.missing"
    yield "signed by a stranger", Signed(statement, "stranger"), "identity.known"
    for other in TEAMS:
        if other != team:
            yield f"signed by {other}", Signed(statement, other), "identity.role"
    yield "signed by a retired one", Signed(statement, f"retired-{team}"), "identity.time"
    yield "signed by another project's", Signed(statement, f"other-{team}"), "identity.role"
    yield (
        "signed before its signer was named",
        Signed(statement, team, world.LONG_AGO.replace(year=2020)),
        "identity.time",
    )
    yield "signed in the future", Signed(statement, team, NOW.replace(year=2027)), "time.future"
    yield (
        "a stranger's signature, the team's key",
        Signed(statement, "stranger", after=hinted(team)),
        "bundle.signature",
    )
    yield "changed after signing", Signed(statement, team, after=retold), "bundle.signature"
    yield "of another payload type", Signed(statement, team, after=recoded), "bundle.payload-type"
    yield "not logged", Signed(statement, team, after=unlogged), "evidence.logs"
    yield (
        "logged in a log nobody knows",
        Signed(statement, team, after=entry(log_id=Digest.of(b"x"))),
        "log.known",
    )
    yield "logged under another place", Signed(statement, team, after=entry(index=1)), "log.timestamp"
    yield "logged at another time", Signed(statement, team, after=earlier), "log.timestamp"
    yield "a promise of nobody", Signed(statement, team, after=with_promise), "log.timestamp"
    yield "a path to another root", Signed(statement, team, after=with_path), "log.inclusion"
    yield "a proof shown twice", Signed(statement, team, after=twice), "bundle.duplicate"
    subjects = (*statement.subjects, Subject(str(ANOTHER.digest), (("sha256", "0" * 64),)))
    yield "a subject with another SHA-256", about_others(name, subjects), "claim.form"


# Faults of what is said, by whoever may say it.

REPLAYED = {
    "data": (world.data("elsewhere"), "data-team"),
    "origin": (world.accept(ANOTHER), "review-team"),
    "convert": (world.convert(ANOTHER, MODELS["received"]), "convert-team"),
    "train": (world.train(ANOTHER.weights, "fine-tune", p.Parent(about("base"), TUNE)), "train-team"),
    "package": (world.package(ANOTHER), "package-team"),
}


def other_words(name):
    """Say of this claim's model what was said of another one, under that one's signature."""
    kind = name.split()[0]
    statement, team = REPLAYED[kind]
    mine = EVERY[name][0]
    swap = Statement(mine.subjects, statement.predicate_type, statement.predicate)
    return Signed(
        statement, team, after=lambda b: replace(b, content=replace(b.envelope, payload=swap.encode()))
    )


def definition(row):
    return row["buildDefinition"]


def dependencies(row):
    return definition(row)["resolvedDependencies"]


def renamed(method):
    return lambda row: definition(row).update(buildType=words.build_type(method))


def forged_parent(row):
    dependencies(row)[0]["digest"] = {"sha256": "0" * 64}


def said(name):
    """Yield what can be wrong with the content of one claim: an id, the claim, the broken link, the check."""
    kind, here = name.split()[0], LINK[name]
    yield "replayed from another model", Signed(*REPLAYED[kind]), here, "chain.missing"
    yield "another model's, told of this one", other_words(name), here, "bundle.signature"
    if name in TRAINED:
        yield from trained(name, here)
    if name in CONVERTED:
        yield from converted(name, here)
    if kind == "origin":
        for member in (
            "publisher",
            "commit",
            "matches_announced",
            "licence",
            "reviewer",
            "reason",
            "expires",
        ):
            yield (
                f"accepted without {member}",
                changed(name, lambda row, member=member: row.pop(member)),
                here,
                "claim.form",
            )
        yield (
            "the manifest of another",
            changed(name, lambda row: row.update(manifest=MODEL_JSON)),
            here,
            "claim.form",
        )
    if kind == "data":
        yield "without a source", changed(name, lambda row: row.pop("source")), here, "claim.form"
        yield "made of a model", changed(name, lambda row: row.update(parents=A_BASE)), here, "claim.form"
        yield (
            "made of what nobody claims",
            resigned(name, of_nobody(name)),
            dataset("nobody"),
            "chain.missing",
        )
        if name == "data raw":
            yield (
                "made of what is made of it",
                resigned(name, world.data("raw", "pairs")),
                None,
                "chain.cycle",
            )
    if kind == "package":
        yield "other files", about_others(name, EVERY[name][0].subjects[:-1]), here, "claim.form"
        yield (
            "the list of another",
            about_others(name, world.package(ANOTHER).subjects),
            here,
            "chain.missing",
        )
        yield (
            "the weights of another",
            about_others(
                name,
                (
                    subject_of(MODELS["merged"].digest),
                    subject_of(ANOTHER.weights),
                    *EVERY[name][0].subjects[2:],
                ),
            ),
            here,
            "claim.form",
        )


MODEL_JSON = {"files": [row.to_json() for row in ANOTHER.files], "schema": "weighbridge.manifest/1"}
A_BASE = [
    {
        "digest": {"sha256": about("base").hex},
        "annotations": {words.IDENTITY_NOTE: str(about("base")), words.RELATION_NOTE: "fine-tune"},
    }
]


def of_nobody(name):
    return world.data(name.split()[1], "nobody")


def trained(name, here):
    statement = EVERY[name][0]
    method = definition(statement.predicate)["buildType"].split("/")[-2]
    rows = dependencies(statement.predicate)
    for other in words.METHODS:
        if other != method:
            # What is no training needs another role, which is asked first.
            check = "claim.form" if other in words.TRAINING else "identity.role"
            yield f"said to be of type {other}", changed(name, renamed(other)), here, check
    stranger = words.build_type("train").replace("/v1", "/v2")
    yield (
        "of a build type nobody knows",
        changed(name, lambda row: definition(row).update(buildType=stranger)),
        here,
        "chain.missing",
    )
    for at in range(len(rows)):
        relation = rows[at]["annotations"][words.RELATION_NOTE]
        if relation != "dataset":
            yield (
                f"parent {at} omitted",
                changed(name, lambda row, a=at: dependencies(row).pop(a)),
                here,
                "claim.form",
            )
            yield (
                f"parent {at} called a dataset",
                changed(
                    name,
                    lambda row, a=at: dependencies(row)[a]["annotations"].update(
                        {words.RELATION_NOTE: "dataset"}
                    ),
                ),
                here,
                "claim.form",
            )
        yield (
            f"parent {at} with two digests",
            changed(name, lambda row, a=at: dependencies(row)[a].update(digest={"sha256": "0" * 64})),
            here,
            "claim.form",
        )
        wrong = Digest("wb1" if relation == "dataset" else "wbw1", Digest.of(b"nobody's").hex)
        yield (
            f"parent {at} with the digest of nobody's",
            changed(name, lambda row, a=at, w=wrong: repoint(dependencies(row)[a], w)),
            wrong,
            "chain.missing",
        )
        yield (
            f"parent {at} forged as an alias",
            changed(
                name,
                lambda row, a=at: dependencies(row)[a]["annotations"].update(
                    {words.IDENTITY_NOTE: f"alias:{'0' * 64}"}
                ),
            ),
            here,
            "claim.form",
        )
    yield "no parent at all", changed(name, lambda row: dependencies(row).clear()), here, "claim.form"
    yield "no builder", changed(name, lambda row: row["runDetails"].pop("builder")), here, "claim.form"
    child = parent_row(about("merged"), method)
    back = (here, "claim.form") if name == "train merged" else (None, "chain.cycle")
    yield "its own child's parent", changed(name, lambda row: dependencies(row).append(child)), *back


def repoint(row, digest):
    row["digest"] = {"sha256": digest.hex}
    row["annotations"][words.IDENTITY_NOTE] = str(digest)


def parent_row(digest, relation):
    row = {"annotations": {words.RELATION_NOTE: relation}}
    repoint(row, digest)
    return row


def converted(name, here):
    output = {"convert model": MODEL, "convert base": MODELS["base"]}[name]
    source = {"convert model": MODELS["merged"], "convert base": MODELS["received"]}[name]
    yield (
        "not proven",
        resigned(name, world.convert(output, source, "unproven")),
        here,
        "chain.unproven-conversion",
    )
    yield (
        "proven by other tensors",
        changed(name, lambda row: row.update(output_root="bb")),
        here,
        "claim.form",
    )
    yield "from nowhere", resigned(name, world.convert(output, ANOTHER)), ANOTHER.digest, "chain.missing"
    yield "to another's files", changed(name, lambda row: row.update(manifest=MODEL_JSON)), here, "claim.form"
    yield "from weights", changed(name, lambda row: row.update(source=str(about("left")))), here, "claim.form"
    yield "from itself", changed(name, lambda row: row.update(source=str(output.digest))), here, "claim.form"
    if name == "convert base":
        yield (
            "from its own descendant",
            resigned(name, world.convert(output, MODELS["merged"])),
            None,
            "chain.cycle",
        )


# Two claims at once.


def pairs():
    """Yield pairs of claims that exchanged their signers, or the proofs that the log gave them."""
    for one, two in combinations(LINK, 2):
        first = one if list(LINK).index(one) < list(LINK).index(two) else two
        if EVERY[one][1] != EVERY[two][1]:
            yield (
                f"{one} and {two} signed by each other's teams",
                {
                    one: Signed(EVERY[one][0], EVERY[two][1]),
                    two: Signed(EVERY[two][0], EVERY[one][1]),
                },
                LINK[first],
                "identity.role",
            )


def variants():
    for name in (*LINK, *BESIDE):
        for words_, claim, check in generic(name):
            yield f"{name}: {words_}", {name: claim}, LINK.get(name), check
    for name in LINK:
        for words_, claim, at, check in said(name):
            yield f"{name}: {words_}", {name: claim}, at, check
    yield from pairs()


VARIANTS = {row[0]: row[1:] for row in variants()}
ON_CYCLE = {
    *(about(name) for name in ("base", "left", "right", "merged")),
    MODELS["merged"].digest,
    dataset("raw"),
    dataset("pairs"),
}


@cache
def proven():
    return world.explained(world.whole())


def sign_all(changes):
    claims = {name: Signed(*row) for name, row in EVERY.items()} | changes
    return Ledger().bundles(row for row in claims.values() if row is not None)


def test_there_are_three_hundred_of_them_and_each_is_another():
    assert len(VARIANTS) >= 300
    assert len(VARIANTS) == sum(1 for _ in variants())


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.split(":")[0] not in BESIDE])
def test_a_broken_graph_names_the_link(name):
    changes, at, check = VARIANTS[name]
    assert proven().ancestry.end == "origin"
    found = world.explained(sign_all(changes))
    assert found.ancestry.end == "broken"
    assert found.ancestry.check == check, found.ancestry.reason
    assert found.ancestry.broken_at == at if at else found.ancestry.broken_at in ON_CYCLE
    if at and check != "chain.cycle":
        (link,) = [link for link in found.links if link.digest == at and not link.again]
        assert link.missing
        assert link.check == check
        assert not link.proven
    assert all(link.proven for link in proven().links)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.split(":")[0] in BESIDE])
def test_a_broken_claim_beside_the_graph_is_refused_by_itself(name):
    """No ancestry rests on it, so it stays proven; what the claim was good for is gone."""
    changes, _, check = VARIANTS[name]
    assert [one.believed for one in proven().evaluations] == [True]
    bundles = sign_all(changes)
    found, facts = world.explained(bundles), world.facts(bundles)
    assert found.ancestry.end == "origin"
    (claim,) = changes
    stage = claim.split()[0]
    subject = MODEL.digest if stage == "package" else about("merged")
    rows = [fact for fact in facts if fact.stage.value == stage and subject in fact.about]
    assert [row.check for row in rows] == ([] if check == "chain.missing" else [check])
    assert all(row.outcome is Outcome.FAIL for row in rows)
    if stage == "evaluate":
        assert not any(one.believed for one in found.evaluations)


@pytest.mark.parametrize(("one", "two"), list(combinations(LINK, 2)))
def test_proofs_that_changed_places(one, two):
    """The log's word about one claim is no word about another."""
    names = list(EVERY)
    bundles = list(world.whole())
    a, b = names.index(one), names.index(two)
    bundles[a], bundles[b] = (
        replace(bundles[a], entries=bundles[b].entries),
        replace(bundles[b], entries=bundles[a].entries),
    )
    found = world.ancestry(bundles)
    first = min((one, two), key=list(LINK).index)
    assert (found.end, found.broken_at, found.check) == ("broken", LINK[first], "log.body")
    assert proven().ancestry.end == "origin"


def test_the_order_of_bundles_changes_nothing():
    assert world.ancestry(world.whole()[::-1]).end == "origin"


def test_a_bundle_that_was_kept_as_json_is_the_same_claim():
    kept = [Bundle.from_json(bundle.to_json()) for bundle in world.whole()]
    assert world.ancestry(kept).end == "origin"


@pytest.mark.parametrize("project", ["vision", "default", ""])
def test_a_graph_of_another_project(project):
    found = world.ancestry(world.whole(), project=project)
    assert (found.end, found.broken_at, found.check) == ("broken", MODEL.digest, "identity.role")


def test_merging_counts_different_models():
    """One parent named twice is one parent."""
    twice_the_same = world.train(about("merged"), "fine-tune", p.Parent(about("left"), TUNE))
    row = Statement.decode(twice_the_same.encode())
    definition(row.predicate)["buildType"] = words.build_type("merge")
    (one,) = dependencies(row.predicate)
    one["annotations"][words.RELATION_NOTE] = MERGE.value
    dependencies(row.predicate).append(one)
    found = world.ancestry(sign_all({"train merged": resigned("train merged", row)}))
    assert (found.broken_at, found.check) == (MODELS["merged"].digest, "claim.form")
