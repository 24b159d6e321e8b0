"""A family of ten thousand models in a real registry: one advisory, its lift, and every deployment judged."""

import sqlalchemy as sa

from weighbridge.core.advisory import AdvisorySeverity
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import AdvisoryKind, Grade, Parentage, Relation
from weighbridge.core.walks import Answer
from weighbridge.gate.advisories import lift, publish, show
from weighbridge.gate.lineage import deployed, family
from weighbridge.gate.pictures import picture
from weighbridge.registry import tally
from weighbridge.store import lineage_index, schema
from world import World

MODELS, DEPLOYED = 10_000, 500


def model(at):
    return Digest("wb1", Digest.of(f"family {at}".encode()).hex)


def weights(at):
    return Digest("wbw1", Digest.of(f"family weights {at}".encode()).hex)


def parent(at):
    """Two trees, of the even and the odd; every model's parent has half its number."""
    return at // 2 - at // 2 % 2 + at % 2


def grade(at):
    """One in five thousand is only declared to descend."""
    return Grade.DECLARED if at % 5000 == 4998 else Grade.ATTESTED


def populate(registry):
    record = registry.record()
    edges, rows, runs = [], [], []
    for at in range(2, MODELS + 2):
        edges.append(Parentage(weights(at), model(at), Relation.PACKAGING, Grade.OBSERVED))
        if at > 3:
            edges.append(
                Parentage(weights(parent(at)), weights(at), Relation.FINE_TUNE, grade(at), "sha256:x")
            )
        row = {"tier": "trusted", "status": "active", "origin": "own", "label": f"m{at}", "source": "{}"}
        rows.append(record | row | {"digest": str(model(at)), "weights": str(weights(at))})
        if at >= MODELS + 2 - DEPLOYED:
            times = {"since": record["created_at"], "last_seen": record["created_at"], "bundle": "sha256:x"}
            runs.append(record | times | {"target": f"prod/{at}", "manifest": str(model(at))})
    with registry.writing(), tally.keeping(registry) as connection:
        lineage_index.publish(connection, lineage_index.Batch(edges=edges), record)
        connection.execute(sa.insert(schema.model), rows)
        connection.execute(sa.insert(schema.deployment), runs)


def quarantined(registry):
    table = schema.model
    query = sa.select(sa.func.count()).where(table.c.status == "quarantined")
    with registry.records.read() as connection:
        return connection.execute(query).scalar_one()


def test_half_of_ten_thousand(tmp_path):
    world = World(tmp_path)
    registry = world.registry
    populate(registry)
    below = [at for at in range(2, MODELS + 2) if at % 2 == 0]
    declared = [at for at in below if grade(at) is Grade.DECLARED]
    found = publish(
        registry, [model(2), weights(2)], kind=AdvisoryKind.WEIGHTS, reason="poisoned",
        severity=AdvisorySeverity.CRITICAL, signer=world.secret("owner"),
    )  # fmt: skip
    assert set(found.possibly) >= {model(at) for at in declared}
    assert len(found.affected) + len(found.possibly) == len(below) == MODELS // 2
    assert quarantined(registry) == len(found.affected)
    running = {judged.deployment.target: judged.answer for judged in found.deployed.answers}
    assert len(running) == DEPLOYED
    for target, answer in running.items():
        even = int(target.removeprefix("prod/")) % 2 == 0
        assert (answer in (Answer.AFFECTED, Answer.POSSIBLY)) == even
        assert even or answer is Answer.CANNOT_TELL  # nobody here has claimed any data
    assert found.coverage.complete == 0
    [same] = deployed(registry, model(2))
    assert {judged.answer for judged in same.answers} == set(running.values())
    whole = family(registry, model(2), up=False)
    assert len(whole.nodes) == 2 * len(below)
    assert len(picture(whole, title="half")) < 400_000
    after = lift(registry, found.advisory.id, reason="no", signer=world.secret("owner"))
    assert (after.affected, quarantined(registry)) == ((), 0)
    assert not show(registry, found.advisory.id).advisory.stands
    registry.close()
