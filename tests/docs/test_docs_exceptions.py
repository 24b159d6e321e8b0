"""The page on exceptions: its commands are run, its example is of the documented form, its tables say what the code does."""

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest

from weighbridge.cli.main import run
from weighbridge.core.exceptions import LEAST_SIGNERS, MAX_HOURS, ExceptionState
from weighbridge.gate.policies import use_policy
from weighbridge.policy.exceptions import NEVER_WAIVED
from world import World

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "exceptions.md").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "docs" / "reference" / "schemas" / "decision.schema.json").read_text())
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path)
    for name in ("HOME", "USER", "WEIGHBRIDGE_CONFIG_HOME"):
        monkeypatch.setenv(name, made.environ.get(name, ""))
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(made.registry.layout.root))
    monkeypatch.chdir(tmp_path)
    yield made
    made.registry.close()


def denied(world):
    """A model at ./encoder that the policy denies for its format, and a second person with a key."""
    world.ready()
    policy = world.folder / "policy"
    policy.mkdir()
    for path in world.registry.layout.policy.iterdir():
        text = path.read_text()
        if path.name == "policy.toml":
            text = re.sub(r"^formats = .*$", 'formats = ["gguf"]', text, flags=re.MULTILINE)
        (policy / path.name).write_text(text)
    use_policy(world.registry, policy, world.secret("owner"))
    assert run(["key", "new", "night.pem"]) == 0
    public = next(world.folder.glob("night*.pub*")).read_text()
    world.publish(world.registry.authority.with_identity("night", public, ["waive"], project="*"))


@pytest.mark.parametrize("number", [0, 1], ids=["waiver", "break-glass"])
def test_the_commands_do_what_the_page_says(world, capsys, number):
    denied(world)
    assert run(["promote", "./encoder"]) == 1
    day, waiting = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%d"), ""
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) == 2
    for line in blocks[number].splitlines():
        words = shlex.split(line.replace("2026-12-01", day).replace(" ID ", f" {waiting} "))
        capsys.readouterr()
        assert run(words[1:]) == 0, line
        output = capsys.readouterr().out
        waiting = output.split()[-1] if "approve" in output else waiting


def test_the_example_is_of_the_documented_form():
    example = json.loads(re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0])
    form = {**SCHEMA["$defs"]["exception"], "$defs": SCHEMA["$defs"], "additionalProperties": False}
    jsonschema.Draft202012Validator(form).validate(example)


def test_the_tables_say_what_there_is():
    states = re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE)
    assert states == [state.value for state in ExceptionState]
    for name in NEVER_WAIVED:
        assert f"`{name}`" in PAGE
    assert f"at most {MAX_HOURS} from" in PAGE
    assert LEAST_SIGNERS == 2
    assert "two identities with the role `waive`" in PAGE
