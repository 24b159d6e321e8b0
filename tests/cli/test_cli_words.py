"""What the command line says: secrets never, only verbs that exist, JSON of the documented shape."""

import ast
import json
import re
from pathlib import Path

import pytest

from weighbridge.cli.main import COMMANDS, EVERYDAY, main, run
from weighbridge.core.redact import Redactor
from weighbridge.registry.wiring import SystemClock

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "docs" / "reference" / "schemas"
PLANTED = {
    "HF_TOKEN": "hf_PlantedTokenThatMustNotAppear42",
    "AWS_SECRET_ACCESS_KEY": "planted/secret+access/key/0123456789",
    "MY_SERVICE_PASSWORD": "planted-password-of-some-service",
    "WEIGHBRIDGE_KEY_PASSWORD": "planted-key-password",
}


def strings_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_verb_that_a_text_names_exists():
    named = set()
    for path in sorted((ROOT / "src").rglob("*.py")):
        for text in strings_of(path):
            for verb in re.findall(r"(?:`|: |^|with |run |use )weighbridge ([a-z]+(?:-[a-z]+)*)\b", text):
                named.add((verb, path.name))
    assert named
    unknown = {(verb, name) for verb, name in named if verb not in COMMANDS and verb != "help"}
    assert unknown == set()


def test_every_verb_can_be_imported_and_has_help(capsys):
    for verb in COMMANDS:
        assert run([verb, "--help"]) == 0, verb
        assert "Usage:" in capsys.readouterr().out
    assert set(EVERYDAY) <= set(COMMANDS)


def test_help_shows_the_everyday_and_help_all_the_rest(capsys):
    assert run(["--help"]) == 0
    short = capsys.readouterr().out
    assert run(["help", "--all"]) == 0
    long = capsys.readouterr().out
    for verb in COMMANDS:
        assert re.search(rf"^  {verb} ", long, re.MULTILINE)
        assert bool(re.search(rf"^  {verb} ", short, re.MULTILINE)) == (verb in EVERYDAY)
    for word in ("DSSE", "SLSA", "Rego", "in-toto", "predicate"):
        assert word not in long


def test_an_unknown_verb_is_a_usage_error(capsys):
    assert run(["frobnicate"]) == 2
    assert run(["help", "frobnicate"]) == 2
    assert main.name


def test_logs_never_hold_a_planted_secret(world, call, monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    assert call("key", "new", "me.pem", "-vv")[0] == 0
    private = Path("me.pem").read_text()
    folder = world.model()
    outputs = [
        call("intake", folder, "-vv"),
        call("sign", folder, "--key", "me.pem", "-vv"),
        call("promote", folder, "-vv"),
        call("pull", "hf://user:planted-password-of-some-service@host/x", "-vv"),
        call("attest", folder, "--stage", "train", "--base", "wbw1:" + "0" * 64, "--key", "me.pem", "-vv"),
    ]
    text = "".join(out + err for _, out, err in outputs)
    for value in (PLANTED["HF_TOKEN"], PLANTED["AWS_SECRET_ACCESS_KEY"], PLANTED["WEIGHBRIDGE_KEY_PASSWORD"]):
        assert value not in text
    assert private.splitlines()[1] not in text
    lines = [json.loads(line) for _, _, err in outputs for line in err.splitlines() if line.startswith("{")]
    assert {"opened", "decided", "finished"} <= {line["message"] for line in lines}
    assert all(set(line) >= {"time", "level", "logger", "message"} for line in lines)


def test_secrets_are_struck_out_by_value_and_by_shape():
    redact = Redactor(PLANTED)
    pem = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIPlanted\n-----END EC PRIVATE KEY-----"
    for secret in (
        *PLANTED.values(),
        pem,
        "Bearer planted.planted.planted",
        "https://user:planted@host/",
        "hf_abcdefghijklmnop",
        "AKIAABCDEFGHIJKLMNOP",
    ):
        assert "lanted" not in redact(f"before {secret} after").replace("before", "")
        assert "hf_abc" not in redact(secret)
        assert "AKIAABC" not in redact(secret)


def test_an_exception_in_the_log_is_redacted_too(world, call, monkeypatch):
    from weighbridge.registry import models

    monkeypatch.setenv("HF_TOKEN", PLANTED["HF_TOKEN"])

    def leak(_registry):
        raise RuntimeError(f"cannot reach hub with {PLANTED['HF_TOKEN']}")

    monkeypatch.setattr(models, "every", leak)
    code, output, error = call("list", "-v")
    assert code == 4
    assert PLANTED["HF_TOKEN"] not in output + error


@pytest.mark.parametrize(
    ("arguments", "schema"),
    [
        (("scan", "{model}"), "report"),
        (("promote", "{model}"), "decision"),
        (("admit", "{model}"), "decision"),
        (("lineage", "{model}"), "lineage"),
        (("trust", "show"), "authority"),
        (("promote", "nothing-of-that-name"), "error"),
    ],
)
def test_json_output_is_what_the_schema_says(world, call, arguments, schema):
    import jsonschema

    folder = world.ready()
    words = [word.format(model=folder) for word in arguments]
    _, output, _ = call(*words, "--format", "json")
    value = json.loads(output)
    assert value["schema"] == f"weighbridge.{schema}/1"
    assert value["tool"]["name"] == "weighbridge"
    items = next(rows for key, rows in value.items() if key not in ("schema", "tool"))
    described = json.loads((SCHEMAS / f"{schema}.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(described)
    whole = "tool" in described.get("properties", {})
    for item in [value] if whole else items:
        errors = [f"{list(e.absolute_path)}: {e.message}" for e in validator.iter_errors(item)]
        assert errors == []
    _, lines, _ = call(*words, "--format", "jsonl")
    if schema != "error":
        assert len(lines.strip().splitlines()) == len(items)


def test_output_goes_to_a_file_and_not_to_the_screen(world, call):
    folder = world.model()
    code, output, _ = call("scan", folder, "--format", "json", "--output", "report.json")
    assert code == 0
    assert output == ""
    assert json.loads(Path("report.json").read_text())["reports"]


def test_doctor_finds_what_is_wrong(world, call):
    folder = world.ready()
    assert call("promote", folder)[0] == 0
    assert call("doctor", "--deep")[0] == 0
    entry = world.manifest(folder).entry("config.json")
    blob = world.registry.blobs.local(entry.sha256)
    blob.chmod(0o600)
    blob.write_bytes(b'{"model_type": "best"}')
    assert call("doctor")[0] == 0
    code, output, _ = call("doctor", "--deep")
    assert code == 1
    assert "✗ blobs.unchanged" in output
    policy = world.registry.layout.policy / "policy.toml"
    policy.write_text(policy.read_text() + "\n# changed\n")
    assert "✗ policy.pinned" in call("doctor")[1]


def test_doctor_without_a_registry_says_so(call, monkeypatch, tmp_path):
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "none"))
    code, output, _ = call("doctor")
    assert code == 3
    assert "weighbridge init" in output


def test_a_waiver_excuses_one_unlisted_finding_until_its_end(world, call):
    folder = world.ready()
    (folder / "modeling_custom.py").write_text("x = 1\n")
    assert call("intake", folder)[0] == 0
    world.hand.at = SystemClock().now()  # the command's, which is in the log
    world.reopen()
    world.say_package(folder, world.people["package-team"])
    assert call("promote", folder)[0] == 1
    report = json.loads(call("scan", folder, "--format", "json")[1])["reports"][0]
    assert report["verdict"] == "unlisted"
    for finding in report["findings"]:
        if finding["verdict"] == "unlisted":
            options = ("--finding", finding["fingerprint"], "--reason", "read it", "--until", "2026-12-20")
            assert call("waive", folder, *options)[0] == 0
    assert call("waive", folder, "--finding", "0" * 32, "--reason", "x", "--until", "2026-12-20")[0] == 2
    code, output, _ = call("promote", folder)
    assert code == 0, output


def test_rule_lists_and_explains(call):
    code, output, _ = call("rule")
    assert code == 0
    assert "pickle-call" in output
    code, output, _ = call("rule", "pickle-call")
    assert code == 0
    assert output.startswith("# pickle-call")
    assert call("rule", "no-such-rule")[0] == 2


def test_a_key_without_the_role_waives_nothing_and_is_told_so(world, call):
    folder = world.ready()
    (folder / "modeling_custom.py").write_text("x = 1\n")
    assert call("intake", folder)[0] == 0
    report = json.loads(call("scan", folder, "--format", "json")[1])["reports"][0]
    fingerprint = next(f["fingerprint"] for f in report["findings"] if f["verdict"] == "unlisted")
    assert call("key", "new", "stranger.pem")[0] == 0
    size = world.registry.log.size
    options = ("--finding", fingerprint, "--reason", "x", "--until", "2099-01-01")
    code, _, error = call("waive", folder, *options, "--key", "stranger.pem")
    assert code == 1
    assert "identity.role" in error
    code, _, error = call("waive", folder, "--finding", fingerprint, "--reason", "x", "--until", "2020-01-01")
    assert code == 2
    assert "future" in error
    world.reopen()
    assert world.registry.log.size <= size + 1  # intake's bill of materials, and no waiver
