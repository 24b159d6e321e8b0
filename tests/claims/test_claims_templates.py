"""Templates of builders: well-formed, pinned, and the code that is built never stands beside the identity that signs."""

import re
from pathlib import Path

import pytest
import yaml

TEMPLATES = Path(__file__).resolve().parents[2] / "docs" / "templates"
PIN = r"(?:PIN-[A-Z]+(?:-[A-Z]+)*|[0-9a-f]{40})"
IMAGE = r"(?:PIN-[A-Z]+(?:-[A-Z]+)*|[0-9a-f]{64})"
SECRETS = re.compile(r"secrets\b|ACTIONS_ID_TOKEN|ID_TOKEN|--keyless|--key\b", re.IGNORECASE)


def read(name):
    return yaml.safe_load((TEMPLATES / name).read_text(encoding="utf-8"))


def dumped(value):
    return yaml.safe_dump(value)


def walk(value, key):
    """Yield every value under a key, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from walk(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, key)


def test_every_template_is_listed_and_every_listed_one_is_there():
    listed = set(re.findall(r"\]\(([\w.-]+\.ya?ml)\)", (TEMPLATES / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in TEMPLATES.glob("*.y*ml")}
    assert len(listed) == 4


@pytest.mark.parametrize("name", ["github-reusable-train.yml", "github-caller.yml"])
def test_actions_are_pinned_and_permissions_begin_at_none(name):
    workflow = read(name)
    assert workflow["permissions"] == {}
    for used in walk(workflow, "uses"):
        if ".github/workflows/" in used:
            assert re.search(r"@refs/tags/v\d+$", used), "the builder's identity is its tag"
        else:
            assert re.fullmatch(rf"[\w-]+/[\w-]+@{PIN}", used), used
    for job in workflow["jobs"].values():
        assert set(job["permissions"].values()) <= {"read", "write"}
        assert set(job["permissions"]) <= {"contents", "id-token"}
        assert job["permissions"].get("contents") in (None, "read")


def test_the_job_that_trains_has_no_identity_and_the_one_that_signs_no_code():
    jobs = read("github-reusable-train.yml")["jobs"]
    train, sign = jobs["train"], jobs["sign"]
    assert train["permissions"] == {"contents": "read"}
    assert not SECRETS.search(dumped(train))
    assert sign["permissions"] == {"id-token": "write"}
    assert sign["needs"] == "train"
    used = [step.get("uses", "") for step in sign["steps"]]
    assert not any("checkout" in one for one in used)
    assert all("cache" not in one for one in used), (
        "what another run left behind would run beside the identity"
    )
    for step in [*train["steps"], *sign["steps"]]:
        assert "${{" not in step.get("run", ""), "an input in a script is a script of whoever gives it"
    (checkout,) = [step for step in train["steps"] if "checkout" in step.get("uses", "")]
    assert checkout["with"]["persist-credentials"] is False
    for job in jobs.values():
        assert job["runs-on"].startswith("ubuntu-")


def test_the_builder_names_itself_as_its_caller_does():
    builder = read("github-reusable-train.yml")["jobs"]["sign"]["steps"][2]["env"]["BUILDER"]
    assert builder == "https://github.com/" + read("github-caller.yml")["jobs"]["model"]["uses"]
    assert builder in (TEMPLATES / "README.md").read_text(encoding="utf-8")


def test_the_caller_gives_no_secret_away():
    caller = read("github-caller.yml")
    assert list(walk(caller, "secrets")) == []
    assert [set(job) for job in caller["jobs"].values()] == [{"permissions", "uses", "with"}]


def test_tekton_tells_chains_by_results_and_has_no_key():
    task = read("tekton-task.yaml")
    assert (task["apiVersion"], task["kind"]) == ("tekton.dev/v1", "Task")
    results = {row["name"]: row for row in task["spec"]["results"]}
    assert set(results) == {"weights_ARTIFACT_OUTPUTS", "data_ARTIFACT_INPUTS"}
    for row in results.values():
        assert row["type"] == "object"
        assert set(row["properties"]) == {"uri", "digest"}
    for step in task["spec"]["steps"]:
        assert re.fullmatch(rf".+@sha256:{IMAGE}", step["image"])
        assert step["securityContext"] == {
            "runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert "$(params" not in step["script"], "an input in a script is a script of whoever gives it"
    assert not SECRETS.search(dumped(task))
    assert not list(walk(task, "serviceAccountName"))
    assert not list(walk(task, "volumes"))


def test_what_the_task_writes_names_identities(tmp_path, monkeypatch):
    """The step that names results is run as it stands, on a folder with weights."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.safetensors").write_bytes(b"weights")
    script = read("tekton-task.yaml")["spec"]["steps"][1]["script"].partition("\n")[2]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATASET", "d" * 64)
    monkeypatch.setenv("WEIGHTS_RESULT", "weights")
    monkeypatch.setenv("DATA_RESULT", "data")
    exec(compile(script, "tekton-task.yaml", "exec"), {})
    weights, data = (yaml.safe_load((tmp_path / name).read_text()) for name in ("weights", "data"))
    assert data == {"uri": f"wb1:{'d' * 64}", "digest": f"sha256:{'d' * 64}"}
    assert weights["uri"] == f"wbw1:{weights['digest'].removeprefix('sha256:')}"


def test_gitlab_gives_the_token_to_the_job_without_code():
    config = read("gitlab-ci.yml")
    train, sign = config["train"], config["sign"]
    assert "id_tokens" not in train
    assert not SECRETS.search(dumped(train))
    assert set(sign["id_tokens"]) == {"SIGSTORE_ID_TOKEN"}
    assert sign["variables"]["GIT_STRATEGY"] == "none"
    assert "before_script" not in sign
    assert "default" not in config
    assert not list(walk(config, "cache"))
    for image in walk(config, "image"):
        assert re.fullmatch(rf".+@sha256:{IMAGE}", image)
