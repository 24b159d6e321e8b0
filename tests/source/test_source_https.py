"""Files at an address: pinned by digest, in one piece or several, and what a server may try."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    BadManifest,
    BadReference,
    Unreachable,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.core.reference import parse_reference
from weighbridge.source.https import read_list
from weighbridge.source.opening import Asking, open_source
from weighbridge.source.partial import WORTH
from weighbridge.source.read import read_tree
from weighbridge.store.files import FileBlobs
from world_web import Web

LARGE = bytes(range(256)) * 256 * 300  # 19.7 MB: enough to be worth resuming


@pytest.fixture
def web():
    with Web() as server:
        yield server


@pytest.fixture
def blobs(tmp_path):
    return FileBlobs(tmp_path / "blobs")


@pytest.fixture
def fetch(tmp_path, blobs):
    def take(text, keep=blobs, **settings):
        asking = Asking(tmp_path / "scratch", **settings)
        with open_source(parse_reference(text), asking) as tree:
            return read_tree(tree, keep)

    return take


def sums(files):
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in files.items()).encode()


def refused(check, function, *arguments):
    with pytest.raises(WeighbridgeError) as caught:
        function(*arguments)
    assert caught.value.check == check
    assert caught.value.remedy
    return caught.value


def test_one_file(web, fetch, blobs):
    web.files["/m/model.bin"] = b"weights"
    manifest = fetch(web.reference("/m/model.bin")).manifest
    assert [entry.path for entry in manifest.files] == ["model.bin"]
    with blobs.open(Digest.of(b"weights")) as stream:
        assert stream.read() == b"weights"


def test_bytes_of_the_same_size_that_are_others_are_refused_and_not_kept(web, fetch, blobs):
    web.files["/model.bin"] = b"weights"
    reference = web.reference("/model.bin")
    web.files["/model.bin"] = b"w3ights"
    refused("source.announced", fetch, reference)
    assert not blobs.has(Digest.of(b"w3ights"))
    refused("source.announced", fetch, reference, None)


@pytest.mark.parametrize("served", [b"weight", b"weights!"])
def test_another_length_is_refused(web, fetch, served):
    web.files["/model.bin"] = b"weights"
    reference = web.reference("/model.bin")
    web.files["/model.bin"] = served
    refused("source.announced", fetch, reference)


def test_a_list_of_files(web, fetch):
    files = {"config.json": b"{}", "a dir/weights.safetensors": b"x" * 100}
    web.files |= {f"/m/{path}": data for path, data in files.items()}
    web.files["/m/SHA256SUMS"] = sums(files)
    manifest = fetch(web.reference("/m/SHA256SUMS")).manifest
    assert {entry.path: entry.size for entry in manifest.files} == {
        "config.json": 2,
        "a dir/weights.safetensors": 100,
    }


def test_a_list_that_was_exchanged_is_refused_before_any_file_is_asked_for(web, fetch):
    web.files |= {"/m/a": b"a", "/m/SHA256SUMS": sums({"a": b"a"})}
    reference = web.reference("/m/SHA256SUMS")
    web.files["/m/SHA256SUMS"] = sums({"a": b"b"})
    refused("source.announced", fetch, reference)
    assert [path for _, path, _ in web.asked] == ["/m/SHA256SUMS"]


def test_a_file_of_a_list_that_is_gone(web, fetch):
    web.files["/SHA256SUMS"] = sums({"a": b"a"})
    with pytest.raises(WeighbridgeError) as caught:
        fetch(web.reference("/SHA256SUMS"))
    assert "'a'" in caught.value.problem


@pytest.mark.parametrize("path", ["../a", "/a", "a//b", "a/./b", "", "a\\b"])
def test_a_path_that_leaves_the_list_is_refused(path):
    data = sums({path: b"x"})
    with pytest.raises((BadManifest, BadReference)):
        read_list(data, Digest.of(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_refused(data):
    try:
        rows = read_list(data, Digest.of(data))
    except (BadManifest, BadReference):
        return
    assert len({path for path, _ in rows}) == len(rows)


def test_a_server_that_answers_no_question_for_the_head_is_asked_for_a_part(web, fetch):
    web.files["/a"] = b"abc"
    web.mute.add("/a")
    assert fetch(web.reference("/a")).manifest.size == 3


def test_a_connection_that_breaks_is_made_again_where_it_broke(web, fetch):
    web.files["/a.bin"] = LARGE
    web.cut["/a.bin"] = [1_000_000, 2_000_000]
    fetch(web.reference("/a.bin"))
    assert web.sent["/a.bin"] == len(LARGE)


def test_a_server_without_parts_is_asked_for_all_again(web, fetch):
    web.files["/a.bin"] = LARGE
    web.cut["/a.bin"] = [1_000_000]
    web.whole.add("/a.bin")
    fetch(web.reference("/a.bin"))
    assert web.sent["/a.bin"] == len(LARGE) + 1_000_000


def test_what_did_not_arrive_whole_goes_on_in_another_run(web, fetch, tmp_path):
    web.files["/a.bin"] = LARGE
    web.cut["/a.bin"] = [5_000_000, 0, 0, 0]
    refused("net.unreachable", fetch, web.reference("/a.bin"))
    [part] = (tmp_path / "scratch" / "partial").iterdir()
    assert part.stat().st_size == 5_000_000
    fetch(web.reference("/a.bin"))
    assert web.sent["/a.bin"] == len(LARGE)
    assert list((tmp_path / "scratch" / "partial").iterdir()) == []


def test_what_was_left_of_a_run_and_changed_since_is_noticed_and_does_not_come_again(web, fetch, tmp_path):
    web.files["/a.bin"] = LARGE
    web.cut["/a.bin"] = [5_000_000, 0, 0, 0]
    refused("net.unreachable", fetch, web.reference("/a.bin"))
    [part] = (tmp_path / "scratch" / "partial").iterdir()
    with part.open("r+b") as file:
        file.seek(1_000)
        file.write(b"!!")
    refused("source.announced", fetch, web.reference("/a.bin"))
    fetch(web.reference("/a.bin"))


def test_a_small_file_is_not_kept_in_parts(web, fetch, tmp_path):
    web.files["/a.bin"] = LARGE[: WORTH - 1]
    web.cut["/a.bin"] = [5_000_000, 0, 0, 0]
    refused("net.unreachable", fetch, web.reference("/a.bin"))
    assert not (tmp_path / "scratch" / "partial").exists()


def test_what_is_kept_already_is_not_fetched_again(web, fetch):
    web.files["/a.bin"] = b"x" * 1000
    fetch(web.reference("/a.bin"))
    fetch(web.reference("/a.bin"))
    assert web.sent["/a.bin"] == 1000


def test_each_byte_is_fetched_once_over_many_files(web, fetch):
    files = {f"part-{number}": bytes([number]) * 50_000 for number in range(40)}
    web.files |= {f"/m/{path}": data for path, data in files.items()} | {"/m/SHA256SUMS": sums(files)}
    fetch(web.reference("/m/SHA256SUMS"))
    assert {count for path, count in web.sent.items() if "part" in path} == {50_000}


@pytest.mark.parametrize(
    ("status", "check"), [(403, "source.gated"), (404, "source.announced"), (500, "net.unreachable")]
)
def test_a_refusal_of_the_server_is_told(web, tmp_path, blobs, status, check):
    web.files["/a.bin"] = b"abc"
    with open_source(parse_reference(web.reference("/a.bin")), Asking(tmp_path)) as tree:
        web.status["/a.bin"] = status
        refused(check, read_tree, tree, blobs)


def test_a_file_without_a_tag_and_a_digest_is_not_put_together_from_two_answers(web):
    from weighbridge.net import Door, Download

    web.files["/a"] = LARGE
    web.untagged.add("/a")
    web.cut["/a"] = [1_000]
    stream = Download(Door(web.url, offline=False, most=1 << 40), f"{web.url}/a", len(LARGE))
    with pytest.raises(Unreachable):
        while stream.read(1 << 20):
            pass
    stream.close()


def test_a_file_that_changes_between_two_answers_is_noticed(web):
    from weighbridge.net import Door, Download

    web.files["/a"] = LARGE
    web.cut["/a"] = [1_000]
    stream = Download(Door(web.url, offline=False, most=1 << 40), f"{web.url}/a", len(LARGE))
    assert stream.read(100)
    web.files["/a"] = LARGE[::-1]
    with pytest.raises(VerificationFailed):
        while stream.read(1 << 20):
            pass
    stream.close()


def test_offline_asks_nobody(web, fetch):
    web.files["/a"] = b"abc"
    with pytest.raises(Unreachable) as caught:
        fetch(web.reference("/a"), offline=True)
    assert caught.value.check == "net.offline"
    assert web.asked == []


def test_a_signed_address_is_written_down_without_its_signature(web, tmp_path):
    web.files["/a.bin"] = b"abc"
    text = web.reference("/a.bin").replace("#", "?signature=secret#")
    with open_source(parse_reference(text), Asking(tmp_path)) as tree:
        assert "secret" not in str(dict(tree.origin))
        assert "secret" not in repr(tree.files())


def test_when_one_file_fails_the_others_are_not_begun(web, tmp_path, blobs):
    files = {f"{number:03}.bin": bytes([number]) * 100_000 for number in range(200)} | {"zz": b"0" * 200_000}
    web.files |= {f"/m/{path}": data for path, data in files.items()} | {"/m/SHA256SUMS": sums(files)}
    with open_source(parse_reference(web.reference("/m/SHA256SUMS")), Asking(tmp_path / "s")) as tree:
        web.files["/m/zz"] = b"1" * 200_000  # the largest is begun first
        refused("source.announced", read_tree, tree, blobs)
    fetched = [path for method, path, _ in web.asked if method == "GET" and path.endswith(".bin")]
    assert len(fetched) < 200


def test_progress_is_called_by_one_at_a_time_and_counts_every_byte(web, tmp_path, blobs):
    files = {f"{number}": bytes([number]) * 300_000 for number in range(30)}
    web.files |= {f"/m/{path}": data for path, data in files.items()} | {"/m/SHA256SUMS": sums(files)}
    inside, counted = [], []

    def progress(count):
        assert not inside
        inside.append(1)
        counted.append(count)
        inside.pop()

    with open_source(parse_reference(web.reference("/m/SHA256SUMS")), Asking(tmp_path / "s")) as tree:
        read_tree(tree, blobs, progress=progress)
    assert sum(counted) == 30 * 300_000


def test_a_token_does_not_follow_a_redirect_to_another_host(web):
    from weighbridge.net import Door, Download

    with Web() as other:
        other.files["/a"] = b"abc"
        web.answers["/a"] = (302, {"Location": f"{other.url}/a"}, b"")
        door = Door(web.url, offline=False, most=1 << 40)
        stream = Download(door, f"{web.url}/a", 3, headers={"Authorization": "Bearer secret"})
        assert stream.read(10) == b"abc"
        stream.close()
        assert web.asked[0][2]["Authorization"] == "Bearer secret"
        assert "Authorization" not in other.asked[0][2]
