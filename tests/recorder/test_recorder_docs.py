"""docs/recording.md says what there is: options, stages, refusals, and a first example that runs; the schema fits."""

import ast
import json
import re
from pathlib import Path

import jsonschema
import pytest

from weighbridge.recorder.environment import VARIABLES
from weighbridge.recorder.plan import Options
from weighbridge.recorder.stages import STAGES
from weighbridge.recorder.statements import RECORDING
from world_recorder import record_of, said, signed_shards, train

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "recording.md").read_text()
REFERENCE = (ROOT / "docs" / "reference" / "recording.md").read_text()
SCHEMA = json.loads((ROOT / "docs" / "reference" / "schemas" / "recording.schema.json").read_text())


def part(title):
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def named(text, column=1):
    rows = [line.split("|")[column] for line in text.splitlines() if line.startswith("| `")]
    return {word for row in rows for word in re.findall(r"`([a-z_.-]+)", row)}


def test_every_option_is_on_the_page_and_no_other():
    assert named(part("What else may be said")) == set(Options.__annotations__) - {
        "source",
        "licence",
        "description",
        "result",
    }


def test_every_stage_is_on_the_page_and_no_other():
    assert named(part("A training")) == set(STAGES) - {"convert"}


def test_every_variable_is_on_the_page():
    assert [name for name in VARIABLES if name not in PAGE] == []


def test_every_refusal_is_on_the_page_and_no_other():
    folder = ROOT / "src" / "weighbridge"
    files = [*(folder / "recorder").glob("*.py"), *folder.glob("formats/*.py"), folder / "source/datasets.py"]
    texts = {
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    raised = {text for text in texts if re.fullmatch(r"(recorder|dataset)\.[a-z-]+", text)}
    assert named(part("Refusals")) == raised


def test_every_member_is_on_the_reference_page_and_no_other():
    members, seen = REFERENCE.split("A dataset is identified")
    assert named(members) == set(SCHEMA["properties"]) - {"schema"}
    assert named(seen) == set(SCHEMA["properties"]["observed"]["properties"])


def test_the_first_example_runs(world, monkeypatch):
    folder = signed_shards(world, "data")
    Path("data").symlink_to(folder)
    Path("train.pem").write_bytes(world.keys["train-team"].read_bytes())
    Path("train.pem").chmod(0o600)
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    code = code.replace("    # … train, and write the model into ./model …\n", "    train(Path('model'))\n")
    assert "train(Path" in code
    found = {"train": train, "Path": Path}
    exec(compile(code, "docs/recording.md", "exec"), found)
    assert len(found["run"].claims) == 1


@pytest.mark.parametrize("lock", [True, False])
def test_a_record_fits_its_schema(world, signed_data, start, lock, tmp_path):
    (tmp_path / "requirements.lock").write_text("numpy==1 --hash=sha256:00\n")
    more = {"lock": tmp_path / "requirements.lock"} if lock else {}
    base, out = world.model("base", 5.0), world.folder / "out"
    with start(
        "fine-tune", inputs=[signed_data], models=[base], outputs=[out], script=Path(__file__), **more
    ) as run:
        run.metric("loss", 0.5)
        run.attach("mine", lambda: {"a": 1})
        train(out)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.validate(record_of(run.claims[0]))
    key = world.keys["evaluate-team"]
    with start("evaluate", inputs=[signed_data], models=[out], key=key) as run:
        run.metric("accuracy", 1)
    validator.validate(said(run.claims[0])[RECORDING])
    with start(
        "data", outputs=[world.folder / "d"], source="us", licence="MIT", key=world.keys["data-team"]
    ) as run:
        world.files("d", rows__jsonl="{}\n")
    validator.validate(said(run.claims[0])[RECORDING])
    assert said(run.claims[0])[RECORDING]["observed"]["rows"] == 1
