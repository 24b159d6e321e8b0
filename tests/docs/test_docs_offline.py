"""The pages on working without the internet and beside the public Sigstore do what they say, with the door closed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
DEVELOPMENT = "https://development.weighbridge.invalid"


def commands(page):
    """Return every command of a page, in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [line for block in BLOCK.findall(text) for line in block.splitlines() if line]


class Desk:
    """A folder in which commands are run as they stand."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "WEIGHBRIDGE_OFFLINE": "1",
        }

    def run(self, command):
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def fine(self, command):
        done = self.run(command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    made = Desk(tmp_path_factory.mktemp("desk"))
    for name in ("model", "signed"):
        (made.folder / name).mkdir()
        (made.folder / name / "config.json").write_text('{"model_type": "bert"}')
    made.fine("weighbridge init --demo")
    made.fine("weighbridge init --registry isolated")
    made.fine('cp "$(find home -name root.pub.pem | head -1)" root.pub.pem')
    made.fine("weighbridge sign signed --keyless --as trainer@example.org --oms")
    shown = json.loads(made.fine("weighbridge trust show --format json").stdout)
    (made.folder / "log.pub.pem").write_text(shown["authorities"][0]["logs"][0]["pem"])
    return made


def test_the_isolated_page_is_run_from_top_to_bottom(desk):
    found = commands("air-gapped.md")
    assert len(found) == 17
    for command in found:
        desk.fine(command)


def test_a_changed_byte_shows_there_too(desk):
    config = desk.folder / "signed" / "config.json"
    before = config.read_text()
    config.write_text('{"model_type": "berT"}')
    verify = next(command for command in commands("air-gapped.md") if "verify signed" in command)
    done = desk.run(verify)
    assert done.returncode == 1
    assert "config.json" in done.stderr
    config.write_text(before)


def test_the_page_on_the_public_sigstore_changes_a_real_registry(desk):
    public, verify, issuer, signer = commands("public-sigstore.md")
    key = {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": "one",
        "alg": "EdDSA",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }
    (desk.folder / "github-keys.json").write_text(json.dumps({"keys": [key]}))
    desk.fine(issuer)
    desk.fine(signer)
    assert "train-ci" in desk.fine("weighbridge trust show").stdout
    (desk.folder / "model" / "model.sig").unlink(missing_ok=True)
    refused = desk.run(public)
    assert refused.returncode in (2, 3)
    assert "offline" in refused.stderr or "token" in refused.stderr
    elsewhere = desk.run(verify.replace("verify model", "verify signed"))
    assert elsewhere.returncode == 1
    assert "somebody else signed" in elsewhere.stderr


def test_without_saying_so_nothing_becomes_public(desk):
    done = desk.run("weighbridge sign model --keyless --oms")
    assert done.returncode != 0
    assert "sigstore.dev" not in done.stdout
