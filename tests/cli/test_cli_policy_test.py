"""`policy check`, `policy test`, `policy starter`: what authors see, and how it ends."""

import json
from pathlib import Path

import jsonschema

SCHEMAS = Path(__file__).resolve().parents[2] / "docs/reference/schemas"


def valid(name, text):
    document = json.loads(text)
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)
    return document[f"{name}s"][0]


def starter(call, folder):
    assert call("policy", "starter", folder)[0] == 0
    return folder


def test_the_starter_is_written_once_and_is_sound(call, tmp_path):
    folder = starter(call, tmp_path / "mine")
    (folder / "own.rego").write_text((folder / "own.rego").read_text() + "\n# mine\n")
    code, output, _ = call("policy", "starter", folder)
    assert (code, "left as they are" in output) == (0, True)
    assert (folder / "own.rego").read_text().endswith("# mine\n")
    code, output, _ = call("policy", "check", folder)
    assert code == 0
    assert "sound: sha256:" in output


def test_a_mistake_is_told_with_its_line_and_a_remedy(call, tmp_path):
    folder = starter(call, tmp_path / "mine")
    text = (folder / "own.rego").read_text()
    (folder / "own.rego").write_text(text.replace("lib.evidence.origin", "lib.evidence.orgin"))
    line = 1 + text[: text.index("lib.evidence.origin")].count("\n")
    code, output, _ = call("policy", "check", folder)
    assert code == 1
    assert f"✗ own.rego:{line}: evidence has no member orgin (did you mean origin?)" in output
    code, output, _ = call("policy", "check", folder, "--format", "json")
    found = valid("policy-check", output)
    assert (code, found["sound"], found["tried"]) == (1, False, 0)
    assert call("policy", "use", folder)[0] == 2


def test_tests_that_fail_or_reach_too_little_end_with_one(call, tmp_path):
    folder = starter(call, tmp_path / "mine")
    code, output, _ = call("policy", "test", folder)
    assert (code, "of 46 tests held" in output) == (0, True)
    assert call("policy", "test", folder, "--least", "50")[0] == 0
    assert call("policy", "test", folder, "--least", "100")[0] == 1
    (folder / "own_test.rego").unlink()
    code, output, _ = call("policy", "test", folder)
    assert "no test reaches deny" in output
    (folder / "mine_test.rego").write_text("package weighbridge.mine_test\n\ntest_no if false\n")
    code, output, _ = call("policy", "test", folder, "--format", "json")
    found = valid("policy-test", output)
    assert code == 1
    assert [row["name"] for row in found["tests"] if not row["passed"]] == ["test_no"]


def test_no_tests_are_no_success(call, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "own.rego").write_text("package weighbridge.own\n\ndefault allow := false\n")
    code, output, _ = call("policy", "test", folder)
    assert (code, "there are no tests" in output) == (1, True)


def test_the_active_policy_is_tested_without_a_folder(call):
    assert call("policy", "test")[0] == 0
    assert call("policy", "check")[0] == 0


def test_a_past_decision_becomes_a_test(world, call, tmp_path):
    folder = starter(call, tmp_path / "mine")
    assert call("promote", world.ready())[0] == 0
    with world.registry.records.read() as connection:
        decision = connection.exec_driver_sql("select id from decision order by rowid desc limit 1").scalar()
    assert call("policy", "test", "--from", decision)[0] == 2
    assert call("policy", "test", folder, "--from", decision, "--as", "first")[0] == 0
    assert call("policy", "test", folder, "--from", decision, "--as", "first")[0] == 2
    assert call("policy", "test", folder, "--from", decision[:20])[0] == 0
    assert "test_first_is_allowed" in (folder / "first_test.rego").read_text()
    code, output, _ = call("policy", "test", folder)
    assert (code, "of 48 tests held" in output) == (0, True), output
    assert call("policy", "test", folder, "--from", "sha256:0000000000")[0] == 2
    assert call("policy", "test", folder, "--from", "ab")[0] == 2
    assert call("policy", "test", folder, "--as", "x")[0] == 2
    (folder / "policy.toml").write_text(
        (folder / "policy.toml")
        .read_text()
        .replace("evaluated = false", "probed = true", 1)
        .replace("\nprobed = false", "", 1)
    )
    code, output, _ = call("policy", "test", folder)
    assert code == 1
    assert "test_first_is_allowed" in output
