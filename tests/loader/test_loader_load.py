import json
import os
import shutil

import numpy as np
import pytest

from weighbridge.core.canonical import canonical
from weighbridge.core.errors import CannotTell, LoadRefused, NotFound, RegistryUnusable, Unreadable
from weighbridge.gate.promote import admit
from weighbridge.loader.load import load
from world import World, safetensors


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def admitted(world):
    folder = world.ready()
    result = world.promote(folder)
    assert result.decision.allow
    return result.path


def loading(world, path, **options):
    return load(path, clock=world.hand, environ=world.environ, **options)


def refused(world, path, **options):
    with pytest.raises(LoadRefused) as caught:
        model = loading(world, path, **options)
        for _ in model.tensors():
            pass
        for entry in model.manifest.files:
            model.read(entry.path)
    assert caught.value.remedy
    return caught.value.check


def writable(path):
    """Break the hard link and make the file writable, as somebody with the folder in their hands would."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    return path


def test_an_admitted_model_loads_without_a_database(world, admitted):
    world.registry.layout.database.unlink()
    model = loading(world, admitted)
    tensors = dict(model.tensors())
    assert np.array_equal(tensors["weight"], np.array([1, 2, 3, 4], dtype="f4"))
    assert json.loads(model.read("config.json")) == {"model_type": "bert"}
    assert model.dtypes() == {"weight": "F32"}
    assert model.proven.signer.name == "gate"


def test_arrays_outlive_the_walk_and_cannot_be_written(world, admitted):
    arrays = [array for _, array in loading(world, admitted).tensors()]
    assert arrays[0].sum() == 10
    with pytest.raises(ValueError, match="read-only"):
        arrays[0][0] = 5


def test_the_folder_above_is_accepted_too(world, admitted):
    assert loading(world, admitted.parent).manifest == loading(world, admitted).manifest


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_one_flipped_byte_is_refused(world, admitted, name):
    path = writable(admitted / name)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert refused(world, admitted) == "file.bytes"


@pytest.mark.parametrize("change", ["shorter", "longer", "empty"])
def test_another_size_is_refused(world, admitted, change):
    path = writable(admitted / "model.safetensors")
    data = path.read_bytes()
    path.write_bytes({"shorter": data[:-1], "longer": data + b"x", "empty": b""}[change])
    assert refused(world, admitted) == "file.bytes"


def test_a_file_that_was_never_admitted_is_refused(world, admitted):
    (admitted / "modeling_evil.py").write_text("x = 1\n")
    assert refused(world, admitted) == "files.extra"


def test_a_link_to_a_folder_is_refused(world, admitted, tmp_path):
    (admitted / "more").symlink_to(tmp_path)
    assert refused(world, admitted) == "files.extra"


def test_a_missing_file_is_refused(world, admitted):
    (admitted / "config.json").unlink()
    assert refused(world, admitted) == "files.missing"


def test_a_link_in_the_place_of_a_file_is_not_followed(world, admitted, tmp_path):
    path = admitted / "config.json"
    elsewhere = tmp_path / "same.json"
    shutil.copyfile(path, elsewhere)
    path.unlink()
    path.symlink_to(elsewhere)
    assert refused(world, admitted) == "file.bytes"


def test_a_fifo_in_the_place_of_a_file_does_not_hang(world, admitted):
    path = admitted / "config.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises((LoadRefused, Unreadable)):
        loading(world, admitted).read("config.json")


@pytest.mark.parametrize(
    "name", ["admission.sigstore.json", "authority.json", "manifest.json", "registry.json"]
)
def test_missing_evidence_is_refused(world, admitted, name):
    (admitted.parent / "evidence" / name).unlink()
    assert refused(world, admitted) == "evidence.present"


def test_no_evidence_at_all_is_refused(world, admitted):
    shutil.rmtree(admitted.parent / "evidence")
    assert refused(world, admitted) == "evidence.present"


def test_garbage_for_evidence_is_refused_not_a_traceback(world, admitted):
    for name in ("admission.sigstore.json", "authority.json", "manifest.json", "registry.json"):
        path = admitted.parent / "evidence" / name
        before = path.read_bytes()
        for garbage in (b"", b"{}", b"[]", b"null", b"\xff\xfe", before[: len(before) // 2]):
            path.write_bytes(garbage)
            assert refused(world, admitted)
        path.write_bytes(before)
    loading(world, admitted)


def test_another_models_manifest_is_refused(world, admitted):
    other = world.promote(world.ready("other", seed=7.0)).path
    shutil.copyfile(
        other.parent / "evidence" / "manifest.json", admitted.parent / "evidence" / "manifest.json"
    )
    assert refused(world, admitted) == "manifest.admitted"


def test_another_models_whole_evidence_does_not_fit_these_files(world, admitted):
    other = world.promote(world.ready("other", seed=7.0)).path
    shutil.rmtree(admitted.parent / "evidence")
    shutil.copytree(other.parent / "evidence", admitted.parent / "evidence")
    assert refused(world, admitted) == "file.bytes"


def test_an_expired_admission_is_refused_until_it_is_renewed(world, admitted):
    world.hand.pass_(hours=25)
    assert refused(world, admitted) == "admission.expired"
    assert admit(world.registry, loading_digest(world)).decision.allow
    loading(world, admitted)


def loading_digest(world):
    return world.manifest(world.folder / "encoder").digest


def test_an_admission_from_the_future_is_refused(world, admitted):
    world.hand.pass_(hours=-2)
    assert refused(world, admitted)


def test_an_admission_signed_by_anybody_else_is_refused(world, admitted):
    from weighbridge.core.statement import Statement
    from weighbridge.trust.bundle import Bundle
    from weighbridge.trust.seal import log_and_seal, sign_statement

    path = admitted.parent / "evidence" / "admission.sigstore.json"
    bundle = Bundle.from_json(path.read_bytes())
    statement = Statement.decode(bundle.envelope.payload)
    for signer, check in (
        (world.secret("owner"), "identity.role"),
        (world.registry.intake_key, "identity.role"),
    ):
        envelope = sign_statement(statement, signer)
        forged = log_and_seal(
            envelope,
            signer.public_pem,
            world.registry.log,
            log_signer=world.registry.log_key,
            now=world.hand.now(),
        )
        path.write_bytes(forged.to_json())
        assert refused(world, admitted) == check


def test_an_admission_that_was_never_logged_is_refused(world, admitted):
    from weighbridge.trust.bundle import Bundle

    path = admitted.parent / "evidence" / "admission.sigstore.json"
    bundle = Bundle.from_json(path.read_bytes())
    path.write_bytes(Bundle(bundle.envelope, bundle.key).to_json())
    assert refused(world, admitted) == "evidence.logs"


def test_an_older_authority_than_the_pin_knows_is_refused(world, admitted):
    old = (admitted.parent / "evidence" / "authority.json").read_bytes()
    world.person("somebody", "evaluate")
    (admitted.parent / "evidence" / "authority.json").write_bytes(old)
    assert refused(world, admitted) == "authority.rollback"


def test_an_expired_authority_is_refused(world, admitted):
    world.reopen(admission_hours=24 * 1000)
    admit(world.registry, loading_digest(world))
    world.hand.pass_(days=366)
    assert refused(world, admitted) == "authority.expired"


def test_the_project_can_be_demanded(world, admitted):
    assert loading(world, admitted, project="default")
    assert refused(world, admitted, project="medical") == "admission.project"


def test_an_unpinned_registry_is_not_believed(world, admitted, tmp_path):
    stranger = {**world.environ, "WEIGHBRIDGE_CONFIG_HOME": str(tmp_path / "nobody")}
    with pytest.raises(RegistryUnusable) as caught:
        load(admitted, clock=world.hand, environ=stranger)
    assert caught.value.check == "registry.pinned"


def test_another_root_key_is_not_believed(world, admitted, tmp_path):
    second = World(tmp_path / "second", anew=True)
    pin = world.home / "pins" / f"{world.registry.id}.json"
    value = json.loads(pin.read_bytes())
    value["roots"] = [second.secret("root").public_pem]
    pin.write_bytes(canonical(value))
    second.registry.close()
    assert refused(world, admitted) == "authority.signature"


def test_a_path_without_a_model_is_not_found(world, tmp_path):
    with pytest.raises(NotFound):
        loading(world, tmp_path / "nowhere")


def test_a_file_that_is_not_in_the_manifest_is_not_found(world, admitted):
    with pytest.raises(NotFound):
        loading(world, admitted).read("../evidence/manifest.json")


def test_each_file_is_parsed_only_after_its_digest_fits(world, admitted, monkeypatch):
    import weighbridge.loader.load as module

    path = writable(admitted / "model.safetensors")
    path.write_bytes(b"\xff" * path.stat().st_size)
    parsed = []
    monkeypatch.setattr(module, "parse_header", lambda *arguments: parsed.append(arguments))
    assert refused(world, admitted) == "file.bytes"
    assert parsed == []


def test_a_swap_after_the_check_changes_nothing(world, admitted):
    model = loading(world, admitted)
    walk = model.tensors()
    name, first = next(walk)
    path = writable(admitted / "model.safetensors")
    path.write_bytes(safetensors({"weight": [9.0, 9.0, 9.0, 9.0]}))
    assert first.tolist() == [1, 2, 3, 4]
    assert name == "weight"
    with pytest.raises(LoadRefused):
        dict(model.tensors())


def test_types_that_numpy_lacks_are_said_to_be_raw(world, tmp_path):
    import struct

    world.team()
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    header += b" " * (-len(header) % 8)
    folder = world.model("bf16")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\x80\x3f\x00\x40")
    dataset = world.dataset()
    world.say_data(dataset, world.people["data-team"])
    world.say_train(folder, world.people["train-team"], data=[dataset])
    world.say_evaluate(folder, world.people["evaluate-team"])
    world.say_package(folder, world.people["package-team"])
    world.take(folder)
    model = loading(world, world.promote(folder).path)
    assert dict(model.tensors())["w"].tolist() == [0x3F80, 0x4000]
    assert model.dtypes() == {"w": "BF16"}


def test_cannot_tell_is_an_error_of_its_own(world, admitted, monkeypatch):
    import weighbridge.loader.load as module

    monkeypatch.setattr(module, "NUMPY_TYPES", {})
    monkeypatch.setattr(module, "RAW_TYPES", {})
    with pytest.raises(CannotTell):
        dict(loading(world, admitted).tensors())
