"""A hub's files read in parts: little is fetched, nothing unexplained passes, and what is read is what it says."""

import hashlib
import io
import json
import random
import struct
import time
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.cli.main import run
from weighbridge.core.errors import OutOfBudget, Unreachable, VerificationFailed
from weighbridge.core.reference import parse_reference
from weighbridge.scanner.remote import worth_it
from weighbridge.source.hub import fetch_hub
from weighbridge.source.remote import BLOCK, MAX_PART, RangedFile
from world_checkpoints import Checkpoint, Raw, ordered, storage, tensor
from world_hub import Hub

REPO = "org/model"
BIG = 200_000_000
TOKEN = "hf_planted_secret_value"


def safetensors(size, tail=b""):
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    header += b" " * (88 - len(header))  # padded, as writers do
    return struct.pack("<Q", len(header)) + header + bytes(size - len(tail)) + tail


def checkpoint(numel=3_000_000, root=None, **more):
    root = root or {"layer.weight": tensor(storage("0", numel=numel), (numel,))}
    return Checkpoint(root, {"0": random.Random(1).randbytes(4 * numel)}).zip(**more)


def gguf(numel, template="{{ messages }}"):
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("tokenizer.chat_template") + struct.pack("<I", 8) + text(template)
    head += text("w") + struct.pack("<IQIQ", 1, numel, 0, 0)
    return head + bytes(-len(head) % 32) + random.Random(4).randbytes(4 * numel)


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with Hub() as running:
        yield running


@pytest.fixture
def scan(hub, monkeypatch, tmp_path, capsys):
    """Scan the repository with --remote; returns (exit code, item, bytes sent by the hub)."""
    for name, value in {"HF_ENDPOINT": hub.endpoint, "HOME": str(tmp_path), "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)

    def command(files, *more, lfs=None):
        hub.add_repo(REPO, files, lfs=files if lfs is None else lfs)
        before = hub.sent
        capsys.readouterr()
        code = run(["scan", f"hf://{REPO}", "--format", "json", *more])
        output = capsys.readouterr()
        value = json.loads(output.out)
        item = value["reports"][0] if "reports" in value else value["errors"][0]
        return code, item, hub.sent - before

    command.say = lambda *words: (run(list(words)), capsys.readouterr())
    return command


def test_of_200_mb_safetensors_less_than_one_is_fetched(scan):
    files = {"model.safetensors": safetensors(BIG), "config.json": b"{}"}
    code, item, sent = scan(files, "--remote", lfs=["model.safetensors"])
    assert code == 0
    assert item["verdict"] == "notes"
    assert sent < 1_000_000
    assert item["remote"]["bytes_fetched"] < 1_000_000
    assert item["remote"]["bytes_present"] == len(files["model.safetensors"]) + 2
    assert item["remote"]["unverified"] == ["model.safetensors"]
    (note,) = item["findings"]
    assert note["rule"] == "remote-unverified"
    assert note["location"]["path"] == "model.safetensors"
    assert "were not fetched" in note["evidence"][0]


def test_the_manifest_is_the_one_of_the_whole_model(scan):
    files = {"model.safetensors": safetensors(3_000_000), "config.json": b"{}"}
    parts = scan(files, "--remote", lfs=["model.safetensors"])[1]
    whole = scan(files, lfs=["model.safetensors"])[1]
    assert parts["manifest"] == whole["manifest"]
    assert "remote" not in whole
    assert whole["verdict"] == "clean"


def test_of_a_torch_zip_all_but_the_storages_is_fetched(scan):
    data = checkpoint()
    code, item, sent = scan({"pytorch_model.bin": data}, "--remote")
    assert (code, item["verdict"]) == (0, "notes")
    assert item["formats"] == {"pytorch_model.bin": "torch-zip"}
    assert sent < 1_000_000 < len(data)
    assert item["coverage"]["members_read"] == item["coverage"]["members_present"]


def test_of_gguf_the_tables_are_fetched_and_judged(scan):
    code, item, sent = scan({"model.gguf": gguf(3_000_000)}, "--remote")
    assert (code, item["verdict"]) == (0, "notes"), item["findings"]
    assert sent < 1_500_000
    hostile = gguf(3_000_000, "{{ ''.__class__.__mro__[1].__subclasses__() }}")
    code, item, sent = scan({"model.gguf": hostile}, "--remote")
    assert (code, item["verdict"]) == (1, "dangerous")
    assert sent < 1_500_000


def test_such_a_report_is_what_the_schema_says(scan):
    item = scan({"model.safetensors": safetensors(2_000_000)}, "--remote")[1]
    path = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas" / "report.schema.json"
    schema = json.loads(path.read_text("utf-8"))
    envelope = {
        "schema": "weighbridge.report/1",
        "tool": {"name": "weighbridge", "version": "0"},
        "reports": [item],
    }
    jsonschema.Draft202012Validator(schema).validate(envelope)
    assert "remote" in schema["$defs"]["report"]["properties"]


def test_a_payload_is_found_without_the_storages(scan):
    evil = ordered(
        [
            ("w", Raw(b"cposix\nsystem\n(S'id'\ntR")),
            ("v", tensor(storage("0", numel=3_000_000), (3_000_000,))),
        ]
    )
    code, item, sent = scan({"pytorch_model.bin": checkpoint(root=evil)}, "--remote")
    assert code == 1
    assert item["verdict"] == "dangerous"
    assert sent < 1_000_000


def test_a_member_beside_the_storages_is_read_whole(scan):
    extra = [("archive/extra.pkl", b"cposix\nsystem\n(S'id'\ntR." + bytes(2_000_000))]
    code, item, _ = scan({"pytorch_model.bin": checkpoint(extra=extra)}, "--remote")
    assert code == 1
    assert "pickle-call" in {row["rule"] for row in item["findings"]}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("storage nobody refers to", checkpoint(extra=[("archive/data/77", bytes(2_000_000))])),
        ("storage of another size", checkpoint(root=ordered([("w", tensor(storage("0", numel=7), (7,)))]))),
        ("safetensors with bytes after its tensors", safetensors(2_000_000) + bytes(1_000_000)),
    ],
)
def test_what_the_header_does_not_explain_blocks(scan, name, data):
    code, item, _ = scan({"model.bin": data}, "--remote")
    assert code == 1, name
    assert item["verdict"] == "broken"


def test_the_verdict_is_never_better_than_that_of_the_whole(scan):
    samples = [
        safetensors(2_000_000),
        checkpoint(),
        checkpoint(method=8),
        checkpoint() + b"tail",
        bytes(2_000_000),
    ]
    samples += [
        b"N." + bytes(1_500_000),
        safetensors(2_000_000)[:-1],
        checkpoint(data=b"cos\nsystem\n(S'x'\ntR."),
    ]
    order = ["clean", "notes", "unread", "unlisted", "broken", "dangerous"]
    for data in samples:
        parts = scan({"a.bin": data}, "--remote")[1]["verdict"]
        whole = scan({"a.bin": data}, "--no-cache")[1]["verdict"]
        assert order.index(parts) >= order.index(whole)


def test_other_formats_are_fetched_whole_and_compared(scan, hub):
    data = b"N." + random.Random(2).randbytes(2_000_000)
    _, item, sent = scan({"model.pkl": data}, "--remote")
    assert sent >= len(data)
    assert item["remote"]["unverified"] == []
    hub.flip(REPO, "model.pkl")
    code, error, _ = scan({"model.pkl": data}, "--remote")
    assert code == 1
    assert error["check"] == "source.announced"


def test_small_files_are_compared_even_beside_parts(scan, hub):
    files = {"model.safetensors": safetensors(3_000_000), "config.json": b'{"a": 1}'}
    hub.served[REPO, "config.json"] = b'{"a": 2}'
    code, error, _ = scan(files, "--remote", lfs=["model.safetensors"])
    assert code == 1
    assert error["check"] == "source.announced"


def test_pulling_compares_what_the_preview_could_not(scan, hub):
    files = {"model.safetensors": safetensors(3_000_000)}
    hub.add_repo(REPO, files, lfs=files)
    hub.flip(REPO, "model.safetensors", at=2_500_000)
    assert scan(files, "--remote")[0] == 0, "a byte of a tensor is not looked at"
    code, error, _ = scan(files)
    assert code == 1
    assert error["check"] == "source.announced"


def test_a_preview_is_never_kept_and_never_taken_from_what_is_kept(scan, tmp_path):
    files = {"model.safetensors": safetensors(3_000_000)}
    scan(files, "--remote")
    assert not list(tmp_path.glob(".cache/weighbridge/**/*.json"))
    scan(files)
    assert scan(files, "--remote")[1]["verdict"] == "notes"


def test_text_says_how_much_was_fetched(scan, hub):
    hub.add_repo(REPO, {"model.safetensors": safetensors(BIG)}, lfs=["model.safetensors"])
    code, output = scan.say("scan", f"hf://{REPO}", "--remote")
    assert code == 0
    assert "fetched of 200 MB, 100 % read or explained by headers" in output.out
    assert "warning[remote-unverified]" in output.out
    assert scan.say("scan", f"hf://{REPO}", "--remote", "--fail-on", "notes")[0] == 1


def test_a_folder_is_not_remote(scan, tmp_path):
    code, output = scan.say("scan", str(tmp_path), "--remote")
    assert code == 2
    assert "--remote" in output.err


@pytest.mark.parametrize(
    ("lie", "check"),
    [
        ({"Content-Range": "bytes 0-9/10"}, "net.range"),
        ({"Content-Range": "nonsense"}, "net.range"),
        ({"Content-Encoding": "gzip"}, "net.answer"),
    ],
)
def test_a_hub_that_answers_something_else_is_not_believed(scan, hub, lie, check):
    hub.headers[REPO, "model.safetensors"] = lie
    code, error, _ = scan({"model.safetensors": safetensors(3_000_000)}, "--remote")
    assert code in (1, 3)
    assert error["check"] == check


def test_a_connection_that_is_lost_half_way_leaves_the_file_unread(scan, hub):
    data = gguf(3_000_000, "{{ messages }}" + " " * 900_000)  # a header of many parts
    asked = []

    def after_some(_command, path):
        asked.append(path)
        if sum(path.endswith("model.gguf") for path in asked) > 1:
            hub.cut[REPO, "model.gguf"] = 10

    hub.before.append(after_some)
    code, item, _ = scan({"model.gguf": data}, "--remote")
    assert code == 3
    assert item["verdict"] == "unread"
    assert "unread-file" in {row["rule"] for row in item["findings"]}


class Hostile:
    """A file in parts whose reading ends in something nobody thought of."""

    size = 2_000_000

    def __init__(self, error):
        self.error = error

    def open(self):
        raise self.error


def test_what_cannot_be_made_out_is_fetched_whole():
    assert not worth_it(Hostile(ValueError("odd")))
    assert not worth_it(Hostile(OutOfBudget("too many", check="budget.members")))
    with pytest.raises(Unreachable):
        worth_it(Hostile(Unreachable("gone", check="net.range")))


def test_a_hub_that_gives_no_parts_says_what_to_do(scan, hub):
    hub.whole.add((REPO, "model.safetensors"))
    code, error, _ = scan({"model.safetensors": safetensors(BIG)}, "--remote")
    assert code == 3
    assert error["check"] == "net.range"
    assert "--remote" in error["remedy"]


def test_a_file_that_changes_between_two_parts_is_refused(hub, tmp_path):
    data = safetensors(3_000_000)
    hub.add_repo(REPO, {"m": data}, lfs=["m"])
    tree = fetch_hub(
        parse_reference(f"hf://{REPO}"), endpoint=hub.endpoint, token=None, cache_dir=tmp_path, offline=False
    )
    parts = tree.parts(tree.files()[0])
    assert parts.read(5, 7) == data[5:12]
    hub.headers[REPO, "m"] = {"ETag": '"other"'}
    with pytest.raises(VerificationFailed, match="do not belong together"):
        parts.read(0, 4)
    parts.close()


def test_a_connection_that_breaks_is_an_answer_that_could_not_be_had(hub, tmp_path):
    hub.add_repo(REPO, {"m": safetensors(3_000_000)}, lfs=["m"])
    tree = fetch_hub(
        parse_reference(f"hf://{REPO}"), endpoint=hub.endpoint, token=None, cache_dir=tmp_path, offline=False
    )
    hub.cut[REPO, "m"] = 100
    parts = tree.parts(tree.files()[0])
    with pytest.raises(Unreachable):
        parts.read(0, 5000)
    parts.close()


def test_the_token_goes_to_the_hub_and_not_where_it_redirects(hub, tmp_path):
    data = safetensors(3_000_000)
    commit = hub.add_repo(REPO, {"m": data}, lfs=["m"])
    with Hub() as store:
        there = store.add_repo("blobs/x", {"m": data}, lfs=["m"])
        target = store.endpoint.replace("127.0.0.1", "localhost") + f"/blobs/x/resolve/{there}/m"
        hub.raw[f"/{REPO}/resolve/{commit}/m"] = (302, {"Location": target}, b"")
        tree = fetch_hub(
            parse_reference(f"hf://{REPO}"),
            endpoint=hub.endpoint,
            token=TOKEN,
            cache_dir=tmp_path,
            offline=False,
        )
        parts = tree.parts(tree.files()[0])
        assert parts.read(0, 8) == data[:8]
        parts.close()
        assert hub.requests[-1][2]["authorization"] == f"Bearer {TOKEN}"
        assert "authorization" not in store.requests[-1][2]
        assert TOKEN not in repr(parts)


SIZE = 5 * BLOCK + 123
DATA = random.Random(3).randbytes(SIZE)


@given(
    st.lists(
        st.tuples(st.integers(0, SIZE + 50), st.integers(0, 3 * BLOCK))
        | st.tuples(st.integers(0, SIZE), st.just(1)),
        max_size=12,
    )
)
def test_every_read_gives_the_bytes_of_the_file_and_none_is_fetched_twice(reads):
    asked = []

    def fetch(start, count):
        assert count > 0
        asked.append((start, start + count))
        return DATA[start : start + count]

    file = RangedFile(fetch, SIZE)
    with file.open() as stream:
        for start, count in reads:
            stream.seek(start)
            assert stream.read(count) == DATA[start : start + count]
        assert stream.seek(0, io.SEEK_END) == SIZE
    covered = [place for start, end in asked for place in range(start // BLOCK, -(-end // BLOCK))]
    assert len(covered) == len(set(covered))
    assert file.fetched == sum(end - start for start, end in asked)
    assert file.missing == SIZE - file.fetched
    file.close()


def test_a_long_read_comes_in_parts_and_a_small_one_brings_little():
    asked = []
    size = 3 * MAX_PART

    def fetch(start, count):
        asked.append(count)
        return bytes(count)

    file = RangedFile(fetch, size)
    assert file.at(0, 10) == bytes(10)
    assert sum(asked) == BLOCK
    assert len(file.at(0, size)) == size
    assert max(asked) <= MAX_PART
    assert hashlib.sha256(file.at(0, size)).hexdigest() == hashlib.sha256(bytes(size)).hexdigest()
    file.close()


def test_what_is_missing_must_have_been_spared():
    file = RangedFile(lambda _start, count: bytes(count), 10 * BLOCK)
    assert not file.only_spared_missing()
    file.spare(2 * BLOCK, 5 * BLOCK)
    file.at(0, 2 * BLOCK)
    assert not file.only_spared_missing(), "three blocks at the end are neither"
    file.at(7 * BLOCK, 3 * BLOCK)
    assert file.only_spared_missing()
    file.close()
