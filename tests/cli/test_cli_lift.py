"""Taking back what was said takes two people where the authority says so: the lift waits, says for whom, and is approved."""

import json
from pathlib import Path

import jsonschema
import pytest

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas"


def items(kind, text):
    """Return the items of a JSON answer that has the documented shape."""
    document = json.loads(text)
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)
    return next(value for value in document.values() if isinstance(value, list))


@pytest.fixture
def two(world):
    """A registry in which a lift takes two, and who may agree to one beside the owner: bob, with his key in bob.pem."""
    world.team()
    world.person("bob", "revoke").save(world.folder / "bob.pem")
    world.publish(world.registry.authority.with_approvals("lift", 2))
    return world


def distrusted(call):
    code, output, error = call(
        "revoke", "--signer", "train-team", "--from", "2026-11-01", "--reason", "stolen"
    )
    assert code == 0, error
    return output.split(":")[0]


def waiting(call):
    [row] = items("policy", call("policy", "show", "--format", "json")[1])[0]["waiting"]
    return row


def test_a_distrust_stands_until_a_second_person_agrees_to_lift_it(two, call):
    said = distrusted(call)
    code, output, error = call("revoke", "--lift", said, "--reason", "it was in the safe")
    assert code == 0, error
    assert f"{said} still stands: the lift is signed and waits" in output
    assert f"lift of {said}, signed by owner, waits for 1 more identity until" in output
    assert "who may agree (role revoke): bob\n" in output
    short = waiting_id(output)
    [row] = items("distrust", call("revoke", "--list", "--format", "json")[1])
    assert row["lifted"] is None
    assert row["proposal"]["id"].startswith(f"sha256:{short}")
    listed = call("revoke", "--list")[1]
    assert "  waits  " in listed
    assert f"weighbridge policy approve {short}" in listed
    code, _, error = call("policy", "approve", short)
    assert (code, "adds nobody" in error) == (1, True)
    code, output, error = call("policy", "approve", short, "--key", "bob.pem")
    assert (code, output) == (0, f"proposal {shown(output)}: lift of {said}: in effect\n"), error
    [row] = items("distrust", call("revoke", "--list", "--format", "json")[1])
    assert (row["lifted"] is not None, row["lift_reason"], row["proposal"]) == (
        True,
        "it was in the safe",
        None,
    )
    code, _, error = call("revoke", "--lift", said, "--reason", "again")
    assert (code, "was lifted already" in error) == (2, True)


def waiting_id(output):
    return output.split("weighbridge policy approve ")[1].split()[0]


def shown(output):
    return output.removeprefix("proposal ").split(": lift of")[0]


def test_a_lift_that_waits_is_not_asked_for_twice(two, call):
    said = distrusted(call)
    short = waiting_id(call("revoke", "--lift", said, "--reason", "it was in the safe")[1])
    code, _, error = call("revoke", "--lift", said, "--reason", "I agree", "--key", "bob.pem")
    assert code == 2
    assert f"weighbridge policy approve {short}" in error
    assert call("policy", "approve", short, "--key", "bob.pem")[0] == 0


def test_the_lift_of_one_distrust_says_nothing_of_another(two, call):
    first = distrusted(call)
    assert call("revoke", "--lift", first, "--reason", "it was in the safe")[0] == 0
    _, output, _ = call("revoke", "--before", "2026-11-01", "--reason", "the disk lied")
    second = output.split(":")[0]
    rows = {row["id"]: row for row in items("distrust", call("revoke", "--list", "--format", "json")[1])}
    assert (rows[first]["proposal"] is None, rows[second]["proposal"] is None) == (False, True)
    # Nobody waits for the second one: a lift by somebody who may not is refused, whatever waits beside it.
    two.people["train-team"].save(two.folder / "train.pem")
    code, _, error = call("revoke", "--lift", second, "--reason", "x", "--key", "train.pem")
    assert (code, "does not hold the role" in error) == (1, True)


def test_the_lift_of_an_advisory_waits_in_the_same_way(two, call):
    target = two.manifest(two.ready()).digest
    code, _, error = call("advisory", "publish", "--kind", "weights", "--target", target, "--reason", "odd")
    assert code == 0, error
    [row] = items("advisory", call("advisory", "list", "--format", "json")[1])
    code, output, error = call("advisory", "lift", row["id"], "--reason", "another file")
    assert code == 0, error
    assert f"{row['id']} still stands" in output
    short = waiting_id(output)
    code, _, error = call("advisory", "lift", row["id"], "--reason", "another file")
    assert (code, short in error) == (2, True)
    assert call("policy", "approve", short, "--key", "bob.pem")[0] == 0
    assert call("advisory", "list", "--standing")[1] == "no advisories\n"


def test_who_could_agree_is_said_where_nobody_can(world, call):
    world.team()
    world.publish(world.registry.authority.with_approvals("lift", 2))
    output = call("revoke", "--lift", distrusted(call), "--reason", "it was in the safe")[1]
    assert "somebody else needs the role revoke: weighbridge trust add" in output
