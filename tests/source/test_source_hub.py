"""A hub spoken to by the unmodified client: what arrives is what was announced, or it is refused."""

import hashlib
import json
import logging
import socket
import threading
import time

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    BadManifest,
    BadReference,
    BadSetting,
    NotFound,
    OutOfBudget,
    Unreachable,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.core.reference import Reference, parse_reference
from weighbridge.source import hub as module
from weighbridge.source.hub import fetch_hub
from weighbridge.source.read import read_tree
from weighbridge.store.files import FileBlobs
from world_hub import Hub

TOKEN = "hf_planted_secret_value"
REPO = "org/model"
WEIGHTS = bytes(range(256)) * 5000
FILES = {
    "README.md": b"# A model\n",
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": WEIGHTS,
    "onnx/model.onnx": WEIGHTS[::-1],
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "empty.txt": b"",
}
LFS = ("model.safetensors", "onnx/model.onnx")


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)  # the client waits between its attempts
    with Hub() as running:
        running.commit = running.add_repo(REPO, FILES, lfs=LFS, tags=["license:apache-2.0", "pytorch"])
        yield running


@pytest.fixture
def fetch(hub, tmp_path):
    def call(reference=f"hf://{REPO}", *, token=None, offline=False, endpoint=None):
        return fetch_hub(
            parse_reference(reference),
            endpoint=endpoint or hub.endpoint,
            token=token,
            cache_dir=tmp_path / "incoming",
            offline=offline,
        )

    return call


@pytest.fixture
def blobs(tmp_path):
    return FileBlobs(tmp_path / "blobs")


def left_behind(tmp_path):
    """Files of the cache that could hold content: everything but the client's locks and its tag."""
    found = (tmp_path / "incoming").rglob("*")
    return [
        p
        for p in found
        if not p.is_dir() and p.suffix != ".lock" and p.name not in ("CACHEDIR.TAG", ".gitignore")
    ]


def kept(blobs):
    return {path.name for path in blobs.root.rglob("*") if path.is_file()}


def resolves(hub):
    return [path for _, path, _ in hub.requests if "/resolve/" in path]


def test_a_repository_is_pinned_read_and_kept(hub, fetch, blobs, tmp_path):
    tree = fetch()
    found = read_tree(tree, blobs).manifest
    assert {e.path: (e.size, e.sha256) for e in found.files} == {
        name: (len(data), Digest.of(data)) for name, data in FILES.items()
    }
    assert dict(tree.origin) == {
        "scheme": "hf",
        "repository": REPO,
        "commit": hub.commit,
        "endpoint": hub.endpoint,
        "requested": "main",
        "license": "apache-2.0",
    }
    assert (tree.repository, tree.commit, tree.model_hint) == (REPO, hub.commit, REPO)
    assert all(blobs.verify(entry.sha256) for entry in found.files)
    assert left_behind(tmp_path) == []


def test_what_was_announced_is_known_before_anything_is_downloaded(hub, fetch):
    announced = {file.path: (file.size, *file.announced) for file in fetch().files()}
    assert announced["model.safetensors"] == (len(WEIGHTS), Digest.of(WEIGHTS))
    blob = hashlib.sha1(b"blob %d\0" % len(FILES["config.json"]) + FILES["config.json"]).hexdigest()
    assert announced["config.json"] == (len(FILES["config.json"]), Digest("sha1", blob))
    assert resolves(hub) == []


def test_only_the_first_request_names_what_was_typed_all_others_the_commit(hub, fetch, blobs):
    read_tree(fetch(f"hf://{REPO}@main"), blobs)
    assert "/revision/main" in hub.requests[0][1]
    assert len(hub.requests) > 10
    assert all(hub.commit in path for _, path, _ in hub.requests[1:])


def test_a_branch_that_moves_meanwhile_changes_nothing(hub, fetch, blobs):
    def move(_, path):
        if "/tree/" in path or "/resolve/" in path:
            hub.before.clear()
            hub.add_repo(REPO, {"model.safetensors": b"another model"})

    hub.before.append(move)
    tree = fetch()
    found = read_tree(tree, blobs).manifest
    assert tree.commit == hub.commit != hub.repos[REPO].refs["main"]
    assert found.entry("model.safetensors").sha256 == Digest.of(WEIGHTS)


@pytest.mark.parametrize("how", ["commit", "tag", "slash"])
def test_a_revision_may_be_a_commit_a_tag_or_a_branch_with_slashes(hub, fetch, how):
    hub.add_repo(REPO, {"x": b"newer"})
    hub.repos[REPO].refs |= {"v1.0": hub.commit, "feature": hub.commit}
    assert (
        fetch(f"hf://{REPO}@" + {"commit": hub.commit, "tag": "v1.0", "slash": "feature"}[how]).commit
        == hub.commit
    )


def test_a_repository_without_an_owner_works(hub, fetch):
    commit = hub.add_repo("gpt2", {"config.json": b"{}"})
    assert fetch("hf://gpt2").commit == commit


def test_the_hubs_own_metadata_and_git_are_excluded(hub, fetch, blobs):
    hub.add_repo("org/odd", {"a": b"1", ".cache/huggingface/x": b"2", "sub/.git/config": b"3"})
    assert [e.path for e in read_tree(fetch("hf://org/odd"), blobs).manifest.files] == ["a"]


def test_an_interrupted_or_second_pull_fetches_no_large_file_again(hub, fetch, blobs):
    first = read_tree(fetch(), blobs)
    hub.requests.clear()
    assert read_tree(fetch(), blobs) == first
    assert not any(name in path for name in LFS for path in resolves(hub))


# What a hub can lie about ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "onnx/model.onnx"])
@pytest.mark.parametrize("at", [0, -1])
def test_a_flipped_bit_is_refused_and_not_kept(hub, fetch, blobs, tmp_path, name, at):
    hub.flip(REPO, name, at)
    with pytest.raises(VerificationFailed) as caught:
        read_tree(fetch(), blobs)
    assert caught.value.check == "source.announced"
    assert name in caught.value.problem
    assert hashlib.sha256(hub.served[REPO, name]).hexdigest() not in kept(blobs)
    assert left_behind(tmp_path) == []


def test_after_a_bad_transfer_the_next_try_is_a_fresh_one(hub, fetch, blobs):
    hub.flip(REPO, "model.safetensors")
    with pytest.raises(VerificationFailed):
        read_tree(fetch(), blobs)
    hub.served.clear()
    assert read_tree(fetch(), blobs).manifest.entry("model.safetensors").sha256 == Digest.of(WEIGHTS)


@pytest.mark.parametrize("data", [b"", WEIGHTS[:-1], WEIGHTS + b"x", WEIGHTS * 2])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_another_size_than_announced_is_never_kept(hub, fetch, blobs, tmp_path, name, data):
    hub.served[REPO, name] = data
    with pytest.raises((VerificationFailed, Unreachable)):
        read_tree(fetch(), blobs)
    assert hashlib.sha256(data).hexdigest() not in kept(blobs) - {Digest.of(b"").hex}
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("length", [0, 1, 100_000])
def test_a_transfer_that_breaks_off_is_unreachable_and_leaves_nothing(hub, fetch, blobs, tmp_path, length):
    hub.cut[REPO, "model.safetensors"] = length
    with pytest.raises(Unreachable) as caught:
        read_tree(fetch(), blobs)
    assert "broke off" in caught.value.cause
    assert caught.value.remedy
    assert left_behind(tmp_path) == []


def test_a_wrong_announcement_is_refused(hub, fetch, blobs):
    hub.announce(REPO, "model.safetensors", lfs={"oid": "ab" * 32, "size": len(WEIGHTS), "pointerSize": 134})
    with pytest.raises(VerificationFailed):
        read_tree(fetch(), blobs)
    hub.announce(
        REPO, "model.safetensors", lfs={"oid": Digest.of(WEIGHTS).hex, "size": 3, "pointerSize": 134}
    )
    with pytest.raises((VerificationFailed, Unreachable)):
        read_tree(fetch(), blobs)


@pytest.mark.parametrize("oid", ["", "xyz", "../../../../tmp/x", "A" * 40, 7])
def test_an_announcement_that_is_no_digest_is_refused(hub, fetch, oid):
    hub.announce(REPO, "config.json", oid=oid)
    with pytest.raises((VerificationFailed, Unreachable)):
        fetch()


@pytest.mark.parametrize("size", [-1, None, "12", 1.5, 2**63])
def test_a_size_that_is_none_is_refused(hub, fetch, blobs, size):
    hub.announce(REPO, "config.json", size=size)
    with pytest.raises(WeighbridgeError) as caught:
        read_tree(fetch(), blobs)
    assert caught.value.exit_code in (1, 3)
    assert resolves(hub) == []


def test_a_file_too_large_for_plain_http_is_said_before_any_download(hub, fetch):
    size = 60 * 10**9
    hub.announce(
        REPO, "model.safetensors", size=size, lfs={"oid": "ab" * 32, "size": size, "pointerSize": 134}
    )
    with pytest.raises(OutOfBudget) as caught:
        fetch()
    assert "folder" in caught.value.remedy
    assert resolves(hub) == []


def test_a_file_listed_but_missing_is_refused(hub, fetch, blobs):
    hub.gone.add((REPO, "config.json"))
    with pytest.raises(VerificationFailed) as caught:
        read_tree(fetch(), blobs)
    assert caught.value.check == "source.announced"


def test_a_file_in_one_of_the_two_listings_only_is_refused(hub, fetch):
    hub.only_in_tree.add((REPO, "config.json"))
    with pytest.raises(VerificationFailed) as caught:
        fetch()
    assert "config.json" in caught.value.cause


def test_two_listings_with_two_digests_are_refused(hub, fetch):
    info = f"/api/models/{REPO}/revision/{hub.commit}"
    rows = [{"rfilename": n, "blobId": "0" * 40, "size": len(d)} for n, d in FILES.items()]
    hub.raw[info] = (200, {}, json.dumps({"id": REPO, "sha": hub.commit, "siblings": rows}).encode())
    with pytest.raises(VerificationFailed):
        fetch()


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "a/../../b", "a//b", "con\ntrol", "cafe\u0301", "a\\b", ""]
)
def test_a_listed_name_that_could_leave_the_folder_is_refused_before_any_download(hub, fetch, name):
    hub.add_repo("org/evil", {name: b"x"})
    with pytest.raises(BadManifest):
        fetch("hf://org/evil")
    assert resolves(hub) == []


def test_a_file_listed_twice_is_refused(hub, fetch):
    row = {"type": "file", "path": "a", "oid": "0" * 40, "size": 1}
    hub.raw[f"/api/models/{REPO}/tree/{hub.commit}"] = (200, {}, json.dumps([row, row]).encode())
    with pytest.raises(VerificationFailed) as caught:
        fetch()
    assert "twice" in caught.value.cause


def test_an_endless_listing_is_out_of_budget(hub, fetch, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 50)
    path = f"/api/models/{REPO}/tree/{hub.commit}"
    turn = iter(range(10**6))

    def another_page(_, asked):
        if asked == path:
            row = {"type": "file", "path": f"f{next(turn)}", "oid": "0" * 40, "size": 1}
            link = {"Link": f'<{hub.endpoint}{path}?cursor=x>; rel="next"'}
            hub.raw[path] = (200, link, json.dumps([row]).encode())

    hub.before.append(another_page)
    with pytest.raises(OutOfBudget):
        fetch()


@pytest.mark.parametrize("sha", ["main", "", None, "a" * 39, "../../x", "A" * 40])
def test_a_revision_resolved_to_no_commit_is_refused(hub, fetch, sha):
    hub.raw[f"/api/models/{REPO}/revision/main"] = (200, {}, json.dumps({"id": REPO, "sha": sha}).encode())
    with pytest.raises(VerificationFailed):
        fetch()


def test_a_commit_answered_with_another_is_refused(hub, fetch):
    newer = hub.add_repo(REPO, {"x": b"newer"})
    hub.repos[REPO].refs[hub.commit] = newer
    with pytest.raises(VerificationFailed) as caught:
        fetch(f"hf://{REPO}@{hub.commit}")
    assert newer in caught.value.cause


def test_a_commit_that_changes_its_mind_on_the_second_call_is_refused(hub, fetch):
    newer = hub.add_repo(REPO, {"x": b"newer"}, branch="other")
    hub.repos[REPO].refs[hub.commit] = newer
    with pytest.raises(VerificationFailed):
        fetch()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Linked-Etag": '"../../../../escaped"'},
        {"X-Linked-Etag": '"/tmp/escaped"'},
        {"X-Linked-Etag": '"a/b"'},
        {"X-Linked-Etag": '""'},
        {"X-Linked-Etag": '".."'},
        {"X-Repo-Commit": "../../../escaped"},
        {"X-Repo-Commit": "main"},
        {"X-Repo-Commit": "b" * 40},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br"},
    ],
)
def test_headers_that_would_steer_the_clients_files_are_refused(hub, fetch, blobs, tmp_path, headers):
    """The client makes paths of the entity tag and the commit that a server names."""
    hub.headers[REPO, "model.safetensors"] = headers
    before = set(tmp_path.parent.rglob("*escaped*"))
    with pytest.raises((VerificationFailed, Unreachable)):
        read_tree(fetch(), blobs)
    assert set(tmp_path.parent.rglob("*escaped*")) == before
    assert Digest.of(WEIGHTS).hex not in kept(blobs)


def test_a_redirect_to_another_scheme_is_not_followed(hub, fetch):
    path = f"/api/models/{REPO}/revision/main"
    for there in (f"https://127.0.0.1:1{path}", "ftp://127.0.0.1/x", "file:///etc/passwd"):
        hub.raw[path] = (302, {"Location": there}, b"")
        with pytest.raises((VerificationFailed, Unreachable)):
            fetch()
    assert {asked.partition("?")[0] for _, asked, _ in hub.requests} == {path}


def test_the_token_does_not_follow_a_redirect_to_another_host(hub, fetch, blobs):
    with Hub() as elsewhere:
        target = f"/{REPO}/resolve/{hub.commit}/model.safetensors"
        elsewhere.raw[target] = (200, {}, WEIGHTS)
        hub.raw[target] = (
            302,
            {
                "Location": elsewhere.endpoint + target,
                "X-Repo-Commit": hub.commit,
                "X-Linked-Etag": f'"{Digest.of(WEIGHTS).hex}"',
                "X-Linked-Size": str(len(WEIGHTS)),
            },
            b"",
        )
        found = read_tree(fetch(token=TOKEN), blobs).manifest
        assert found.entry("model.safetensors").sha256 == Digest.of(WEIGHTS)
        assert elsewhere.requests
        assert all("authorization" not in headers for _, _, headers in elsewhere.requests)
    assert all(headers["authorization"] == f"Bearer {TOKEN}" for _, _, headers in hub.requests)


def test_an_answer_larger_than_due_is_cut_off(hub, fetch, monkeypatch):
    from weighbridge import net

    monkeypatch.setattr(net, "MAX_DOCUMENT", 1000)
    hub.raw[f"/api/models/{REPO}/revision/main"] = (200, {}, b" " * 2000)
    with pytest.raises(OutOfBudget) as caught:
        fetch()
    assert caught.value.check == "net.size"


# What is told ------------------------------------------------------------------------------------


def test_an_unknown_repository_and_revision_are_not_found(hub, fetch):
    for reference, word in (("hf://org/absent", "org/absent"), (f"hf://{REPO}@absent", "absent")):
        with pytest.raises(NotFound) as caught:
            fetch(reference)
        assert word in caught.value.problem
        assert caught.value.remedy


def test_a_gated_repository_says_why_and_what_to_do(hub, fetch):
    hub.repos[REPO].gated = "denied by policy: pickle finding \x1b[31m; decision 7f3c"
    with pytest.raises(Unreachable) as caught:
        fetch()
    assert caught.value.check == "source.gated"
    assert "denied by policy" in caught.value.cause
    assert "\x1b" not in str(caught.value)
    assert "token" in caught.value.remedy


def test_a_repository_gated_between_listing_and_download(hub, fetch, blobs):
    tree = fetch()
    hub.repos[REPO].gated = "closed now"
    with pytest.raises(Unreachable) as caught:
        read_tree(tree, blobs)
    assert caught.value.check == "source.gated"


@pytest.mark.parametrize("status", [400, 401, 403, 418, 429, 500, 503])
def test_any_other_refusal_names_its_status(hub, fetch, status):
    hub.raw[f"/api/models/{REPO}/revision/main"] = (status, {}, b"no")
    with pytest.raises((Unreachable, NotFound)) as caught:
        fetch()
    assert str(status) in caught.value.cause or isinstance(caught.value, NotFound)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"<html>", b"\xff\xfe", b'{"id": 1}', b'{"sha": "x"}', b'"x"']
)
def test_an_answer_that_makes_no_sense_is_unreachable(hub, fetch, body):
    for path in (f"/api/models/{REPO}/revision/main", f"/api/models/{REPO}/tree/{hub.commit}"):
        hub.raw = {path: (200, {"Content-Type": "application/json"}, body)}
        if path.endswith(hub.commit) and body == b"[]":
            continue  # an empty tree contradicts the other listing: tested above
        with pytest.raises((Unreachable, VerificationFailed)):
            fetch()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_a_hub_that_is_not_there_is_unreachable(fetch):
    with pytest.raises(Unreachable) as caught:
        fetch(endpoint=f"http://127.0.0.1:{free_port()}")
    assert "no connection" in caught.value.cause
    assert caught.value.remedy


def test_a_hub_that_goes_away_before_the_download_is_unreachable(hub, fetch, blobs, tmp_path):
    tree = fetch()
    hub.raw = {path: (503, {}, b"") for path in [f"/{REPO}/resolve/{hub.commit}/{name}" for name in FILES]}
    with pytest.raises(Unreachable):
        read_tree(tree, blobs)
    assert left_behind(tmp_path) == []


def test_a_hub_that_never_answers_is_unreachable_after_a_while(fetch, monkeypatch):
    from weighbridge import net

    monkeypatch.setattr(net, "READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unreachable) as caught:
        fetch(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "in time" in caught.value.cause


def test_offline_asks_nobody(hub, fetch, monkeypatch):
    with pytest.raises(Unreachable) as caught:
        fetch(offline=True)
    assert caught.value.check == "net.offline"
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Unreachable):
        fetch()
    assert hub.requests == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "ftp://hub.example",
        "hub.example",
        "https://",
        "https://user:pass@hub.example",
        "file:///etc",
        "http:///x",
    ],
)
def test_an_address_that_is_none_is_a_bad_setting(fetch, endpoint):
    with pytest.raises(BadSetting) as caught:
        fetch(endpoint=endpoint)
    assert "pass" not in str(caught.value).replace("password", "")


def test_a_token_does_not_go_out_in_the_clear(fetch):
    with pytest.raises(BadSetting) as caught:
        fetch(endpoint="http://192.0.2.1", token=TOKEN)
    assert "https" in caught.value.remedy
    assert TOKEN not in str(caught.value)


def test_only_hub_references_are_fetched(tmp_path):
    with pytest.raises(BadReference):
        fetch_hub(Reference("path", "./x"), endpoint=None, token=None, cache_dir=tmp_path, offline=True)


def test_a_cache_that_cannot_be_written_is_said(hub, tmp_path, blobs):
    (tmp_path / "file").write_bytes(b"")
    reference = parse_reference(f"hf://{REPO}")
    tree = fetch_hub(reference, endpoint=hub.endpoint, token=None, cache_dir=tmp_path / "file", offline=False)
    with pytest.raises(WeighbridgeError) as caught:
        read_tree(tree, blobs)
    assert caught.value.exit_code == 3


# What must not get out ---------------------------------------------------------------------------


def test_the_token_is_sent_and_appears_nowhere(hub, fetch, blobs, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    tree = fetch(token=TOKEN)
    seen = [repr(tree), repr(tree.files()), str(tree.origin)]
    hub.repos[REPO].gated = f"the token {TOKEN} has no access"
    with pytest.raises(Unreachable) as caught:
        read_tree(tree, blobs)
    hub.repos[REPO].gated = ""
    seen += [str(caught.value), repr(caught.value), json.dumps(caught.value.to_json())]
    hub.flip(REPO, "config.json")
    with pytest.raises(VerificationFailed) as caught:
        read_tree(fetch(token=TOKEN), blobs)
    seen += [str(caught.value)]
    assert any(headers.get("authorization") == f"Bearer {TOKEN}" for _, _, headers in hub.requests)
    output = capfd.readouterr()
    seen += [output.out, output.err, *(record.getMessage() for record in caplog.records)]
    seen += [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert all(TOKEN not in text for text in seen)


def test_without_a_token_the_one_of_whoever_is_logged_in_is_not_used(hub, fetch, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch()
    assert all("authorization" not in headers for _, _, headers in hub.requests)


def test_nothing_is_printed_and_nothing_but_the_model_is_asked_for(hub, fetch, blobs, capfd):
    read_tree(fetch(), blobs)
    assert capfd.readouterr() == ("", "")
    assert all(REPO in path for _, path, _ in hub.requests)
    agents = {headers["user-agent"] for _, _, headers in hub.requests}
    assert all(agent.startswith("weighbridge/") and "torch" not in agent for agent in agents)


def test_the_clients_own_settings_are_put_back(hub, fetch, blobs):
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    names = [name for name in dir(constants) if name.isupper()]
    before = {name: getattr(constants, name) for name in names}
    factory, level = _http._GLOBAL_CLIENT_FACTORY, logging.getLogger("huggingface_hub").level
    assert level != logging.CRITICAL
    hub.flip(REPO, "model.safetensors")
    with pytest.raises(VerificationFailed):
        read_tree(fetch(), blobs)
    assert {name: getattr(constants, name) for name in names} == before
    assert _http._GLOBAL_CLIENT_FACTORY is factory
    assert logging.getLogger("huggingface_hub").level == level


def test_two_pulls_at_once_do_not_disturb_each_other(hub, tmp_path):
    results, reference = {}, parse_reference(f"hf://{REPO}")

    def pull(number):
        where = tmp_path / str(number)
        tree = fetch_hub(reference, endpoint=hub.endpoint, token=None, cache_dir=where / "in", offline=False)
        results[number] = read_tree(tree, FileBlobs(where / "blobs")).manifest.digest

    threads = [threading.Thread(target=pull, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len(set(results.values())) == 1
