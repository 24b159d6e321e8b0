"""Pushing to a registry that knows no referrers (Debian's): what oras and our own intake get back, and when nothing is tagged."""

import json
import os
import random
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from hashlib import sha256
from itertools import count

import pytest

from weighbridge.cli.main import run
from weighbridge.core.errors import Refused, VerificationFailed
from weighbridge.core.reference import parse_reference
from weighbridge.gate import pushing
from weighbridge.gate.revoke import revoke
from weighbridge.registry.intake import take
from weighbridge.store import oci
from weighbridge.store.oci_session import Session
from world_house import World
from world_oci import PROGRAM, registry

pytestmark = pytest.mark.full
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MIB = 1024 * 1024
SERIAL = count()


@pytest.fixture(scope="module")
def server():
    assert PROGRAM, "docker-registry is not installed: .ci/run installs it"
    with registry() as started:
        yield started


@pytest.fixture
def place(server):
    return f"{server[0]}/org/pushed-{next(SERIAL)}"


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def folder(world):
    made = world.ready()
    assert world.promote(made, name="encoder").decision.allow
    return made


def push(world, folder, place, **more):
    target = parse_reference(f"oci://{place}")
    return pushing.push(world.registry, world.manifest(folder).digest, target, environ={}, **more)


def get(place, what, kind="*/*"):
    host, _, repository = place.partition("/")
    request = urllib.request.Request(f"http://{host}/v2/{repository}/{what}", headers={"Accept": kind})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


def tags(place):
    try:
        return sorted(json.loads(get(place, "tags/list"))["tags"] or ())
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return []


def test_oras_pulls_what_was_pushed_and_what_refers_to_it(world, folder, place, tmp_path):
    done = push(world, folder, f"{place}:v1")
    assert done.listed == "fallback tag"
    program = f"""
import json, oras.client
client = oras.client.OrasClient(hostname={place.partition("/")[0]!r}, insecure=True)
got = client.pull(target={f"{place}:v1"!r}, outdir={str(tmp_path / "got")!r})
index = client.get_manifest({f"{place}:{done.manifest.replace(':', '-')}"!r}, allowed_media_type=[{INDEX!r}])
for row in index["manifests"]:
    client.pull(target={place!r} + "@" + row["digest"], outdir={str(tmp_path)!r} + "/about/" + row["digest"][7:19])
print(json.dumps([len(got), [row["artifactType"] for row in index["manifests"]]]))
"""
    home = tmp_path / "home"
    home.mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    number, kinds = json.loads(ended.stdout.splitlines()[-1])
    assert number == 3
    for path in folder.iterdir():
        assert (tmp_path / "got" / path.name).read_bytes() == path.read_bytes()
    assert kinds.count("application/vnd.cyclonedx+json") == 1
    claims = [json.loads(path.read_bytes()) for path in (tmp_path / "about").rglob("claim.sigstore.json")]
    assert len(claims) == kinds.count("application/vnd.dev.sigstore.bundle.v0.3+json") >= 5
    assert all(claim["dsseEnvelope"]["signatures"] for claim in claims)
    [bom] = (tmp_path / "about").rglob("bom.cdx.json")
    assert json.loads(bom.read_bytes())["bomFormat"] == "CycloneDX"


def test_another_registry_takes_the_same_model_in_by_its_digest(world, folder, place, tmp_path):
    done = push(world, folder, place)
    other = World(tmp_path / "other", anew=True)
    taken = take(other.registry, done.pinned)
    assert taken.digest == world.manifest(folder).digest
    assert taken.source["matches_announced"] is True
    assert taken.source["version"] == done.manifest
    other.registry.close()


def test_it_is_the_artifact_that_the_front_serves_and_the_same_everywhere(world, folder, place):
    model = world.kept(folder)
    artifact = pushing.describe(world.registry, model, "encoder")
    assert artifact.repository == "encoder"
    done = push(world, folder, f"{place}:v1", name="encoder")
    assert done.manifest == artifact.manifest.digest
    assert get(place, "manifests/v1", MANIFEST) == artifact.manifest.data
    assert push(world, folder, f"{place}-b:v1").manifest == done.manifest
    rows = json.loads(get(place, f"manifests/{done.manifest.replace(':', '-')}", INDEX))["manifests"]
    assert [row["digest"] for row in rows] == [row["digest"] for _, _, row in artifact.referrers]


def test_what_is_there_is_not_sent_again(world, folder, place):
    first = push(world, folder, f"{place}:v1")
    assert all(part.sent for part in first.parts)
    again = push(world, folder, f"{place}:v1")
    assert not any(part.sent for part in again.parts)
    assert (again.before, again.manifest) == (first.manifest, first.manifest)
    assert push(world, folder, f"{place}:v2").before == ""
    assert tags(place) == sorted([first.manifest.replace(":", "-"), "v1", "v2"])


def test_a_dry_run_sends_nothing(world, folder, place):
    planned = push(world, folder, f"{place}:v1", dry=True)
    assert tags(place) == []
    with pytest.raises(urllib.error.HTTPError):
        get(place, f"blobs/{world.manifest(folder).files[0].sha256}")
    done = push(world, folder, f"{place}:v1")
    assert [(part.digest, part.sent) for part in planned.parts] == [
        (part.digest, part.sent) for part in done.parts
    ]
    assert not any(part.sent for part in push(world, folder, f"{place}:v1", dry=True).parts)


def test_what_others_listed_under_the_fallback_tag_stays(world, folder, place):
    done = push(world, folder, f"{place}:v1")
    host, _, repository = place.partition("/")
    tag = done.manifest.replace(":", "-")
    mine = json.loads(get(place, f"manifests/{tag}", INDEX))
    foreign = {**mine["manifests"].pop(), "annotations": {"theirs": "yes"}}
    lost = {row["digest"] for row in mine["manifests"]}
    body = json.dumps({**mine, "manifests": [foreign], "annotations": {"kept": "too"}}).encode()
    request = urllib.request.Request(
        f"http://{host}/v2/{repository}/manifests/{tag}", body, {"Content-Type": INDEX}, method="PUT"
    )
    urllib.request.urlopen(request, timeout=10).close()
    push(world, folder, f"{place}:v1")
    index = json.loads(get(place, f"manifests/{tag}", INDEX))
    assert index["annotations"] == {"kept": "too"}
    assert index["manifests"][0] == foreign
    assert {row["digest"] for row in index["manifests"][1:]} == lost


def test_something_else_under_the_fallback_tag_is_not_overwritten(world, folder, place):
    done = push(world, folder, f"{place}:v1")
    host, _, repository = place.partition("/")
    tag = done.manifest.replace(":", "-")
    body = get(place, "manifests/v1", MANIFEST)
    url = f"http://{host}/v2/{repository}/manifests/{tag}"
    request = urllib.request.Request(url, body, {"Content-Type": MANIFEST}, method="PUT")
    urllib.request.urlopen(request, timeout=10).close()
    with pytest.raises(Refused) as caught:
        push(world, folder, f"{place}:v2")
    assert caught.value.check == "push.fallback"
    assert "v2" not in tags(place)


def test_a_byte_that_changed_in_the_store_stops_it_with_nothing_tagged(world, folder, place):
    entry = world.manifest(folder).files[-1]
    kept = world.registry.blobs.local(entry.sha256)
    data = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(VerificationFailed) as caught:
        push(world, folder, f"{place}:v1")
    assert caught.value.check == "blob.digest"
    assert tags(place) == []
    with pytest.raises(urllib.error.HTTPError):
        get(place, f"blobs/{entry.sha256}")
    with pytest.raises(urllib.error.HTTPError):
        get(place, f"blobs/sha256:{sha256(kept.read_bytes()).hexdigest()}")
    kept.write_bytes(data)
    push(world, folder, f"{place}:v1")
    assert "v1" in tags(place)


def test_a_model_that_is_revoked_on_the_way_gets_no_tag(world, folder, place):
    def withdrawn(_):
        if not told:
            told.append(True)
            revoke(world.registry, world.manifest(folder).digest, reason="found out in between", signer=key)

    told, key = [], world.person("security", "revoke")
    with pytest.raises(Refused, match="revoked"):
        push(world, folder, f"{place}:v1", progress=withdrawn)
    assert told
    assert "v1" not in tags(place)


def test_from_the_command_line(world, folder, place, monkeypatch, capsys):
    for key, value in world.environ.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(world.folder / "registry"))
    digest = str(world.manifest(folder).digest)
    code = run(["push", digest, f"oci://{place}", "--format", "json"])
    [done] = json.loads(capsys.readouterr().out)["pushes"]
    assert (code, done["model"], done["reference"]) == (0, digest, f"oci://{place}:latest")
    assert run(["push", digest, f"oci://{place}", "--dry-run"]) == 0
    assert "0 of" in capsys.readouterr().out
    assert run(["intake", done["pinned"], "--project", "second"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == digest


class CutOff:
    """Stops whoever pushes at the n-th part of a file, as if its process were killed; counts the bytes that were sent."""

    def __init__(self, monkeypatch):
        self.left, self.sent, self._real = 0, 0, Session.ask
        monkeypatch.setattr(oci, "CHUNK", MIB)
        monkeypatch.setattr(
            Session,
            "ask",
            lambda session, *asked, **more: self._ask(session, *asked, **more),  # noqa: PLW0108 (binds the session)
        )

    def _ask(self, session, method, path, **more):
        if method == "PATCH":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            self.sent += len(more["body"])
        return self._real(session, method, path, **more)


@pytest.fixture
def large(world):
    data = random.Random(1).randbytes(8 * MIB)
    head = json.dumps(
        {"weight": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}
    ).encode()
    head += b" " * (-len(head) % 8)
    world.team()
    folder = world.model()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)
    world.model = lambda *_: folder
    folder = world.ready()
    assert world.promote(folder).decision.allow
    return folder


def test_a_push_that_was_cut_off_goes_on_where_it_stopped(world, large, place, monkeypatch):
    cut = CutOff(monkeypatch)
    cut.left = 6
    with pytest.raises(KeyboardInterrupt):
        push(world, large, f"{place}:v1")
    assert tags(place) == []
    assert 3 * MIB < cut.sent < 6 * MIB
    push(world, large, f"{place}:v1")
    assert cut.sent == world.manifest(large).size
    elsewhere = f"{place}-b"
    push(world, large, f"{elsewhere}:v1")
    assert cut.sent == 2 * world.manifest(large).size, "the notes are of one repository"
    assert "v1" in tags(elsewhere)


def test_a_byte_that_changes_where_it_was_sent_already_is_noticed_when_it_goes_on(
    world, large, place, monkeypatch
):
    cut = CutOff(monkeypatch)
    cut.left = 6
    with pytest.raises(KeyboardInterrupt):
        push(world, large, f"{place}:v1")
    entry = world.manifest(large).entry("model.safetensors")
    kept = world.registry.blobs.local(entry.sha256)
    data = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(data[:2000] + bytes([data[2000] ^ 1]) + data[2001:])
    with pytest.raises(VerificationFailed) as caught:
        push(world, large, f"{place}:v1")
    assert caught.value.check == "blob.digest"
    assert tags(place) == []
    kept.write_bytes(data)
    push(world, large, f"{place}:v1")
    assert "v1" in tags(place)
