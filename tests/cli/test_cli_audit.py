"""`weighbridge audit` on the command line: what it prints, with which exit code, and what it refuses."""

import json
import zipfile
from pathlib import Path

import pytest

from weighbridge.gate.verify_pack import main

TOKEN = "planted-password-of-some-service"


@pytest.fixture
def playing(world, call):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    assert world.admit(folder, target="prod/chat").decision.allow
    return call


def test_the_risks_as_text_and_as_data(playing):
    code, out, _ = playing("audit")
    assert code == 0
    assert out.startswith("1 running in project 'default'\n")
    code, out, _ = playing("audit", "--format", "json")
    (found,) = json.loads(out)["audits"]
    assert code == 0
    assert len(found["risks"]) == 8
    code, out, _ = playing("audit", "--format", "jsonl")
    assert json.loads(out)["registry"] == found["registry"]


def test_fail_on_makes_it_stricter(playing):
    assert playing("audit", "--fail-on", "off")[0] == 1
    assert playing("audit", "--fail-on", "partly")[0] == 1


def test_a_framework(playing):
    code, out, _ = playing("audit", "--framework", "sp800-218a")
    assert code == 0
    assert "PW.3.1" in out
    assert "complian" not in out.lower()
    code, out, _ = playing("audit", "--framework", "sp800-218a", "--format", "json")
    (found,) = json.loads(out)["frameworks"]
    assert {task["checked"] for task in found["tasks"]} <= set(found["checked"])
    code, _, error = playing("audit", "--framework", "../secret")
    assert code == 2
    assert "sp800-218a" in error


def test_a_pack_and_its_script(playing, world, monkeypatch):
    code, out, _ = playing("audit", "--pack", "pack.zip", "--format", "json")
    assert code == 0
    (made,) = json.loads(out)["packs"]
    assert Path(made["pack"]).stat().st_size == made["bytes"]
    assert playing("audit", "--script", "verify_pack.py")[0] == 0
    Path("root.pem").write_text(world.registry.pin.roots[0])
    assert main(["pack.zip", "--root", "root.pem"]) == 0
    with zipfile.ZipFile("pack.zip") as archive:
        assert archive.read("verify_pack.py") == Path("verify_pack.py").read_bytes()
        assert json.loads(archive.read("audit.json"))["running"] == 1
        assert json.loads(archive.read("framework-sp800-218a.json"))["framework"] == "sp800-218a"


def test_nothing_is_overwritten(playing):
    Path("pack.zip").write_text("mine")
    Path("verify_pack.py").write_text("mine")
    assert playing("audit", "--pack", "pack.zip")[0] == 2
    assert playing("audit", "--script", "verify_pack.py")[0] == 2
    assert Path("pack.zip").read_text() == Path("verify_pack.py").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--since", "2026-01-01"],
        ["--as-of", "2026-01-01"],
        ["--unsigned"],
        ["--pack", "p.zip", "--since", "yesterday"],
        ["--pack", "p.zip", "--since", "2999-01-01"],
        ["--pack", "p.zip", "--as-of", "2026-13-01"],
        ["--fail-on", "maybe"],
    ],
)
def test_what_makes_no_sense_is_refused(playing, arguments):
    code, _, error = playing("audit", *arguments)
    assert code == 2
    assert error
    assert not Path("p.zip").exists()


def test_a_place_that_cannot_be_written_to_is_said(playing):
    Path("file").write_text("")
    code, _, error = playing("audit", "--pack", "file/pack.zip")
    assert code in (2, 3)
    assert "Traceback" not in error


def test_a_record_that_holds_a_secret_of_this_process_is_withheld_and_named(playing, world, monkeypatch):
    from weighbridge.claims.records import event

    body = {"rule": "r", "fingerprint": "0", "reason": f"it is {TOKEN}", "expires": "2027-01-01T00:00:00Z"}
    digest = world.manifest(world.folder / "encoder").digest
    world.say(event("waiver", (digest,), body, **world.registry.event_facts()), world.secret("owner"))
    monkeypatch.setenv("MY_SERVICE_PASSWORD", TOKEN)
    code, out, _ = playing("audit", "--pack", "pack.zip")
    assert code == 3
    assert "withheld: it holds what looks like the value of MY_SERVICE_PASSWORD" in out
    with zipfile.ZipFile("pack.zip") as archive:
        assert not [name for name in archive.namelist() if TOKEN.encode() in archive.read(name)]
