import subprocess
import sys
from datetime import UTC, datetime

import pytest

import weighbridge
from world import Hand, World, safetensors
from world_checkpoints import Checkpoint, ordered, storage, tensor


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "registry"))
    return tmp_path


def model(folder, **more):
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(safetensors({"w": [1.0, 2.0]}))
    (folder / "config.json").write_text("{}")
    for name, text in more.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_the_public_names_are_all_there_and_documented():
    assert set(dir(weighbridge)) == set(weighbridge.__all__)
    assert len(weighbridge.__all__) <= 16
    for name in weighbridge.__all__:
        assert getattr(weighbridge, name).__doc__, name
    with pytest.raises(AttributeError):
        weighbridge.no_such_name  # noqa: B018


def test_importing_costs_next_to_nothing():
    program = "import sys; before = set(sys.modules); import weighbridge; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("weighbridge")} == {"weighbridge"}
    assert {name.partition(".")[0] for name in loaded} <= {"weighbridge", *sys.stdlib_module_names}


def test_manifest_and_scan(home):
    folder = model(home / "m")
    assert str(weighbridge.manifest(folder).digest).startswith("wb1:")
    report = weighbridge.scan(str(folder))
    assert report.verdict is weighbridge.Verdict.CLEAN
    assert report.manifest == weighbridge.manifest(folder).digest


def test_convert(home):
    root = ordered([("w", tensor(storage("0", numel=4), (2, 2)))])
    (home / "a.pt").write_bytes(Checkpoint(root, {"0": bytes(range(16))}).zip())
    made = weighbridge.convert(home / "a.pt", home / "a.safetensors")
    assert made.equivalence == "proven"
    assert (home / "a.safetensors").is_file()


def test_sign_and_verify(home):
    from weighbridge.keys.files import generate

    folder, key = model(home / "m"), generate()
    key.save(home / "k.pem")
    bundle = weighbridge.sign(folder, home / "k.pem")
    statement = weighbridge.verify(folder, bundle, key.public_pem)
    assert statement.is_about(weighbridge.manifest(folder).digest)
    with pytest.raises(weighbridge.WeighbridgeError):
        weighbridge.verify(folder, bundle, generate().public_pem)
    (folder / "config.json").write_text('{"a": 1}')
    with pytest.raises(weighbridge.WeighbridgeError):
        weighbridge.verify(folder, bundle, key.public_pem)


def test_a_registry_refuses_with_reasons(home):
    folder = model(home / "m")
    with weighbridge.Registry(create=True) as registry:
        digest = registry.intake(folder)
        assert registry.resolve(str(folder)) == digest
        result = registry.promote(str(folder))
        assert not result.decision.allow
        assert {"claims.train", "claims.package"} <= {check.id for check in result.decision.refusals}
        assert registry.promote(str(folder), dry_run=True).receipt is None
        assert registry.lineage(str(folder)).root == digest
    with weighbridge.Registry() as registry:
        assert registry.resolve(str(digest)) == digest


def test_pull_needs_what_was_announced(home):
    folder = model(home / "m")
    with weighbridge.Registry(create=True):
        pass
    result = weighbridge.pull(str(folder), reason="r", licence="MIT", publisher="p", reviewer="v")
    assert not result.decision.allow
    assert result.path is None
    assert "origin.accepted" in {check.id for check in result.decision.refusals}


def test_load_needs_only_bytes_evidence_and_a_pin(tmp_path, monkeypatch):
    hand = Hand(at=datetime.now(UTC).replace(microsecond=0))  # load looks at the real clock
    second = World(tmp_path, hand=hand)
    result = second.promote(second.ready())
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG_HOME", str(second.home))
    loaded = weighbridge.load(result.path)
    assert [name for name, _ in loaded.tensors()] == ["weight"]
    second.registry.close()
