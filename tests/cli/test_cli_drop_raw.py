"""`gc --drop-raw`: what goes and what stays is said, and what is used, unproven or another's stays."""

import json

import pytest
import sqlalchemy as sa

from weighbridge.cli.demo_models import write_checkpoint
from weighbridge.registry import dropping, tally
from weighbridge.registry.deployments import deploy
from weighbridge.registry.outbox import submit
from weighbridge.registry.rebuilding import convert_kept, scan_kept
from weighbridge.store import schema


@pytest.fixture
def raw(world):
    folder = world.model("raw")
    (folder / "model.safetensors").unlink()
    write_checkpoint(folder / "pytorch_model.bin")
    return world.take(folder)


def converted(registry, model):
    return convert_kept(registry, model, scan_kept(registry, model))


def entry(model):
    return model.manifest.entry("pytorch_model.bin")


def there(world, model):
    return world.registry.blobs.has(entry(model).sha256)


def test_it_says_what_goes_and_what_stays(call, world, raw):
    result = converted(world.registry, raw)
    dry = ("gc", "--drop-raw", raw.digest, "--reason", "room is short", "--dry-run", "--format", "json")
    code, out, _ = call(*dry)
    [planned] = json.loads(out)["droppings"]
    assert (code, planned["dry"], planned["freed"]) == (0, True, entry(raw).size)
    assert there(world, raw)
    code, out, _ = call("gc", "--drop-raw", raw.digest, "--reason", "room is short")
    assert code == 0
    assert f"pytorch_model.bin gone, {entry(raw).size} B, {entry(raw).sha256}" in out
    assert f"what they became stays: {result.digest}" in out
    assert not there(world, raw)
    [said] = dropping.every(world.registry).values()
    assert (said.reason, said.result) == ("room is short", result.digest)
    code, out, _ = call("gc", "--drop-raw", raw.digest, "--reason", "again")
    assert (code, "0 files (0 bytes) gone" in out) == (0, True)
    checks = json.loads(call("doctor", "--deep", "--format", "json")[1])["checks"]
    outcomes = {check["id"]: check["outcome"] for check in checks}
    assert (outcomes["blobs.kept"], outcomes["blobs.unchanged"]) == ("pass", "pass")
    assert call("access", "log")[1].count("gc") >= 1


def test_without_a_conversion_or_a_reason_nothing_goes(call, world, raw):
    code, _, err = call("gc", "--drop-raw", raw.digest, "--reason", "room")
    assert (code, "[dropping.proof]" in err, "has no conversion" in err) == (1, True, True)
    converted(world.registry, raw)
    for reason in ((), ("--reason", " "), ("--reason", "x" * 501)):
        assert call("gc", "--drop-raw", raw.digest, *reason)[0] == 2
    assert call("gc", "--reason", "no model")[0] == 2
    assert there(world, raw)


def test_what_runs_stays(call, world, raw):
    converted(world.registry, raw)
    with world.registry.writing():
        submit(world.registry, deploy(world.registry, raw.digest, "prod/chat"))
    code, _, err = call("gc", "--drop-raw", raw.digest, "--reason", "room")
    assert (code, "[dropping.used]" in err, "prod/chat" in err) == (1, True, True)
    assert there(world, raw)


@pytest.mark.parametrize(("status", "code"), [("active", 1), ("quarantined", 1), ("revoked", 0)])
def test_what_is_trusted_stays(call, world, raw, status, code):
    converted(world.registry, raw)
    table = schema.model
    with world.registry.writing(), tally.keeping(world.registry) as connection:
        change = sa.update(table).where(table.c.digest == str(raw.digest))
        connection.execute(change.values(tier="trusted", status=status))
    said = call("gc", "--drop-raw", raw.digest, "--reason", "room")
    assert (said[0], "[dropping.used]" in said[2], there(world, raw)) == (code, code == 1, code == 1)


def test_another_project_that_has_no_conversion_keeps_it(call, world, raw):
    converted(world.registry, raw)
    assert call("intake", world.folder / "raw", "--project", "second")[0] == 0
    code, _, err = call("gc", "--drop-raw", raw.digest, "--reason", "room")
    assert (code, "[dropping.shared]" in err, "'second'" in err) == (1, True, True)
    assert there(world, raw)
