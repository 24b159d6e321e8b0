"""`waive` and `break-glass` as people meet them: what is said, where an exception shows, and how it ends."""

import json
from datetime import timedelta

import pytest

from weighbridge.gate.policies import use_policy


@pytest.fixture
def denied(world):
    """A model that everybody signed for and that the policy denies for its format."""
    folder, policy = world.ready(), world.folder / "policy"
    policy.mkdir()
    for path in world.registry.layout.policy.iterdir():
        (policy / path.name).write_bytes(path.read_bytes())
    settings = policy / "policy.toml"
    lines = settings.read_text().splitlines()
    text = "\n".join('formats = ["gguf"]' if line.startswith("formats") else line for line in lines)
    settings.write_text(text + "\n")
    use_policy(world.registry, policy, world.secret("owner"))
    return folder


def key_of(world, call, *roles):
    """Make a key file of somebody whom the authority names; returns its path."""
    assert call("key", "new", "night.pem")[0] == 0
    public = next(world.folder.glob("night*.pub*")).read_text()
    authority = world.registry.authority.with_identity("night", public, roles, project="*")
    world.publish(authority)
    return "night.pem"


def test_a_rule_is_waived_and_shown_everywhere(world, call, denied):
    code, output, _ = call("promote", denied)
    assert code == 1
    assert "weighbridge waive MODEL policy.scan.formats --reason WHY --until DAY" in output
    options = ("--reason", "an old one", "--until", "2099-01-01")
    code, _, error = call("waive", denied, "policy.scan.formats", *options)
    assert code == 2
    assert "may reach until" in error
    until = soon()
    code, output, _ = call("waive", denied, "policy.scan.formats", "--reason", "an old one", "--until", until)
    assert code == 0
    assert "policy.scan.formats of " in output
    code, output, _ = call("promote", denied, "--explain")
    assert code == 0
    assert "✓ policy.scan.formats" in output
    assert "by owner: an old one; the policy says: " in output
    assert "  exceptions\n      waiver for policy.scan.formats by owner, until " in output
    bare = call("promote", denied)[1]
    assert "exception: waiver for policy.scan.formats by owner, until " in bare
    path = output.rsplit("load it from: ", 1)[1].strip()
    assert "it rests on 1 waiver(s) or break-glass" in call("verify", path)[1]
    assert json.loads(call("verify", path, "--format", "json")[1])["verifications"][0]["exceptions"]
    assert "exception: waiver for policy.scan.formats by owner, standing" in call("claims", denied)[1]
    listed = call("list")[1].splitlines()
    assert listed[0].endswith("exceptions")
    assert listed[1].endswith("policy.scan.formats")
    assert json.loads(call("list", "--format", "json")[1])["models"][0]["exceptions"] == [
        "policy.scan.formats"
    ]
    assert "standing  waiver  policy.scan.formats" in call("waive")[1]
    [row] = json.loads(call("waive", "--format", "json")[1])["waivers"]
    assert (row["kind"], row["state"], row["signers"]) == ("waiver", "standing", ["owner"])


def soon():
    from datetime import UTC, datetime

    return (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%d")


def test_glass_is_broken_by_two(world, call, denied):
    key = key_of(world, call, "waive")
    code, output, _ = call("break-glass", denied, "--reason", "the search is down", "--hours", 4)
    assert code == 0
    assert "waits for 1 more person" in output
    assert call("promote", denied)[0] == 1
    command = output.split("weighbridge ")[-1].split()
    assert command[:2] == ["policy", "approve"]
    assert call(*command)[0] != 0  # the owner again
    assert call(*command, "--key", key)[0] == 0
    code, output, _ = call("promote", denied)
    assert code == 0
    assert "exception: break-glass by owner and night, until " in output
    assert call("list")[1].splitlines()[1].endswith("break-glass")
    assert "standing  break-glass  policy.*" in call("waive")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("waive", "MODEL"), "say what is excused"),
        (("waive", "MODEL", "policy.licence", "--finding", "0" * 32), "say what is excused, once"),
        (("waive", "MODEL", "policy.licence"), "has a reason and an end"),
        (("waive", "MODEL", "policy.licence", "--reason", "x", "--until", "soon"), "no day"),
        (("waive", "MODEL", "policy.licence", "--reason", "", "--until", "2099-01-01"), "reason"),
        (("waive", "MODEL", "policy.*", "--reason", "x", "--until", "2099-01-01"), "no waiver answers"),
        (("waive", "MODEL", "bytes.match", "--reason", "x", "--until", "2099-01-01"), "has no finding"),
        (("break-glass", "MODEL", "--reason", "x", "--hours", "73"), "from 1 to 72 hours"),
        (("break-glass", "MODEL", "--reason", "x", "--hours", "many"), "not a valid integer"),
        (("break-glass", "MODEL", "--hours", "2"), "--reason"),
        (("break-glass", "nothing-here", "--reason", "x", "--hours", "2"), "nothing-here"),
    ],
)
def test_what_is_typed_wrongly_is_said_and_changes_nothing(world, call, words, said):
    folder = world.ready()
    size = world.registry.log.size
    code, _, error = call(*[folder if word == "MODEL" else word for word in words])
    assert code == 2
    assert said in error
    world.reopen()
    assert world.registry.log.size == size


def test_without_exceptions_the_list_says_so(world, call):
    assert call("waive") == (0, "nothing is excused in this project\n", "")
