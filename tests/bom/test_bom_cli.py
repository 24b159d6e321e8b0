"""`bom` on the command line: of a folder without a registry, of a kept model, compared, checked."""

import json

import jsonschema
import pytest
from bom_models import FILES, SERIAL, made

from weighbridge.cli.main import run
from weighbridge.core.digest import Digest


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "registry"))
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        capsys.readouterr()
        code = run([str(word) for word in arguments])
        output = capsys.readouterr()
        assert "Traceback" not in output.err
        return code, output.out, output.err

    return command


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "it"
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


@pytest.mark.parametrize("spec", ["1.6", "1.7"])
def test_of_a_folder_without_a_registry(call, model, spec):
    code, output, _ = call("bom", model, "--spec", spec)
    assert code == 0
    document = json.loads(output)
    assert document["specVersion"] == spec
    assert document["metadata"]["component"]["name"] == "it"
    (model.parent / "it.json").write_text(output)
    assert call("bom", "check", "it.json", "--against", model)[0] == 0
    assert call("bom", "diff", "it.json", model) == (0, "", "they say the same\n")


def test_a_file_alone_and_an_option_before_the_model(call, tmp_path):
    (tmp_path / "w.bin").write_bytes(b"x")
    code, output, _ = call("bom", "--spec", "1.7", "w.bin", "--output", "out.json")
    assert (code, output) == (0, "")
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["metadata"]["component"]["components"][0]["hashes"][0]["content"] == Digest.of(b"x").hex


def test_how_complete_it_is(call, model):
    code, output, _ = call("bom", model, "--profile", "g7-2026")
    assert code == 0
    assert "MDL-07   Model hash value" in output
    assert output.splitlines()[-1].startswith("SBOM for AI")
    code, output, _ = call("bom", model, "--profile", "weighbridge-1", "--format", "json")
    assert json.loads(output)["assessments"][0]["counts"]["observed"] > 5
    assert call("bom", model, "--profile", "other")[0] == 2


def test_changes_are_listed(call, model, tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(made()))
    (model / "extra.txt").write_bytes(b"x")
    code, output, _ = call("bom", "diff", "old.json", model)
    assert code == 0
    assert "+ file extra.txt: SHA-256:" in output
    code, output, _ = call("bom", "diff", "old.json", model, "--format", "json")
    assert {row["kind"] for row in json.loads(output)["changes"]} >= {"file", "subject"}


def test_a_document_of_another_model_is_refused(call, model, tmp_path):
    (tmp_path / "b.json").write_text(json.dumps(made()))
    assert call("bom", "check", "b.json", "--against", model)[0] == 0
    (model / "config.json").write_bytes(b"{}")
    code, output, _ = call("bom", "check", "b.json", "--against", model)
    assert code == 1
    assert "does not describe these bytes" in output


def test_broken_documents_and_those_of_others(call, tmp_path):
    document = json.loads(json.dumps(made()))
    document["compositions"][0]["assemblies"] = ["nowhere"]
    (tmp_path / "b.json").write_text(json.dumps(document))
    code, output, _ = call("bom", "check", "b.json", "--format", "json")
    assert code == 1
    assert "nowhere" in json.loads(output)["documents"][0]["problems"][0]
    foreign = {"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": f"urn:uuid:{SERIAL}", "version": 1,
               "components": [{"type": "machine-learning-model", "name": "a"}]}  # fmt: skip
    (tmp_path / "f.json").write_text(json.dumps(foreign))
    code, output, _ = call("bom", "check", "f.json")
    assert code == 0
    assert "note: the model 'a' has no SHA-256" in output
    (tmp_path / "f.json").write_text(
        json.dumps({**foreign, "components": [{"type": "spaceship", "name": "a"}]})
    )
    assert call("bom", "check", "f.json")[0] == 1
    assert call("bom", "diff", "f.json", "b.json")[0] == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 3),
        ("[]", 3),
        ('{"a":1,"a":2}', 3),
        ("{}", 1),
        ('{"bomFormat":"CycloneDX","specVersion":"9"}', 1),
        ("[" * 100_000, 3),
    ],
)
def test_what_is_no_document(call, tmp_path, text, code):
    (tmp_path / "x.json").write_text(text)
    assert call("bom", "check", "x.json")[0] == code


def test_what_is_not_there(call):
    assert call("bom", "check", "none.json")[0] == 2
    assert call("bom", "./none")[0] in (2, 3)


def test_of_a_kept_model_the_signed_one_and_one_anew(call, model):
    assert call("init")[0] == 0
    code, _, error = call("intake", model)
    assert (code, error) == (0, error), error
    signed = json.loads(call("bom", model)[1])
    assert json.loads(call("bom", model)[1])["serialNumber"] == signed["serialNumber"]
    anew = json.loads(call("bom", signed["metadata"]["component"]["bom-ref"], "--spec", "1.7")[1])
    assert anew["specVersion"] == "1.7"
    assert anew["serialNumber"] != signed["serialNumber"]
    rows = {}
    for more in ([], ["--spec", "1.7"]):
        output = call("bom", model, "--profile", "weighbridge-1", "--format", "json", *more)[1]
        elements = json.loads(output)["assessments"][0]["elements"]
        rows[len(more)] = next(row for row in elements if row["id"] == "signature")
    assert rows[0]["status"] == "attested"
    assert rows[0]["place"].startswith("sha256:")
    assert rows[2]["status"] == "absent"


def test_json_answers_keep_their_schema(call, model):
    from pathlib import Path

    schema = json.loads(
        (Path(__file__).parents[2] / "docs/reference/schemas/assessment.schema.json").read_text()
    )
    output = call("bom", model, "--profile", "ntia-2021", "--format", "json")[1]
    jsonschema.Draft202012Validator(schema).validate(json.loads(output))
