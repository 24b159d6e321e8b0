"""Models taken in where they lie: read once, never copied, hashed again at each use, and the checks say so."""

import hashlib
import os

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Refused, VerificationFailed
from weighbridge.core.tier import Origin
from weighbridge.gate.evidence import weigh
from weighbridge.gate.promote import admit, promote
from weighbridge.registry import fsck, in_place, intake, models
from weighbridge.source.local import open_folder
from world_house import World


class InPlace(World):
    """A house whose models are taken in where they lie."""

    def take(self, folder, **options):
        return in_place.take_folder_in_place(self.registry, folder, **options)


@pytest.fixture
def world(tmp_path):
    made = InPlace(tmp_path)
    yield made
    made.registry.close()


def taken(world, name="chat"):
    """Return a folder that was taken in where it lies, and the model."""
    folder = world.model(name)
    return folder, world.take(folder)


def kept(world):
    return set(world.registry.blobs.digests())


def test_nothing_is_copied_and_everything_can_be_read(world):
    before = kept(world)
    folder, model = taken(world)
    assert kept(world) == before
    for entry in model.manifest.files:
        blobs = world.registry.blobs
        assert (blobs.has(entry.sha256), blobs.verify(entry.sha256), blobs.size(entry.sha256)) == (
            True,
            True,
            entry.size,
        )
        assert blobs.local(entry.sha256) == folder / entry.path
        with models.open_blob(world.registry, entry) as stream:
            assert Digest.of(stream.read()) == entry.sha256
        assert blobs.read(entry.sha256, 1, 3) == (folder / entry.path).read_bytes()[1:4]
        assert "keeps no versions: hashed again at each use" in blobs.note(entry.sha256)
    assert fsck.blobs(world.registry) == []
    assert model.source["in_place"] is True


def test_the_same_model_has_the_same_identity_however_it_is_taken_in(world):
    folder, model = taken(world)
    copied = intake.take_folder(world.registry, folder)
    assert copied.digest == model.digest
    assert {entry.sha256 for entry in model.manifest.files} <= kept(world)
    assert {world.registry.blobs.note(entry.sha256) for entry in model.manifest.files} == {""}


def test_the_checks_say_that_it_can_change(world):
    _, model = taken(world)
    fact = weigh(world.registry, model.manifest)
    assert fact.outcome.value == "pass"
    assert "without versions: they may change at any time and are hashed again at each use" in fact.found


def test_a_model_in_place_goes_the_whole_way_and_a_changed_byte_stops_it(world):
    folder = world.ready("team")
    digest = world.manifest(folder).digest
    result = promote(world.registry, digest)
    assert result.decision.exit_code == 0, result.decision
    assert any("hashed again at each use" in check.found for check in result.decision.checks)
    assert admit(world.registry, digest).decision.exit_code == 0
    weights = folder / "model.safetensors"
    info = weights.stat()
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x77")
    os.utime(weights, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert admit(world.registry, digest).decision.exit_code != 0


@pytest.mark.parametrize("change", ["byte", "gone", "link", "other"])
def test_what_is_no_longer_there_is_never_handed_out(world, change):
    folder, model = taken(world)
    entry = model.manifest.entry("model.safetensors")
    path = folder / entry.path
    if change == "byte":
        path.write_bytes(path.read_bytes()[:-1] + b"\x77")
    elif change == "gone":
        path.unlink()
    elif change == "link":
        path.rename(folder.parent / "elsewhere")
        path.symlink_to(folder.parent / "elsewhere")
    else:
        path.unlink()
        path.write_bytes(b"x" * entry.size)
    expected = VerificationFailed if change in ("byte", "other") else Exception
    for call in (world.registry.blobs.local, world.registry.blobs.open_local):
        with pytest.raises(expected) as caught:
            call(entry.sha256)
        assert caught.value.remedy
    assert weigh(world.registry, model.manifest).outcome.value != "pass"
    assert len(fsck.blobs(world.registry)) == 1


def test_a_byte_that_changes_between_two_uses_is_seen_although_it_was_good_before(world):
    folder, model = taken(world)
    entry = model.manifest.entry("model.safetensors")
    world.registry.blobs.local(entry.sha256)
    path = folder / entry.path
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x77")
    with pytest.raises(VerificationFailed):
        world.registry.blobs.local(entry.sha256)


def test_the_hub_clients_cache_is_read_in_place(world, tmp_path):
    repository = tmp_path / "hub" / "models--org--name"
    snapshot = repository / "snapshots" / ("ab" * 20)
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    data = (world.model("source") / "model.safetensors").read_bytes()
    for name, content in {"model.safetensors": data, "config.json": b"{}"}.items():
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{blob.name}")
    before = kept(world)
    model = in_place.take_folder_in_place(world.registry, snapshot)
    assert kept(world) == before
    where = world.registry.blobs.local(Digest.of(data))
    assert where == repository / "blobs" / Digest.of(data).hex
    assert model.source["repository"] == "org/name"
    where.write_bytes(data[:-1] + b"\x77")
    with pytest.raises(VerificationFailed):
        world.registry.blobs.local(Digest.of(data))


def test_each_byte_is_read_once(world):
    folder = world.model("once")
    counted = {}
    with open_folder(folder) as tree:
        placed = in_place._OnDisk(tree, folder)
        files = placed.files()

        class Counting:
            model_hint, origin = placed.model_hint, placed.origin
            settle, close, address = placed.settle, placed.close, placed.address

            @staticmethod
            def files():
                from dataclasses import replace

                return [replace(file, opener=counting(file)) for file in files]

        def counting(file):
            def opened():
                stream = file.open()
                read = stream.read

                class Stream:
                    def read(self, size=-1):
                        data = read(size)
                        counted[file.path] = counted.get(file.path, 0) + len(data)
                        return data

                    def fileno(self):
                        return stream.fileno()

                    def __enter__(self):
                        return self

                    def __exit__(self, *_):
                        stream.close()

                return Stream()

            return opened

        model = in_place.take_in_place(world.registry, Counting(), origin=Origin.OWN)
    assert counted == {entry.path: entry.size for entry in model.manifest.files}


def test_a_source_without_addresses_is_refused(world):
    with open_folder(world.model("chat")) as tree, pytest.raises(Refused) as caught:
        in_place.take_in_place(world.registry, tree, origin=Origin.OWN)
    assert caught.value.check == "in-place.address"


def test_what_nobody_knows_is_not_found(world):
    with pytest.raises(NotFound):
        world.registry.blobs.open(Digest.of(b"nobody"))
    assert not world.registry.blobs.has(Digest.of(b"nobody"))
