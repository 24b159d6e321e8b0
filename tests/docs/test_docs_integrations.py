"""What users paste is YAML of a few lines that fits what is here, and the scripts behind it do what is said."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from weighbridge.config import read_config
from weighbridge.core.manifest import WEIGHT_SUFFIXES
from world import safetensors

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "integrations"
BAD = b"cposix\nsystem\n(S'id'\ntR."
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page):
    return BLOCK.findall((DOCS / f"{page}.md").read_text("utf-8"))


@pytest.mark.parametrize("page", ["github", "gitlab", "pre-commit"])
def test_what_is_pasted_is_yaml_of_few_lines(page):
    for language, text in blocks(page):
        assert language == "yaml"
        assert yaml.safe_load(text)
        assert len(text.splitlines()) <= 6


def action():
    return yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))


def component():
    spec, jobs = yaml.safe_load_all((ROOT / "templates" / "scan.yml").read_text("utf-8"))
    return spec["spec"]["inputs"], jobs


def test_the_snippets_name_inputs_and_hooks_that_exist():
    steps = yaml.safe_load(blocks("github")[0][1])
    assert set(steps[1]["with"]) <= set(action()["inputs"])
    (include,) = yaml.safe_load(blocks("gitlab")[0][1])["include"]
    inputs, jobs = component()
    assert set(include["inputs"]) <= set(inputs)
    assert include["component"].split("@")[0].endswith("/scan"), "a component is named by its template"
    hooks = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))}
    (repository,) = yaml.safe_load(blocks("pre-commit")[0][1])["repos"]
    assert {hook["id"] for hook in repository["hooks"]} <= hooks
    used = set(re.findall(r"\$\[\[ inputs\.([a-z-]+) \]\]", json.dumps(jobs)))
    assert used == set(inputs)


def test_what_is_uploaded_is_what_the_action_writes():
    upload = yaml.safe_load(blocks("github")[1][1])[0]
    assert upload["with"]["sarif_file"] == action()["inputs"]["sarif"]["default"]


def test_no_expression_stands_inside_a_script():
    """What somebody typed reaches a script as a variable: it cannot become a command."""
    for step in action()["runs"]["steps"]:
        assert "${{" not in step["run"]
    _, jobs = component()
    for job in jobs.values():
        assert "$[[" not in json.dumps([job["before_script"], job["script"]])


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    (folder / "models" / "good one").mkdir(parents=True)
    (folder / "models" / "good one" / "model.safetensors").write_bytes(safetensors({"w": [1.0]}))
    (folder / "models" / "bad").mkdir()
    (folder / "models" / "bad" / "model.bin").write_bytes(BAD)
    return folder


def environment(folder, **more):
    programs = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    return {"HOME": str(folder), "PATH": programs, "LANG": "C.UTF-8", "NO_COLOR": "1", **more}


def run_action(checkout, paths, fail_on=""):
    """Run the action's scan step as a runner does; returns (exit code, outputs, summary, log)."""
    (step,) = [step for step in action()["runs"]["steps"] if step.get("id") == "scan"]
    given = {"PATHS": paths, "FAIL_ON": fail_on, "SARIF": action()["inputs"]["sarif"]["default"]}
    assert set(given) == set(step["env"])
    output, summary = checkout.parent / "output", checkout.parent / "summary"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=checkout, capture_output=True, text=True, check=False,
        env=environment(checkout.parent, GITHUB_OUTPUT=str(output), GITHUB_STEP_SUMMARY=str(summary), **given),
    )  # fmt: skip
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return done.returncode, outputs, summary.read_text(), done.stdout


def test_the_action_passes_what_passes(checkout):
    code, outputs, summary, log = run_action(checkout, "models/good one\n")
    assert code == 0
    assert outputs == {"exit-code": "0", "sarif": "weighbridge.sarif"}
    assert "✅ `good one`" in summary
    assert "clean: nothing in it can run" in log
    assert json.loads((checkout / outputs["sarif"]).read_text())["version"] == "2.1.0"


def test_the_action_blocks_reports_and_says_where(checkout):
    code, outputs, summary, log = run_action(checkout, "models/good one\n\nmodels/bad\n")
    assert code == 1
    assert outputs["exit-code"] == "1"
    assert "`pickle-call`" in summary
    assert "error[pickle-call]" in log
    (run,) = json.loads((checkout / "weighbridge.sarif").read_text())["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "models/bad/model.bin"


def test_the_action_cannot_tell(checkout):
    (checkout / "models" / "good one" / "x.xyz").write_bytes(bytes(range(128, 256)))
    assert run_action(checkout, "models/good one")[0] == 3


@pytest.mark.parametrize("typed", ["$(touch owned)", "; touch owned", "--help", "`touch owned`", "a\n-h"])
def test_what_is_typed_as_a_path_is_a_path(checkout, typed):
    code, _, _, _ = run_action(checkout, typed)
    assert code != 0
    assert not (checkout / "owned").exists()


def run_component(checkout, paths, fail_on=""):
    _, jobs = component()
    (job,) = jobs.values()
    script = "\n".join(job["script"])
    given = {"WEIGHBRIDGE_PATHS": paths, "WEIGHBRIDGE_FAIL_ON": fail_on}
    assert set(given) <= set(job["variables"])
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=checkout, capture_output=True, text=True, check=False,
        env=environment(checkout.parent, **given),
    )  # fmt: skip
    assert all((checkout / name).exists() for name in job["artifacts"]["paths"])
    assert job["artifacts"]["when"] == "always"
    return done.returncode, done.stdout


def test_the_component_passes_blocks_and_keeps_its_reports(checkout):
    (checkout / "models" / "good one").rename(checkout / "models" / "good")
    assert run_component(checkout, "models/good")[0] == 0
    code, log = run_component(checkout, "models/good models/bad")
    assert code == 1
    assert "error[pickle-call]" in log
    assert run_component(checkout, "models/*")[0] == 2, "a pattern is not opened up"


def test_the_hook_looks_at_weight_files_and_refuses(checkout):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    pattern = re.compile(hook["files"])
    for suffix in WEIGHT_SUFFIXES:
        assert pattern.search(f"some/model{suffix}")
        assert pattern.search(f"some/MODEL{suffix.upper()}")
    assert not pattern.search("src/main.py")
    words = [*shlex.split(hook["entry"]), "models/bad/model.bin", "models/good one/model.safetensors"]
    done = subprocess.run(
        words, cwd=checkout, capture_output=True, check=False, env=environment(checkout.parent)
    )
    assert done.returncode == 1
    done = subprocess.run(
        [*words[:-2], words[-1]],
        cwd=checkout,
        capture_output=True,
        check=False,
        env=environment(checkout.parent),
    )
    assert done.returncode == 0


def test_the_entry_that_the_report_page_shows_can_be_used(tmp_path):
    page = (ROOT / "docs" / "reference" / "report.md").read_text("utf-8")
    (text,) = [text for language, text in BLOCK.findall(page) if language == "toml"]
    (tmp_path / "weighbridge.toml").write_text(text)
    (entry,) = read_config({"WEIGHBRIDGE_CONFIG_HOME": str(tmp_path)}).accept
    shown = tomllib.loads(text)["accept"][0]
    assert (entry.rule, entry.digest, entry.reason) == (shown["rule"], shown["digest"], shown["reason"])
    assert entry.until.date().isoformat() == "2027-02-01", "until the end of the day"
