"""The insider, at the database: rows are changed with SQLite itself, past every check of ours."""

from __future__ import annotations

from collections.abc import Callable

from weighbridge.claims.records import event
from weighbridge.core.clock import rfc3339
from weighbridge.drill.stage import Stage
from weighbridge.drill.steps import Ending, Seen, Step, refused, through, without_effect
from weighbridge.keys.files import generate
from weighbridge.registry import deployments, models
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.seal import sign_statement

HAD = "write access to the database"
TALLY = "the log's key signs a digest over the rows that decide, with the size of the log; it is checked before anything is decided or listed"


def _row(*statements: str) -> Callable[[Stage], Seen]:
    """Return the attack that runs these statements, and then asks the gate."""

    def act(stage: Stage) -> Seen:
        stage.sql(*statements)
        return refused(lambda: stage.admit(stage.brought("second")), "the changed row was believed")

    return act


def _tier(stage: Stage) -> Seen:
    """Call a model trusted that the gate has refused, and ask for it to run."""
    stage.sql("UPDATE model SET tier = 'trusted'")
    return refused(lambda: stage.admit(stage.brought("unproven")), "the row was believed")


def _name(stage: Stage) -> Seen:
    """Repoint a name to an older approved model."""
    older = str(stage.manifest(stage.brought("first")).digest)
    stage.sql(("UPDATE name SET manifest = ? WHERE name = 'encoder'", (older,)))
    return refused(lambda: models.resolve(stage.registry, "encoder"), "the name leads to the older model")


def _manifest(stage: Stage) -> Seen:
    """Put another model's manifest under the digest of an approved one."""
    good, bad = stage.brought("second"), stage.kept(stage.brought("unproven"))
    text = bad.manifest.canonical_bytes.decode()
    digest = str(stage.manifest(good).digest)
    stage.sql(("UPDATE description SET manifest = ? WHERE digest = ?", (text, digest)))
    return refused(lambda: stage.admit(good), "the other manifest was taken")


def _claim(stage: Stage) -> Seen:
    """Put one model's training claim in the place of another's."""
    newest = "(SELECT content FROM bundle WHERE stage = 'train' ORDER BY log_index DESC LIMIT 1)"
    stage.sql(f"UPDATE bundle SET content = {newest} WHERE stage = 'train'")  # noqa: S608 (our own words only)
    return refused(lambda: stage.admit(stage.brought("second")), "the exchanged claim was taken")


def _hidden(stage: Stage) -> Seen:
    """Hide a claim against a model by putting it under another identity."""
    stage.sql(
        "UPDATE bundle_subject SET identity = 'wb1:0' WHERE bundle IN (SELECT digest FROM bundle WHERE stage = 'evaluate')"
    )
    return refused(lambda: stage.admit(stage.brought("second")), "the claim was hidden")


def _deployments(stage: Stage) -> Seen:
    stage.sql("DELETE FROM deployment")
    return refused(lambda: deployments.running(stage.registry), "nobody notices that it runs")


def _state(stage: Stage) -> dict[str, list[object]]:
    """Return the rows that decide who is what: names, deployments, revocations, and the models' standing."""
    return {
        "name": stage.rows("SELECT name, sequence, manifest FROM name ORDER BY 1, 2"),
        "deployment": stage.rows("SELECT target, manifest, until FROM deployment ORDER BY 1, 2"),
        "revocation": stage.rows("SELECT target FROM revocation ORDER BY 1"),
        "model": stage.rows("SELECT digest, tier, status FROM model ORDER BY 1"),
    }


def _outbox(stage: Stage) -> Seen:
    """Queue a revocation of a good model, signed by nobody who may."""
    before, key = _state(stage), generate()
    body = {"reason": "spite", "since": rfc3339(stage.clock.now())}
    about = (stage.manifest(stage.brought("second")).digest,)
    statement = event("revocation", about, body, **stage.registry.event_facts())
    stage.push(sign_statement(statement, key), key.public_pem)
    said = "it is in the log under its signer's key, and changes nothing"
    return without_effect("effects.signer", before, _state(stage), said)


def _old_name(stage: Stage) -> Seen:
    """Hand in once more what the gate itself signed when the name led to the older model."""
    before = _state(stage)
    pem = stage.registry.gate_key.public_pem
    moves = stage.rows("SELECT content FROM bundle WHERE stage = 'name' ORDER BY log_index")
    if len(moves) < 2:
        return through("there was nothing to hand in again")
    for (content,) in moves:
        stage.push(Bundle.from_json(content.encode()).envelope, pem)
    said = "each move of a name has the next number, and counts once"
    return without_effect("effects.sequence", before, _state(stage), said)


STEPS = (
    Step(
        "insider.tier", "sets the tier of a refused model to trusted, and asks for it to run", HAD,
        Ending.STOPPED, "records.tally", TALLY, _tier,
    ),
    Step(
        "insider.status", "makes a revoked model active", HAD,
        Ending.STOPPED, "records.tally", TALLY, _row("UPDATE model SET status = 'active'", "DELETE FROM revocation"),
    ),
    Step(
        "insider.digest", "puts another manifest under an approved digest", HAD,
        Ending.STOPPED, "records.manifest", "a manifest is held against the digest it is kept under", _manifest,
    ),
    Step(
        "insider.name", "repoints a name to an older approved model", HAD,
        Ending.STOPPED, "records.tally", TALLY, _name,
    ),
    Step(
        "insider.name-again", "hands in again what the gate signed when the name led to the older model", "every claim and record there is, all of them public",
        Ending.STOPPED, "effects.sequence", "what was signed once takes effect once", _old_name,
    ),
    Step(
        "insider.decision", "deletes the decision that refused a model", HAD,
        Ending.STOPPED, "records.tally", TALLY, _row("DELETE FROM decision WHERE answer = 'block'"),
    ),
    Step(
        "insider.deployment", "deletes what says that a model runs", HAD,
        Ending.STOPPED, "records.tally", TALLY, _deployments,
    ),
    Step(
        "insider.lineage", "deletes the edges that say what descends from a model", HAD,
        Ending.STOPPED, "records.tally", TALLY, _row("DELETE FROM edge"),
    ),
    Step(
        "insider.claim", "puts one model's training claim in the place of another's", HAD,
        Ending.STOPPED, "records.bundle", "a claim is held against the digest it is kept under", _claim,
    ),
    Step(
        "insider.hidden", "hides an evaluation by putting it under another identity", HAD,
        Ending.STOPPED, "records.tally", "who is spoken of by whom is chained, row by row, and read again", _hidden,
    ),
    Step(
        "insider.outbox", "queues a revocation of a good model, signed with a key of their own", HAD,
        Ending.STOPPED, "effects.signer", "what changes is read from the signed statement, and only from a signer who may say it", _outbox,
    ),
    Step(
        "insider.tally", "deletes the tally as well", HAD,
        Ending.STOPPED, "records.tally", "no tally is no tally: nothing is decided without one", _row("DELETE FROM setting WHERE key = 'tally'"),
    ),
)  # fmt: skip
"""What an insider tries with rows, in this order."""
