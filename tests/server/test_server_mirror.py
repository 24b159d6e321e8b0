"""The hub's addresses over the trusted tier: what is handed out, and each kind of refusal."""

import hashlib
import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import sqlalchemy as sa
from handing_house import COMMIT, World, accepted, anybody_may_read, counter, flip, granted, take_as_hub

from weighbridge.gate.promote import promote
from weighbridge.gate.revoke import revoke
from weighbridge.registry import intake, jobs
from weighbridge.store import schema
from world_house import safetensors


def decisions_of(world, digest):
    """Return how many decisions were made about a model."""
    query = sa.select(sa.func.count()).where(schema.decision.c.manifest == str(digest))
    with world.registry.records.read() as connection:
        return connection.execute(query).scalar()


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    anybody_may_read(made)
    yield made
    made.registry.close()


def test_an_admitted_model_is_handed_out(world):
    folder = world.model()
    accepted(world, folder)
    with counter(world) as served:
        info = served.get("/api/models/org/model").json()
        assert (info["id"], info["sha"], info["gated"]) == ("org/model", COMMIT, False)
        assert {row["rfilename"] for row in info["siblings"]} == {
            "README.md",
            "config.json",
            "model.safetensors",
        }
        assert served.get("/api/models/org/model/revision/main").json() == info
        assert served.get(f"/api/models/org/model/revision/{COMMIT}").json() == info
        rows = served.get("/api/models/org/model/tree/main?recursive=true&expand=false").json()
        assert {row["path"]: row["lfs"]["oid"] for row in rows} == {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
        }
        data = (folder / "config.json").read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        for revision in ("main", COMMIT):
            reply = served.get(f"/org/model/resolve/{revision}/config.json")
            assert (reply.status_code, reply.content) == (200, data)
            assert reply.headers["x-repo-commit"] == COMMIT
            assert reply.headers["etag"] == reply.headers["x-linked-etag"] == f'"{digest}"'
            assert reply.headers["x-linked-size"] == reply.headers["content-length"] == str(len(data))
            assert reply.headers["accept-ranges"] == "bytes"
        looked = served.head("/org/model/resolve/main/config.json")
        assert (looked.status_code, looked.content, looked.headers["content-length"]) == (
            200,
            b"",
            str(len(data)),
        )


def refusal(reply, status, code):
    """Return the sentence of a refusal that unmodified clients show."""
    assert (reply.status_code, reply.headers["x-error-code"]) == (status, code)
    assert reply.json()["error"] == reply.headers["x-error-message"]
    return reply.headers["x-error-message"]


def test_what_the_gate_refused_is_refused_with_its_reason(world):
    folder = world.files("bad", pytorch_model__bin=b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.")
    model = take_as_hub(world, folder)
    with counter(world) as served:
        said = refusal(served.get("/org/model/resolve/main/pytorch_model.bin"), 403, "GatedRepo")
        assert "not promoted yet" in said
        assert f"weighbridge promote {model.digest.short}" in said
        decision = promote(world.registry, model.digest)
        for path in ("/api/models/org/model", "/api/models/org/model/tree/main", "/org/model/resolve/main/x"):
            said = refusal(served.get(path), 403, "GatedRepo")
            assert "scan.verdict: dangerous: pytorch_model.bin" in said
            assert "help: weighbridge rule pickle-call" in said
            assert f"decision {str(decision.id)[:19]}" in said
            assert f"weighbridge decisions {model.digest.short}" in said
        assert served.head("/org/model/resolve/main/x").headers["x-error-message"] == said


def test_what_is_not_here_is_told_apart(world):
    accepted(world, world.model())
    with counter(world) as served:
        refusal(served.get("/api/models/org/other"), 404, "RepoNotFound")
        refusal(served.get("/org/model/resolve/v9/config.json"), 404, "RevisionNotFound")
        refusal(served.get("/org/model/resolve/main/nothing.json"), 404, "EntryNotFound")
        refusal(served.get("/api/models/org/model/tree/main/nowhere"), 404, "EntryNotFound")


def test_a_revoked_model_is_refused_at_once_with_the_reason(world):
    folder = world.model()
    model = accepted(world, folder)
    key = world.person("security", "revoke")
    with counter(world) as served:
        assert served.get("/org/model/resolve/main/config.json").status_code == 200
        revoke(world.registry, model.digest, reason="it phones home: Größe 模型", signer=key)
        said = refusal(served.get("/org/model/resolve/main/config.json"), 403, "GatedRepo")
        assert "this model is revoked" in said
        assert "it phones home: Gro?e ??" in said


def test_an_admission_that_ended_is_asked_for_again(world):
    model = accepted(world, world.model())
    with counter(world) as served:
        assert served.get("/org/model/resolve/main/config.json").status_code == 200
        before = decisions_of(world, model.digest)
        world.hand.pass_(hours=30)
        assert served.get("/org/model/resolve/main/config.json").status_code == 200
        assert decisions_of(world, model.digest) == before + 1
        world.hand.pass_(days=31)  # the acceptance of its origin has ended
        said = refusal(served.get("/org/model/resolve/main/config.json"), 403, "GatedRepo")
        assert "origin.accepted" in said
        assert decisions_of(world, model.digest) == before + 2
        refusal(served.get("/org/model/resolve/main/README.md"), 403, "GatedRepo")
        assert decisions_of(world, model.digest) == before + 2, "a refusal is repeated, not decided each time"


def test_records_that_were_changed_hand_out_nothing(world):
    folder = world.files("bad", pytorch_model__bin=b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.")
    take_as_hub(world, folder)
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("UPDATE model SET tier='trusted'")
    with counter(world) as served:
        said = refusal(served.get("/org/model/resolve/main/pytorch_model.bin"), 403, "GatedRepo")
        assert "not what this program wrote [records.tally]" in said
    with world.registry.records.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM alert WHERE kind='tampering'").scalar() == 1


def test_a_flipped_byte_is_never_handed_out(world):
    folder = world.model()
    data = (folder / "model.safetensors").read_bytes()
    model = accepted(world, folder)
    entry = model.manifest.entry("model.safetensors")
    with counter(world) as served:
        flip(world, entry.sha256, len(data) - 1)
        said = refusal(served.get("/org/model/resolve/main/model.safetensors"), 403, "GatedRepo")
        assert "is not what was admitted [blob.digest]" in said
        part = served.get("/org/model/resolve/main/model.safetensors", Range="bytes=0-3")
        refusal(part, 403, "GatedRepo")
        assert served.get("/org/model/resolve/main/config.json").status_code == 200
        flip(world, entry.sha256, len(data) - 1)
        assert served.get("/org/model/resolve/main/model.safetensors").content == data
        flip(world, entry.sha256, 3)
        assert served.get("/org/model/resolve/main/model.safetensors").content == data, "from verified memory"
    with world.registry.records.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM alert WHERE kind='tampering'").scalar() == 1


def test_parts_of_files(world):
    folder = world.model()
    data = (folder / "config.json").read_bytes()
    accepted(world, folder)
    with counter(world) as served:
        path = "/org/model/resolve/main/config.json"
        tag = served.head(path).headers["etag"]
        for asked, first, last in (
            ("bytes=0-0", 0, 0),
            ("bytes=5-", 5, len(data) - 1),
            ("bytes=-4", len(data) - 4, len(data) - 1),
            (f"bytes=2-{'9' * 900}", 2, len(data) - 1),
        ):
            reply = served.get(path, Range=asked)
            assert (reply.status_code, reply.content) == (206, data[first : last + 1])
            assert reply.headers["content-range"] == f"bytes {first}-{last}/{len(data)}"
        for asked in ("bytes=999-", "bytes=-0", "bytes=0-1,3-4", f"bytes={'0-1,' * 2000}3-4"):
            reply = served.get(path, Range=asked)
            assert (reply.status_code, reply.headers["content-range"]) == (416, f"bytes */{len(data)}")
        for asked in ("bytes=-", "bytes=5-2", "lines=1-2", "bytes=a-b"):
            assert served.get(path, Range=asked).status_code == 200
        assert served.get(path, Range="bytes=0-1", **{"If-Range": '"another"'}).content == data
        assert served.get(path, Range="bytes=0-1", **{"If-Range": tag}).content == data[:2]
        kept = served.get(path, **{"If-None-Match": f'"x", {tag}'})
        assert (kept.status_code, kept.content) == (304, b"")


def test_who_may_not_read_gets_nothing(tmp_path):
    world = World(tmp_path)
    accepted(world, world.model())
    reader = granted(world, "ci", project="default")
    stranger = granted(world, "other", project="elsewhere")
    with counter(world) as served:
        path = "/org/model/resolve/main/config.json"
        assert served.get(path, Authorization=f"Bearer {reader}").status_code == 200
        assert "access grant" in refusal(served.get(path), 403, "GatedRepo")
        refusal(served.get(path, Authorization=f"Bearer {stranger}"), 403, "GatedRepo")
        refusal(served.get(path, Authorization="Bearer wb_nobody"), 401, "GatedRepo")
        refusal(served.get(path, Authorization="Basic eDp5"), 401, "GatedRepo")
        missing = served.get("/org/none/resolve/main/x")
        assert missing.headers["x-error-code"] == "GatedRepo", "a stranger does not learn what is here"
    world.registry.close()


def test_a_miss_queues_an_intake(world):
    world.reopen(mirror_pull=True)
    with counter(world) as served:
        reply = served.get("/their/model/resolve/main/config.json")
        said = refusal(reply, 403, "GatedRepo")
        job = said.partition("/api/jobs/")[2].split()[0]
        assert "pending, job" in said
        assert int(reply.headers["retry-after"]) > 0
        assert reply.headers["link"] == f'</api/jobs/{job}>; rel="status"'
        shown = served.get(f"/api/jobs/{job}").json()
        assert (shown["kind"], shown["state"]) == ("intake", "queued")
        assert shown["subject"] == {"reference": "hf://their/model"}
        again = refusal(served.get("/api/models/their/model"), 403, "GatedRepo")
        assert f"/api/jobs/{job}" in again, "asked twice, queued once"
        refusal(served.get("/api/jobs/feed"), 404, "EntryNotFound")
        refusal(served.get("/../etc/resolve/main/passwd"), 404, "RepoNotFound")
        assert len(jobs.every(world.registry)) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/org/model/resolve/main/../../../../etc/passwd",
        "/org/model/resolve/main/%2e%2e/%2e%2e/etc/passwd",
        "/org/model/resolve/main/..%2f..%2fetc%2fpasswd",
        "/org/model/resolve/main//etc/passwd",
        "/org%2Fmodel%2Fresolve%2Fmain%2F..%2F..%2Fx/resolve/main/config.json",
        "/org/model/resolve/main/config.json%00",
        "/org/model/resolve/main/config.json/",
        "/org/model/resolve/%0d%0aSet-Cookie:x/config.json",
        "/api/models/org/model/tree/main/..%2f..",
        "/org/%F0%9F%92%A9%0d%0aX-Evil:1/resolve/main/config.json",
    ],
)
def test_no_path_leads_elsewhere(world, path):
    accepted(world, world.model())
    with (
        counter(world) as served,
        socket.create_connection(("127.0.0.1", int(served.url[-5:].strip(":/")))) as raw,
    ):
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: raw.recv(65536), b"")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404")
        names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
        assert not names & {b"set-cookie", b"x-evil"}
        assert b"root:" not in body


def test_a_name_is_a_repository_too(world):
    first = accepted(world, world.model("one", 1.0), name="encoder")
    with counter(world) as served:
        for repository in ("encoder", "default/encoder"):
            assert served.get(f"/api/models/{repository}").json()["tags"] == [f"weighbridge:{first.digest}"]
        second = accepted(world, world.model("two", 2.0), "org/two", "a" * 40, name="encoder")
        assert served.get("/api/models/encoder").json()["tags"] == [f"weighbridge:{second.digest}"]
        old = served.get(f"/api/models/encoder/revision/{first.digest}")
        assert old.json()["tags"] == [f"weighbridge:{first.digest}"]
        short = served.get(f"/api/models/encoder/revision/{first.digest.hex[:40]}")
        assert short.json()["tags"] == [f"weighbridge:{first.digest}"]


def test_main_is_the_newest_that_is_admitted(world):
    first = accepted(world, world.model("one", 1.0))
    world.hand.pass_(hours=1)
    second = take_as_hub(world, world.model("two", 2.0), commit="b" * 40)
    with counter(world) as served:
        assert served.get("/api/models/org/model").json()["sha"] == COMMIT
        refusal(served.get(f"/api/models/org/model/revision/{'b' * 40}"), 403, "GatedRepo")
        intake.accept(world.registry, second, world.acceptance())
        assert promote(world.registry, second.digest).decision.allow
        assert served.get("/api/models/org/model").json()["sha"] == "b" * 40
        assert served.get(f"/api/models/org/model/revision/{COMMIT}").json()["sha"] == COMMIT
        key = world.person("security", "revoke")
        revoke(world.registry, second.digest, reason="withdrawn", signer=key)
        assert served.get("/api/models/org/model").json()["sha"] == COMMIT
    assert first.digest != second.digest


def test_a_long_list_comes_in_pages(world):
    folder = world.files("many", **{f"part/{number:04}.txt": f"{number}" for number in range(2500)})
    (folder / "model.safetensors").write_bytes(safetensors({"weight": [1.0]}))
    (folder / "README.md").write_text("---\nlicense: mit\n---\nMany.\n")
    accepted(world, folder)
    with counter(world) as served:
        found, url = [], f"{served.url}/api/models/org/model/tree/main?recursive=true"
        while url:
            reply = served.client.get(url)
            found += reply.json()
            url = reply.links.get("next", {}).get("url")
        assert len([row for row in found if row["type"] == "file"]) == 2502
        assert [row["path"] for row in found if row["type"] == "directory"] == ["part"]
        top = served.get("/api/models/org/model/tree/main").json()
        assert [row["path"] for row in top] == ["README.md", "model.safetensors", "part"]
        below = served.get("/api/models/org/model/tree/main/part?limit=7").json()
        assert [row["path"] for row in below] == [f"part/{number:04}.txt" for number in range(7)]
        asked = {"paths": ["part", "README.md", "none"], "expand": False}
        told = served.client.post(f"{served.url}/api/models/org/model/paths-info/main", json=asked).json()
        assert [row["path"] for row in told] == ["part", "README.md"]
        for body in (b"{", b'{"paths": 7}', b"[" * 100_000):
            bad = served.client.post(
                f"{served.url}/api/models/org/model/paths-info/main",
                content=body,
                headers={"Content-Type": "application/json"},
            )
            assert bad.status_code == 400
