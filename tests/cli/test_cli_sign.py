"""`sign` on the command line: what is listed, what is left out, who signs, and what is never overwritten."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "trust"))

from sigstore_issuing import Leaf, chain
from sigstore_world import pem_of

from weighbridge.claims.predicates import packaged
from weighbridge.cli.main import run
from weighbridge.core.manifest import CHUNK_SIZE
from weighbridge.core.statement import Statement
from weighbridge.keys.files import generate
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.oms import read_model_signature

KEY = generate("ecdsa-p256")


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "no-registry"))
    KEY.save(tmp_path / "me.pem")
    (tmp_path / "me.pub.pem").write_text(KEY.public_pem)
    made = tmp_path / "bert"
    (made / "sub").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "weights.safetensors").write_bytes(bytes(range(256)) * 9)
    (made / "sub" / "vocab.txt").write_text("a b c")
    return made


@pytest.fixture
def call(model, capsys):
    def command(*words):
        capsys.readouterr()
        code = run([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return command


def statement(path):
    return Statement.decode(Bundle.from_json(Path(path).read_bytes()).envelope.payload)


def test_our_claim_is_the_one_of_the_plain_reader(model, call):
    (model / "large.bin").write_bytes(bytes(2 * CHUNK_SIZE + 5))
    assert call("sign", model, "--key", "me.pem", "--bundle", "claim.json")[0] == 0
    manifest, table = packaged(statement("claim.json"))
    with open_folder(model) as tree:
        plain = read_tree(tree)
    assert manifest == plain.manifest
    assert [row.chunks for row in table.files] == [row.chunks for row in plain.chunks.files]
    assert call("verify", model, "--key", "me.pub.pem", "--bundle", "claim.json")[0] == 0
    assert call("verify", model, "--key", "me.pub.pem", "--bundle", "claim.json", "--sha256")[0] == 0


def test_the_claim_may_lie_in_the_model_and_is_no_part_of_it(model, call):
    for _ in range(2):  # the second time it is there already
        assert call("sign", model, "--key", "me.pem", "--bundle", model / "bert.sigstore.json")[0] == 0
        assert call("verify", model, "--key", "me.pub.pem")[0] == 0


def test_a_model_signature_and_what_it_leaves_out(model, call):
    for name in (".gitattributes", ".gitignore", "notes.txt", ".git/x", "sub/.git/x", ".cache/huggingface/y"):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text("x")
    code, out, _ = call(
        "sign", model, "--key", "me.pem", "--oms", "--ignore", "notes.txt", "--format", "json"
    )
    assert code == 0
    item = json.loads(out)["signatures"][0]
    assert item["files"] == 3
    told = {row["path"]: row["files"] for row in item["left_out"]}
    places = (".gitattributes", ".gitignore", "notes.txt", ".git", "sub/.git", ".cache/huggingface")
    assert told == dict.fromkeys(places, 1)
    signed = read_model_signature(statement(model / "model.sig"))
    assert set(signed.files) == {"config.json", "weights.safetensors", "sub/vocab.txt"}
    assert set(signed.ignored) == {*places, "model.sig", ".github"}
    assert signed.name == "bert"
    assert call("verify", model, "--key", "me.pub.pem")[0] == 1
    assert call("verify", model, "--key", "me.pub.pem", "--allow-ignored")[0] == 0


def test_files_of_git_may_be_signed(model, call):
    (model / ".gitattributes").write_text("x")
    assert call("sign", model, "--key", "me.pem", "--oms", "--sign-git-files")[0] == 0
    assert ".gitattributes" in read_model_signature(statement(model / "model.sig")).files
    assert call("verify", model, "--key", "me.pub.pem")[0] == 0


def test_format_oms_says_the_same_as_the_flag(model, call):
    code, out, _ = call("sign", model, "--key", "me.pem", "--format", "oms")
    assert code == 0
    assert f"{model / 'model.sig'} (3 files)" in out
    assert call("verify", model, "--key", "me.pub.pem")[0] == 0


def test_one_file(model, call):
    file = model / "weights.safetensors"
    assert call("sign", file, "--key", "me.pem", "--oms")[0] == 0
    assert (model / "weights.safetensors.sig").is_file()
    assert call("verify", file, "--key", "me.pub.pem")[0] == 0
    file.write_bytes(b"x")
    assert call("verify", file, "--key", "me.pub.pem")[0] == 1


@pytest.mark.parametrize("words", [("--hash", "blake2b"), ("--hash", "blake3"), ("--shard-size", "100")])
def test_digests(model, call, words):
    assert call("sign", model, "--key", "me.pem", "--oms", *words)[0] == 0
    assert call("verify", model, "--key", "me.pub.pem")[0] == 0
    (model / "weights.safetensors").write_bytes(bytes(2304))
    code, _, error = call("verify", model, "--key", "me.pub.pem")
    assert (code, "'weights.safetensors'" in error) == (1, True)


def test_shards_that_trade_names_are_named(model, call):
    (model / "a.bin").write_bytes(bytes(250))
    (model / "b.bin").write_bytes(bytes([1]) * 250)
    assert call("sign", model, "--key", "me.pem", "--oms", "--shard-size", "100")[0] == 0
    (model / "a.bin").rename(model / "t")
    (model / "b.bin").rename(model / "a.bin")
    (model / "t").rename(model / "b.bin")
    code, _, error = call("verify", model, "--key", "me.pub.pem")
    assert (code, "'a.bin' holds what was signed as 'b.bin'" in error) == (1, True)
    (model / "a.bin").rename(model / "c.bin")
    code, _, error = call("verify", model, "--key", "me.pub.pem")
    assert (code, "'b.bin' holds what was signed as 'a.bin'" in error) == (1, True)
    assert "missing: 'a.bin'" in error
    assert "not signed: 'c.bin'" in error
    (model / "b.bin").write_bytes(bytes([1]) * 250)
    (model / "c.bin").write_bytes(bytes(250))
    code, _, error = call("verify", model, "--key", "me.pub.pem")
    assert (code, "'a.bin' is now called 'c.bin'" in error) == (1, True)


def test_a_shard_of_one_byte_costs_nothing_where_the_file_is_another(model, call):
    """A signer may ask for tiny shards of a tiny file; a large file in its place is not cut into millions."""
    (model / "weights.safetensors").write_bytes(b"abc")
    assert call("sign", model, "--key", "me.pem", "--oms", "--shard-size", "1")[0] == 0
    (model / "weights.safetensors").write_bytes(bytes(50_000_000))
    code, _, error = call("verify", model, "--key", "me.pub.pem")
    assert (code, "'weights.safetensors'" in error) == (1, True)


def test_an_empty_file_has_no_shards(model, call):
    (model / "__init__.py").write_text("")
    code, _, error = call("sign", model, "--key", "me.pem", "--oms", "--shard-size", "100")
    assert (code, "'__init__.py'" in error) == (2, True)
    assert not (model / "model.sig").exists()


def test_a_signature_that_is_there_is_kept(model, call):
    (model / "model.sig").write_text("precious")
    code, _, error = call("sign", model, "--key", "me.pem", "--oms")
    assert (code, "sign.exists" in error) == (1, True)
    assert (model / "model.sig").read_text() == "precious"
    assert call("sign", model, "--key", "me.pem", "--oms", "--force")[0] == 0
    assert call("verify", model, "--key", "me.pub.pem")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "sign.who"),
        (("--keyless", "--key", "me.pem"), "sign.who"),
        (("--key", "me.pem", "--public"), "belong to --keyless"),
        (("--key", "me.pem", "--identity-token", "x"), "belong to --keyless"),
        (("--keyless", "--certificate", "me.pub.pem", "--bundle", "b"), "--certificate belongs to --key"),
        (
            ("--key", "me.pem", "--oms", "--hash", "blake3", "--shard-size", "9"),
            "shards are not made with blake3",
        ),
        (("--key", "me.pem", "--certificate", "me.pub.pem", "--bundle", "b"), "holds no certificates"),
        (("--key", "me.pem", "--certificate", "other.pem", "--bundle", "b"), "sign.certificate"),
        (("--key", "gopher://x", "--bundle", "b"), "key.uri"),
    ],
)
def test_what_cannot_be_meant(model, call, words, said):
    Path("other.pem").write_text(pem_of(Leaf().build()))
    code, out, error = call("sign", model, *words)
    assert (code, out) == (2, "")
    assert said in error
    assert not Path("b").exists()


def test_a_model_that_is_not_there(call):
    for words in (("--oms",), ("--bundle", "b")):
        code, _, error = call("sign", "nowhere", "--key", "me.pem", *words)
        assert (code, "nowhere" in error) == (2, True)


def test_a_certificate_of_ones_own_is_carried_with_its_chain(model, call):
    leaf = Leaf()
    leaf.key.save(Path("leaf.pem"))
    Path("chain.pem").write_text("".join(pem_of(der) for der in (leaf.build(), *chain())))
    code, out, error = call("sign", model, "--key", "leaf.pem", "--certificate", "chain.pem", "--oms")
    assert code == 0, error
    bundle = Bundle.from_json((model / "model.sig").read_bytes())
    assert bundle.certificates == (leaf.build(), *chain())
    assert bundle.key is None
    assert "signed by https://" in out


def test_a_link_in_the_model_is_not_signed(model, call):
    (model / "link").symlink_to(model / "config.json")
    for words in (("--oms",), ("--bundle", "b")):
        code, _, error = call("sign", model, "--key", "me.pem", *words)
        assert (code, "manifest.path" in error) == (1, True)


def test_a_claim_is_written_over_nothing_but_a_claim(model, call):
    weights = (model / "weights.safetensors").read_bytes()
    code, _, error = call("sign", model, "--key", "me.pem", "--bundle", model / "weights.safetensors")
    assert (code, "sign.exists" in error) == (1, True)
    assert (model / "weights.safetensors").read_bytes() == weights
    for _ in range(2):
        assert call("sign", model, "--key", "me.pem", "--bundle", "claim.json")[0] == 0
