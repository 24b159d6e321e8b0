"""A real MLflow server and its unmodified client: versions are taken in, and no alias leads to one that the gate does not admit."""

import json
import os
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from weighbridge.core.errors import NotFound, UsageError, VerificationFailed
from weighbridge.core.reference import parse_reference
from weighbridge.core.tier import Mode, Origin
from weighbridge.gate.adoption import Standing, adopt, found_in
from weighbridge.gate.modes import set_mode
from weighbridge.gate.promote import promote
from weighbridge.gate.registered import admit_version
from weighbridge.registry import sightings
from weighbridge.registry.intake import plan, take
from world_house import Hand, World
from world_mlflow import mlflow

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]  # the server takes its time to begin
ROOT = Path(__file__).parents[2]
LOG = """
with mlflow.start_run() as run:
    mlflow.log_artifacts(FOLDER, "model")
try:
    client.create_registered_model(NAME)
except mlflow.exceptions.MlflowException:
    pass
made = client.create_model_version(NAME, f"{run.info.artifact_uri}/model", run.info.run_id)
print(made.version)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mlflow(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def world(tmp_path, server):
    made = World(tmp_path, Hand(datetime.now(UTC).replace(microsecond=0)), {"mlflow_uri": server})
    yield made
    made.registry.close()


@pytest.fixture
def client(world, server, tmp_path):
    """Run a script with MLflow's client; the plug-in is found as installed packages are, by what pyproject.toml says."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    group = "mlflow.model_registry_store"
    lines = [f"[{group}]", *(f"{name} = {place}" for name, place in named[group].items())]
    told = tmp_path / "site" / "plugin-1.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (told / "entry_points.txt").write_text("\n".join(lines))

    def run(script, *, gated=False, **values):
        environment = world.environ | {
            "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join((str(told.parent), str(ROOT / "src"))),
            "WEIGHBRIDGE_HOME": str(world.registry.layout.root), "MLFLOW_TRACKING_URI": server,
            "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "GIT_PYTHON_REFRESH": "quiet",
            "MLFLOW_REGISTRY_URI": f"weighbridge+{server}" if gated else server,
        }  # fmt: skip
        head = "import mlflow\nclient = mlflow.MlflowClient()\n" + "".join(
            f"{name} = {value!r}\n" for name, value in values.items()
        )
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", head + script],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def register(client):
    def make(folder, name):
        done = client(LOG, FOLDER=str(folder), NAME=name)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    return make


def test_a_version_and_an_alias_are_taken_in_and_drift_is_told(world, client, register, server):
    folder = world.model("first")
    version = register(folder, "drifting")
    assert client(f"client.set_registered_model_alias('drifting', 'champion', {version})").returncode == 0
    files = plan(world.registry, "models:/drifting@champion")
    assert {(file.path, file.kept) for file in files} == {
        (path, False) for path in ("README.md", "config.json", "model.safetensors")
    }
    model = take(world.registry, "models:/drifting@champion")
    assert model.digest == world.manifest(folder).digest
    assert (model.source["version"], model.origin, model.source["matches_announced"]) == (
        "1",
        Origin.THIRD_PARTY,
        False,
    )
    world.hand.pass_(hours=1)
    register(world.model("second", seed=2.0), "drifting")
    assert client("client.set_registered_model_alias('drifting', 'champion', 2)").returncode == 0
    told = []
    take(world.registry, "models:/drifting@champion", on_drift=told.append)
    assert [(drift.revision, drift.fixed) for drift in told] == [("@champion", False)]
    assert sightings.last(world.registry, parse_reference("models:/drifting/1")) == model.digest


def test_what_is_not_registered(world):
    with pytest.raises(NotFound):
        take(world.registry, "models:/nothing/1")
    with pytest.raises(NotFound):
        take(world.registry, "models:/nothing@champion")
    world.reopen(mlflow_uri="")
    with pytest.raises(UsageError):
        take(world.registry, "models:/nothing/1")


def test_an_alias_to_a_version_that_is_not_admitted_is_refused_by_the_clients_own_call(
    world, client, register
):
    unknown = register(world.model("plain"), "gated")
    asked = f"client.set_registered_model_alias('gated', 'champion', '{unknown}')"
    done = client(asked, gated=True)
    assert done.returncode != 0
    assert "MlflowException" in done.stderr
    assert "[mlflow.unknown]" in done.stderr
    take(world.registry, f"models:/gated/{unknown}")
    done = client(asked, gated=True)
    assert "tier.trusted" in done.stderr
    assert "weighbridge promote" in done.stderr
    assert "champion" not in client("print(client.get_registered_model('gated').aliases)").stdout


def test_an_admitted_version_gets_its_alias_and_its_stage(world, client, register):
    folder = world.ready("admitted", seed=4.0)
    version = register(folder, "admitted")
    take(world.registry, f"models:/admitted/{version}")
    promoted = promote(world.registry, world.manifest(folder).digest, name="admitted")
    assert promoted.decision.allow, promoted.decision.refusals
    done = client(f"client.set_registered_model_alias('admitted', 'champion', '{version}')", gated=True)
    assert done.returncode == 0, done.stderr
    done = client(f"client.transition_model_version_stage('admitted', '{version}', 'Production')", gated=True)
    assert done.returncode == 0, done.stderr
    assert "champion" in client("print(client.get_registered_model('admitted').aliases)").stdout


def test_a_stage_that_people_follow_needs_an_admission_and_others_none(world, client, register):
    version = register(world.model("staged", seed=6.0), "staged")
    done = client(f"client.transition_model_version_stage('staged', '{version}', 'Production')", gated=True)
    assert "[mlflow.unknown]" in done.stderr
    done = client(f"client.transition_model_version_stage('staged', '{version}', 'Archived')", gated=True)
    assert done.returncode == 0, done.stderr


def test_registering_through_the_gate_is_free(world, client):
    done = client(LOG, gated=True, FOLDER=str(world.model("free", seed=8.0)), NAME="free")
    assert done.returncode == 0, done.stderr


def test_a_version_whose_artifacts_were_exchanged_is_refused(
    world, client, register, server, tmp_path_factory
):
    folder = world.ready("exchanged", seed=9.0)
    version = register(folder, "exchanged")
    take(world.registry, f"models:/exchanged/{version}")
    assert promote(world.registry, world.manifest(folder).digest, name="exchanged").decision.allow
    assert admit_version(world.registry, "exchanged", version, mlflow_uri=server, environ={}).decision.allow
    other = world.folder / "config.json"
    other.write_text('{"model_type": "gpt"}')
    swap = (
        "row = client.get_model_version('exchanged', VERSION)\nclient.log_artifact(row.run_id, FILE, 'model')"
    )
    assert client(swap, VERSION=version, FILE=str(other)).returncode == 0
    with pytest.raises(VerificationFailed) as caught:
        admit_version(world.registry, "exchanged", version, mlflow_uri=server, environ={})
    assert caught.value.check == "mlflow.bytes"
    assert [drift.fixed for drift in sightings.drifted(world.registry)] == [True]


def test_without_a_registry_no_alias_is_set(world, client, register):
    version = register(world.model("lost", seed=11.0), "lost")
    world.registry.layout.card.rename(world.folder / "card")
    done = client(f"client.set_registered_model_alias('lost', 'champion', '{version}')", gated=True)
    (world.folder / "card").rename(world.registry.layout.card)
    assert done.returncode != 0
    assert "there is no registry" in done.stderr


def test_where_the_mode_is_not_enforce_the_call_goes_on_with_a_warning(world, client, register):
    version = register(world.model("observed", seed=13.0), "observed")
    take(world.registry, f"models:/observed/{version}")
    key = world.person("policy-team", "policy")
    set_mode(world.registry, Mode.OBSERVE, reason="a trial", signer=key)
    script = "import warnings\nwarnings.simplefilter('always')\n"
    done = client(
        script + f"client.set_registered_model_alias('observed', 'champion', '{version}')", gated=True
    )
    assert done.returncode == 0, done.stderr
    assert "not enforced (mode observe): tier.trusted" in done.stderr
    assert "champion" in client("print(client.get_registered_model('observed').aliases)").stdout


def test_all_registered_versions_are_adopted(world, client, register):
    version = register(world.model("adopted", seed=12.0), "adopted")
    client(f"client.set_registered_model_alias('adopted', 'champion', '{version}')")
    found, _ = found_in(world.registry, "mlflow", "", {})
    [running] = [row for row in found if row.target == "mlflow/adopted/1"]
    assert (running.reference, running.note) == ("models:/adopted/1", "@champion")
    [row] = adopt(world.registry, [running], environ={}, in_place=True)
    assert row.standing is Standing.SIGN
    assert json.dumps(row.to_json())
