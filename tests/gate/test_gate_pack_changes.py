"""An auditor sees who stood behind each change of policy and mode, from the signed records alone."""

import json
import zipfile

import pytest

from weighbridge.claims.records import event
from weighbridge.core.tier import Mode
from weighbridge.gate.modes import set_mode
from weighbridge.gate.pack import Wanted, make_pack
from weighbridge.gate.pack_formats import Pack
from weighbridge.gate.policies import approve, use_policy
from weighbridge.gate.verify_pack import verify
from weighbridge.policy.settings import starter
from weighbridge.registry import outbox
from weighbridge.registry.outbox import Draft
from weighbridge.trust.seal import sign_statement
from world import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def folder(world, days):
    made = world.folder / f"policy{days}"
    made.mkdir()
    for file, data in starter().items():
        (made / file).write_text(data.decode().replace("max_age_days = 30", f"max_age_days = {days}"))
    return made


def changes(world):
    path = world.folder / "pack.zip"
    path.unlink(missing_ok=True)
    make_pack(world.registry, path, Wanted())
    found = verify(Pack(path), list(world.registry.pin.roots), "")[0]
    assert found.wrong == []
    with zipfile.ZipFile(path) as archive:
        rows = [json.loads(line) for line in archive.read("lists/changes.jsonl").splitlines()]
    return [row for row in rows if row["what"] in ("policy", "mode")]


def test_who_stood_behind_each_change_and_what_never_counted(world):
    for name in ("ann", "bob"):
        world.person(name, "policy")
    world.hand.pass_(hours=1)
    first = use_policy(world.registry, folder(world, 31), world.people["ann"])
    for kind in ("policy", "mode"):
        world.publish(world.registry.authority.with_approvals(kind, 2))
    world.hand.pass_(hours=1)
    left = use_policy(world.registry, folder(world, 32), world.people["ann"])
    world.hand.pass_(days=1)
    second = use_policy(world.registry, folder(world, 33), world.people["ann"])
    world.hand.pass_(hours=1)
    body = {"bundle": str(second.bundle), "kind": "policy"}
    again = event("approval", (), body, project="*", actor="x", at=world.hand.now())
    with world.registry.writing():  # ann approves what she proposed
        key = world.people["ann"]
        outbox.submit(world.registry, Draft(sign_statement(again, key), key.public_pem))
    world.hand.pass_(hours=1)
    approve(world.registry, second.bundle, world.people["bob"])
    loose = set_mode(
        world.registry, Mode.OBSERVE, namespace="lab", reason="trial", signer=world.people["bob"]
    )
    world.hand.pass_(hours=1)
    approve(world.registry, loose.waiting.bundle, world.people["ann"])
    set_mode(world.registry, Mode.ENFORCE, namespace="lab", reason="done", signer=world.people["ann"])
    world.hand.pass_(hours=1)
    rows = changes(world)
    policies = {row["to"]: row for row in rows if row["what"] == "policy"}
    assert policies[str(first.digest)]["counted"] is True
    assert policies[str(first.digest)]["approvals"] == []
    taken = policies[str(second.digest)]
    assert (taken["signer"], [row["signer"] for row in taken["approvals"]]) == ("ann", ["bob"])
    assert taken["took_effect"] > taken["time"]
    never = policies[str(left.digest)]
    assert (never["counted"], never["took_effect"], never["approvals"]) == (False, None, [])
    modes = [row for row in rows if row["what"] == "mode"]
    assert [(row["namespace"], row["to"], row["counted"]) for row in modes] == [
        ("lab", "observe", True),
        ("lab", "enforce", True),
    ]
    assert [row["signer"] for row in modes[0]["approvals"]] == ["ann"]
