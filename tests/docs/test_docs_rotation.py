"""The page on exchanging keys is run from top to bottom in a registry that holds something, and nothing breaks in it."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from weighbridge.cli.main import run
from weighbridge.cli.trust_rotate import NAMES
from weighbridge.registry import rotation
from weighbridge.registry.service_keys import OFFLINE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "rotation.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLE = "2026-11-22T10:00:00Z"


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "registry"))

    def command(line):
        capsys.readouterr()
        code = run(line.split()[1:])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def test_every_command_of_the_page(call, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "bert"}')
    for line in (
        "weighbridge init --demo",
        "weighbridge sign model --keyless --as trainer@example.org --oms",
        "weighbridge log show --output checkpoint",
    ):
        assert call(line)[0] == 0
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    lines = [line for block in BLOCK.findall(PAGE) for line in block.splitlines()]
    assert len(lines) == 18
    for line in lines:
        code, out, error = call(line.replace(EXAMPLE, now))
        assert code == 0, (line, out, error)
    (tmp_path / "model" / "model.sig").unlink()
    assert call("weighbridge sign model --keyless --as trainer@example.org --oms")[0] == 0
    code, _, error = call(
        "weighbridge verify model --signer trainer@example.org --issuer https://development.weighbridge.invalid"
    )
    assert code == 0, error
    (shown,) = json.loads(call("weighbridge trust show --format json")[1])["authorities"]
    assert len(shown["logs"]) == 4
    assert len(shown["authorities"]) == 3


def test_every_key_has_its_rows():
    assert set(NAMES) == {*rotation.ALGORITHMS, "tuf"}
    for name in (*NAMES, *(name for name in OFFLINE if name != "root")):
        assert len(re.findall(rf"^\| .*`{name}`", PAGE, re.MULTILINE)) >= 2, name
