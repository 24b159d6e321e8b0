"""The pages on revocation and re-evaluation: their commands are run, their tables say what there is, their timers can be used."""

import configparser
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from weighbridge.cli.main import run
from weighbridge.config import SETTINGS
from weighbridge.core.decision import ACTIONS
from weighbridge.core.distrust import Distrusted
from weighbridge.gate import reevaluate
from weighbridge.gate.due import Reason
from weighbridge.gate.reevaluate import Came, Round
from weighbridge.registry import standings
from weighbridge.scanner.ruleset import ruleset
from world import World

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
REVOCATION, REEVALUATION, DECISION, POLICY = (
    (REFERENCE / f"{name}.md").read_text(encoding="utf-8")
    for name in ("revocation", "reevaluation", "decision", "policy")
)


def block(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]


def words(page, before, after):
    """Return what stands in back-quotes in the first cells of the rows between two headings."""
    part = page.split(before)[1].split(after)[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", part, re.MULTILINE)
    return [word for cell in cells for word in re.findall(r"`([a-z-]+)`", cell)]


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path)
    for name in ("HOME", "USER", "WEIGHBRIDGE_CONFIG_HOME"):
        monkeypatch.setenv(name, made.environ.get(name, ""))
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(made.registry.layout.root))
    monkeypatch.chdir(tmp_path)
    yield made
    made.registry.close()


def trusted(world, *names):
    folders = [world.ready(name, seed=float(number + 1)) for number, name in enumerate(names)]
    for folder in folders:
        assert run(["promote", f"./{folder.name}"]) == 0
    return [world.manifest(folder) for folder in folders]


def test_the_commands_on_revocation_do_what_the_page_says(world, capsys):
    one, other = trusted(world, "one", "other")
    named = f"file-sha256:{other.entry('model.safetensors').sha256.hex}"
    typed = block(REVOCATION, "sh").splitlines()
    assert len(typed) == 7
    said = ""
    for line in typed:
        line = line.replace("revoke MODEL", f"revoke {one.digest}").replace("file-sha256:…", named)  # noqa: PLW2901
        parts = shlex.split(line.replace("sha256:…", str(ruleset().digest)).replace("dis-…", said))
        capsys.readouterr()
        assert run(parts[1:]) == 0, line
        output = capsys.readouterr().out
        said = output.split(":")[0] if output.startswith("dis-") else said
    assert "is lifted" in output
    capsys.readouterr()
    assert run(["revoke", "--list", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["distrusts"]
    assert {row["what"] for row in rows} == {what.value for what in Distrusted}
    assert sum(row["lifted"] is not None for row in rows) == 1


def test_the_record_is_as_the_page_says(world):
    trusted(world, "one")
    assert run(["revoke", "--signer", "train-team", "--from", "2026-11-01", "--reason", "x"]) == 0
    with world.registry.records.read() as connection:
        [identity, content] = connection.exec_driver_sql("SELECT id, content FROM distrust").one()
    members = set(json.loads(content))
    head, rest = re.search(
        r"The body is\n`\{([^}]+)\}` and, for `signer`, `\{([^}]+)\}`", REVOCATION
    ).groups()
    assert members | {"id"} == set(f"{head}, {rest}".split(", "))
    assert re.fullmatch(r"dis-[0-9a-f]{16}", identity)
    assert set(re.findall(r"for `([a-z]+)`, `\{", REVOCATION)) == {what.value for what in Distrusted}


def test_the_commands_on_reevaluation_do_what_the_page_says(world, capsys, monkeypatch):
    [one] = trusted(world, "one")

    def once(registry, wish, *, wait, told, over):
        assert (callable(wait), over()) == (True, False)
        told(reevaluate.reevaluate(registry, wish))

    monkeypatch.setattr(reevaluate, "keep_on", once)
    typed = block(REEVALUATION, "sh").splitlines()
    assert len(typed) == 5
    for line in typed:
        parts = shlex.split(line.partition("#")[0].replace("MODEL", str(one.digest)))
        capsys.readouterr()
        assert run(parts[1:]) == 0, line
        assert "of 1 trusted models looked at" in capsys.readouterr().out


def test_the_timers_of_the_page_run_what_there_is(world):
    job = yaml.safe_load(block(REEVALUATION, "yaml"))
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    unit = configparser.ConfigParser()
    unit.read_string(block(REEVALUATION, "ini"))
    command = shlex.split(unit["Service"]["ExecStart"])
    assert Path(command[0]).name == "weighbridge"
    for arguments in (container["args"], command[1:]):
        place = arguments.index("--registry") + 1
        assert arguments[place] in {*mounts.values(), "/srv/weighbridge"}
        real = [*arguments[:place], str(world.registry.layout.root), *arguments[place + 1 :]]
        assert run(real) == 0
    assert unit["Service"]["SuccessExitStatus"].split() == ["1", "3"]


def test_the_exit_codes_are_those_of_a_round():
    def code(*outcomes, stopped=""):
        seen = tuple(reevaluate.Seen(None, (), outcome) for outcome in outcomes)
        return Round("", None, False, 0, 0, seen, stopped).exit_code

    assert (
        "1 when something does not pass, 3 when only something could not be told or the round ended early"
        in REEVALUATION
    )
    passing = {Came.PASSES, Came.RESTORED, Came.SKIPPED}
    assert {came for came in Came if code(came) == 0} == passing
    assert (code(Came.CANNOT_TELL), code(Came.PASSES, stopped="x"), code()) == (3, 3, 0)
    assert (code(Came.CANNOT_TELL, Came.HELD), code(Came.QUARANTINED, stopped="x")) == (1, 1)


def test_the_tables_say_what_there_is():
    assert words(REEVALUATION, "| outcome |", "Exit codes:") == [came.value for came in Came]
    assert set(words(REEVALUATION, "| reason |", "Older means:")) == {reason.value for reason in Reason}
    for name in ("reevaluate_days", "expiring_days"):
        assert f"`{name}` ({SETTINGS[name][2]})" in REEVALUATION
    assert (reevaluate.LEAST_BRAKE, reevaluate.SHARE) == (10, 5)
    assert "ten, or a fifth of the trusted models if more" in REEVALUATION


def test_every_action_stands_on_the_pages_on_decisions_and_policies():
    assert standings.ACTION in ACTIONS
    [decided] = re.findall(r"^\| `action` \| (.+) \|$", DECISION, re.MULTILINE)
    [asked] = re.findall(r"^\| `input.action` \| (.+) \|$", POLICY, re.MULTILINE)
    for row in (decided, asked):
        assert re.findall(r"`([a-z]+)`", row) == list(ACTIONS)
    head = next(line for line in POLICY.splitlines() if line.startswith("| mode | `promote`"))
    assert set(ACTIONS) <= set(re.findall(r"`([a-z]+)`", head))
    schema = json.loads((REFERENCE / "schemas" / "policy-input.schema.json").read_text(encoding="utf-8"))
    assert schema["properties"]["action"]["description"].endswith(f": {', '.join(ACTIONS)}.")
