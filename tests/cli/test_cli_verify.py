"""`verify` on the command line: who is expected, what a bundle may not choose, which files may be there."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "trust"))

from sigstore_issuing import ISSUER, NOW, SUBJECT, Leaf, Tsa
from sigstore_world import ARTIFACT, Forged, roots

from weighbridge.claims import predicates
from weighbridge.cli import verify
from weighbridge.cli.main import run
from weighbridge.core.digest import Digest
from weighbridge.core.statement import PAYLOAD_TYPE, Statement, subject_of
from weighbridge.gate.listing import describe_model, list_model
from weighbridge.keys.files import generate
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.dsse import sign
from weighbridge.trust.roots import Roots
from weighbridge.trust.trusted_root import write_trusted_root

KEY = generate("ecdsa-p256")
RUN = {"builder": "https://example.com/ci", "invocation": "7"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Stand in an empty folder, at the time of the Sigstore in memory, with its trusted root at hand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "no-registry"))
    monkeypatch.setattr(verify, "_now", lambda: NOW + timedelta(days=1))
    (tmp_path / "me.pub.pem").write_text(KEY.public_pem)
    (tmp_path / "root.json").write_bytes(write_trusted_root(roots()))
    return tmp_path


@pytest.fixture
def model(here):
    made = here / "bert"
    (made / "sub").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "weights.safetensors").write_bytes(bytes(range(256)) * 9)
    (made / "sub" / "vocab.txt").write_text("a b c")
    return made


@pytest.fixture
def call(here, capsys):
    def command(*words):
        capsys.readouterr()
        code = run([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return command


def by_key(statement, key=KEY):
    return Bundle(sign(PAYLOAD_TYPE, statement.encode(), key), key.key_id).to_json()


def keyless(content, **changes):
    return Forged(content=content, **changes).build().to_json()


def claim(model):
    return predicates.package(*describe_model(model, None), **RUN)


WHO = ("--signer", SUBJECT, "--issuer", ISSUER, "--trusted-root", "root.json")
MINE = ("--key", "me.pub.pem")


# Whom.


def test_without_a_signer_it_says_what_to_type_and_that_nobody_checked(model, call):
    (model / "model.sig").write_bytes(keyless(list_model(model, model / "model.sig").statement.encode()))
    code, out, error = call("verify", model)
    assert (code, out) == (2, "")
    assert "expect.signer" in error
    assert "unverified" in error
    assert f"weighbridge verify {model} --signer {SUBJECT} --issuer {ISSUER}" in error
    code, _, _ = call("verify", model, *WHO)
    assert code == 0


def test_without_a_signer_a_key_is_named_by_its_id(model, call):
    Path("bert.sigstore.json").write_bytes(by_key(claim(model)))
    code, _, error = call("verify", model)
    assert code == 2
    assert str(KEY.key_id) in error
    assert "--bundle" in error
    assert "--key SIGNER.pub.pem" in error


def test_what_a_bundle_writes_about_itself_cannot_break_out_of_the_line(model, call):
    from cryptography import x509

    names = (x509.UniformResourceIdentifier("https://x/'; rm -rf ~; '"),)
    Path("bert.sigstore.json").write_bytes(keyless(claim(model).encode(), leaf=Leaf(names=names)))
    code, _, error = call("verify", model)
    assert code == 2
    assert """'https://x/'"'"'; rm -rf ~; '"'"''""" in error


def test_without_signer_and_signature(model, call):
    code, _, error = call("verify", model)
    assert code == 2
    assert "expect.signer" in error
    code, _, error = call("verify", model, *MINE)
    assert code == 2
    assert "--bundle FILE" in error


@pytest.mark.parametrize(
    ("words", "check"),
    [
        (("--signer", SUBJECT), "expect.issuer"),
        (("--signer", SUBJECT, "--issuer", ISSUER), "expect.roots"),
        ((*WHO, "--certificate-identity", SUBJECT), "expect.signer"),
        ((*WHO, *MINE), "expect.signer"),
        ((*MINE, "--issuer", ISSUER), "expect.signer"),
        ((*MINE, "--certificate-chain", "root.json"), "expect.signer"),
        (("--certificate-identity-regexp", "(", *WHO[2:]), "expect.pattern"),
        ((*WHO, "--demand", "logs"), "NAME=NUMBER"),
        ((*WHO, "--demand", "luck=1"), "NAME=NUMBER"),
        ((*WHO, "--demand", "logs=99"), "cannot be made"),
        (("--signer", "nobody.pem"), "there is no nobody.pem"),
        (("--signer", "me.pub.pem", "--issuer", ISSUER), "expect.signer"),
        (("--signer", "me.pub.pem", "--certificate-identity", SUBJECT), "expect.signer"),
        ((*MINE, "--bundle", "nowhere.json"), "there is no nowhere.json"),
        (("--signer", SUBJECT, "--certificate-chain", "me.pub.pem"), "no certificates"),
    ],
)
def test_what_cannot_be_meant(model, call, words, check):
    Path("bert.sigstore.json").write_bytes(keyless(claim(model).encode()))
    code, out, error = call("verify", model, *words)
    assert (code, out) == (2, "")
    assert check in error


@pytest.mark.parametrize(
    "words",
    [
        WHO,
        ("--certificate-identity", SUBJECT, "--certificate-oidc-issuer", ISSUER, *WHO[4:]),
        ("--certificate-identity-regexp", f"{SUBJECT[:-3]}.+", *WHO[2:]),
        ("--certificate-identity", SUBJECT, "--certificate-oidc-issuer-regexp", "https://.*", *WHO[4:]),
    ],
)
def test_names_and_patterns_that_fit(model, call, words):
    Path("bert.sigstore.json").write_bytes(keyless(claim(model).encode()))
    code, out, error = call("verify", model, *words)
    assert code == 0, error
    assert SUBJECT in out
    assert ISSUER in out


@pytest.mark.parametrize(
    "words",
    [
        ("--signer", SUBJECT[:-1], *WHO[2:]),
        ("--signer", SUBJECT + "x", *WHO[2:]),
        ("--signer", SUBJECT.upper(), *WHO[2:]),
        ("--signer", SUBJECT, "--issuer", ISSUER + "/", *WHO[4:]),
        ("--certificate-identity-regexp", SUBJECT[:-3], *WHO[2:]),
        ("--certificate-identity-regexp", SUBJECT[3:], *WHO[2:]),
        ("--certificate-identity", SUBJECT, "--certificate-oidc-issuer-regexp", "https", *WHO[4:]),
        MINE,
    ],
)
def test_names_and_patterns_that_do_not(model, call, words):
    Path("bert.sigstore.json").write_bytes(keyless(claim(model).encode()))
    code, out, error = call("verify", model, *words)
    assert (code, out) == (1, "")
    assert "identity.expected" in error or "bundle.material" in error


def test_one_of_many_claims_is_by_the_expected_signer(model, call):
    other = by_key(claim(model), generate("ecdsa-p256"))
    Path("bert.claims.jsonl").write_bytes(other + b"\n\n" + by_key(claim(model)) + b"\n" + b"{}\n")
    code, out, _ = call("verify", model, *MINE, "--format", "json")
    assert code == 0
    assert json.loads(out)["verifications"][0]["signature"].endswith("bert.claims.jsonl:3")
    Path("bert.claims.jsonl").write_bytes(other + b"\n" + other + b"\n")
    code, _, error = call("verify", model, *MINE)
    assert code == 1
    assert "of 2 signatures none will do" in error


def test_files_that_are_no_bundles(model, call):
    for data in (b"", b"{}", b"not json", b"[" * 100_000, b"{" * 9):
        Path("bad.json").write_bytes(data)
        code, _, error = call("verify", model, *MINE, "--bundle", "bad.json")
        assert code == 1
        assert "bundle.form" in error


def test_the_verdict_as_data(model, call):
    Path("bert.sigstore.json").write_bytes(keyless(claim(model).encode(), tsas=(Tsa(),)))
    code, out, _ = call("verify", model, *WHO, "--format", "json")
    assert code == 0
    item = json.loads(out)["verifications"][0]
    assert item["signer"]["subject"] == SUBJECT
    assert item["signer"]["issuer"] == ISSUER
    assert item["covers"] == str(claim(model).identities[0])
    assert item["bytes"]["files"] == 3
    assert [row["source"] for row in item["times"]] == ["log", "timestamp"]
    assert item["logs"][0]["index"] == 3
    assert item["assurance"] == "single-operator"
    code, out, _ = call("verify", model, *WHO)
    for words in ("entry 3 of rekor.test", "timestamp of https://tsa.test", "one operator's log", "blake3"):
        assert words in out


# What a bundle cannot choose.


def test_a_bundle_that_left_out_its_log_entry(model, call):
    for changes in ({"logged": False}, {"logged": False, "tsas": (Tsa(),)}):
        Path("bert.sigstore.json").write_bytes(keyless(claim(model).encode(), **changes))
        code, _, error = call("verify", model, *WHO)
        assert code == 1
        assert "evidence." in error
    code, _, error = call("verify", model, *WHO, "--demand", "logs=0")  # the caller may, the bundle may not
    assert code == 0, error


def test_more_may_be_demanded_than_the_roots_provide_for(model, call):
    Path("bert.sigstore.json").write_bytes(keyless(claim(model).encode()))
    assert call("verify", model, *WHO)[0] == 0
    for word in ("timestamps=1", "times=2", "witnesses=1"):
        code, _, error = call("verify", model, *WHO, "--demand", word)
        assert code == 1
        assert f"evidence.{word.split('=')[0]}" in error


def test_timestamps_alone_where_the_roots_have_no_log(model, call):
    """As GitHub attests what lies in private repositories: no log, no certificate log."""
    bare = replace(roots(), logs=(), ctlogs=())
    Path("github.json").write_bytes(write_trusted_root(bare))
    words = (*WHO[:4], "--trusted-root", "github.json")
    leaf = Leaf(ct=())
    Path("bert.sigstore.json").write_bytes(
        keyless(claim(model).encode(), leaf=leaf, logged=False, tsas=(Tsa(),))
    )
    code, out, error = call("verify", model, *words)
    assert code == 0, error
    assert "no log" in out
    assert call("verify", model, *WHO)[0] == 1  # the other root has a log, and demands it
    both = write_trusted_root(roots()) + b"\n" + write_trusted_root(bare) + b"\n"
    Path("root.jsonl").write_bytes(both)
    assert call("verify", model, *WHO[:4], "--trusted-root", "root.jsonl")[0] == 0
    Path("bert.sigstore.json").write_bytes(keyless(claim(model).encode(), leaf=leaf, logged=False))
    for root in ("github.json", "root.jsonl"):
        code, _, error = call("verify", model, *WHO[:4], "--trusted-root", root)
        assert code == 1
        assert "evidence." in error


def test_with_a_key_alone_the_log_is_not_looked_at_and_that_is_said(model, call):
    bundle = keyless(claim(model).encode(), with_key=KEY)
    Path("bert.sigstore.json").write_bytes(bundle)
    code, out, _ = call("verify", model, *MINE)
    assert code == 0
    assert "not looked at: 1 proof" in out
    code, out, _ = call("verify", model, *MINE, "--trusted-root", "root.json")
    assert code == 0
    assert "entry 3 of rekor.test" in out
    Path("bert.sigstore.json").write_bytes(by_key(claim(model)))
    code, _, error = call("verify", model, *MINE, "--trusted-root", "root.json")
    assert (code, "evidence.logs" in error) == (1, True)


def test_a_trust_configuration_of_a_client_is_a_root_as_well(model, call):
    inner = json.loads(write_trusted_root(roots()))
    Path("config.json").write_text(json.dumps({"mediaType": "x", "trustedRoot": inner, "signingConfig": {}}))
    Path("bert.sigstore.json").write_bytes(keyless(claim(model).encode()))
    assert call("verify", model, *WHO[:4], "--trusted-root", "config.json")[0] == 0
    Path("config.json").write_bytes(write_trusted_root(Roots()))
    assert call("verify", model, *WHO[:4], "--trusted-root", "config.json")[0] == 1


# What was said.


def test_another_claim_of_the_same_signer_is_not_the_one_wanted(model, call):
    manifest, _ = describe_model(model, None)
    found = predicates.evaluate(manifest.digest, "PASSED", {"accuracy": 0.9}, invocation="7")
    Path("bert.sigstore.json").write_bytes(by_key(found))
    code, _, error = call("verify", model, *MINE)
    assert code == 1
    assert "claim.type" in error
    for word in ("evaluate", found.predicate_type):
        assert call("verify", model, *MINE, "--type", word)[0] == 0
    assert call("verify", model, *MINE, "--type", "package")[0] == 1


def test_a_claim_that_says_no(model, call):
    manifest, _ = describe_model(model, None)
    found = predicates.evaluate(manifest.digest, "FAILED", {"accuracy": 0.1}, invocation="7")
    Path("bert.sigstore.json").write_bytes(by_key(found))
    code, _, error = call("verify", model, *MINE, "--type", "evaluate")
    assert code == 1
    assert "claim.result" in error


def test_a_claim_about_weights_says_so(model, call):
    manifest, _ = describe_model(model, None)
    found = predicates.evaluate(manifest.weights, "PASSED", {"accuracy": 0.9}, invocation="7")
    Path("bert.sigstore.json").write_bytes(by_key(found))
    (model / "config.json").write_text("another")
    code, out, _ = call("verify", model, *MINE, "--type", "evaluate")
    assert code == 0
    assert "the weight files only" in out
    (model / "weights.safetensors").write_bytes(b"another")
    code, _, error = call("verify", model, *MINE, "--type", "evaluate")
    assert (code, "statement.subject" in error) == (1, True)


def test_a_claim_that_is_about_no_model(model, call):
    other = Statement((subject_of(Digest.of(b"x")),), "https://example.com/v1", {})
    Path("bert.sigstore.json").write_bytes(by_key(other))
    code, _, error = call("verify", model, *MINE, "--type", "https://example.com/v1")
    assert (code, "statement.subject" in error) == (1, True)


# One file.


@pytest.fixture
def file(here):
    (here / "weights.bin").write_bytes(ARTIFACT)
    return here / "weights.bin"


def test_a_signature_over_a_file(file, call):
    Path("weights.bin.sigstore.json").write_bytes(Forged("hashedrekord").build().to_json())
    code, out, error = call("verify", file, *WHO)
    assert code == 0, error
    assert "no claim" in out
    assert call("verify", file, *WHO, "--type", "package")[0] == 1
    file.write_bytes(ARTIFACT + b"!")
    code, _, error = call("verify", file, *WHO)
    assert (code, "bundle.artifact" in error) == (1, True)


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa"])
def test_a_signature_over_a_file_by_each_kind_of_key(file, call, algorithm):
    key = generate(algorithm)
    Path("me.pub.pem").write_text(key.public_pem)
    bundle = Forged("hashedrekord", with_key=key, logged=False).build()
    Path("weights.bin.sigstore.json").write_bytes(bundle.to_json())
    code, _, error = call("verify", file, *MINE)
    assert code == 0, error
    file.write_bytes(ARTIFACT[::-1])
    assert call("verify", file, *MINE)[0] == 1


def test_a_signature_over_a_file_is_none_over_a_folder(model, call):
    Path("bert.sigstore.json").write_bytes(Forged("hashedrekord").build().to_json())
    code, _, error = call("verify", model, *WHO)
    assert (code, "bundle.artifact" in error) == (1, True)


def test_an_attestation_of_one_file_by_its_digest(file, call):
    Path("weights.bin.sigstore.json").write_bytes(keyless(None))
    words = (*WHO, "--type", "https://example.com/claim/v1")
    code, out, error = call("verify", file, *words)
    assert code == 0, error
    assert "signed as 'model'" in out
    assert call("verify", file, *WHO)[0] == 1  # it lists no files, so it must be asked for by name
    file.write_bytes(b"other")
    assert call("verify", file, *words)[0] == 1


# Which files may be there.


@pytest.fixture(params=["claim", "thorough", "oms"])
def signed(request, model):
    """Return the words that verify a model signed as a whole, its signature inside."""
    name = model / ("model.sig" if request.param == "oms" else "bert.sigstore.json")
    if request.param == "oms":
        name.write_bytes(by_key(list_model(model, name).statement))
    else:
        name.write_bytes(by_key(claim(model)))
    return ("verify", model, *MINE, *(("--sha256",) if request.param == "thorough" else ()))


def test_all_is_in_order(signed, call):
    code, out, error = call(*signed)
    assert code == 0, error
    assert "3 files" in out
    assert "the signature that is used" in out


def swap(model):
    one, two = model / "config.json", model / "sub" / "vocab.txt"
    a, b = one.read_bytes(), two.read_bytes()
    one.write_bytes(b)
    two.write_bytes(a)


CHANGES = {
    "added": (lambda model: (model / "new.py").write_text("x"), ["not signed: 'new.py'"]),
    "missing": (lambda model: (model / "config.json").unlink(), ["missing: 'config.json'"]),
    "renamed": (
        lambda model: (model / "config.json").rename(model / "CONFIG.json"),
        ["'config.json' is now called 'CONFIG.json'"],
    ),
    "moved": (
        lambda model: (model / "sub" / "vocab.txt").rename(model / "vocab.txt"),
        ["'sub/vocab.txt' is now called 'vocab.txt'"],
    ),
    "swapped": (
        swap,
        [
            "'config.json' holds what was signed as 'sub/vocab.txt'",
            "'sub/vocab.txt' holds what was signed as",
        ],
    ),
    "one bit": (
        lambda model: (model / "config.json").write_bytes(b"{]"),
        ["other bytes than signed: 'config.json'"],
    ),
    "longer": (
        lambda model: (model / "config.json").write_text("{} "),
        ["other bytes than signed: 'config.json'"],
    ),
    "emptied": (
        lambda model: (model / "config.json").write_text(""),
        ["other bytes than signed: 'config.json'"],
    ),
    "evidence of others": (
        lambda model: (model / "other.sigstore.json").write_text("{}"),
        ["not signed: 'other.sigstore.json'"],
    ),
    "claims": (lambda model: (model / "claims.jsonl").write_text("{}"), ["not signed: 'claims.jsonl'"]),
    "hidden": (lambda model: (model / ".hidden").write_text(""), ["not signed: '.hidden'"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_difference_is_named(signed, model, call, change):
    make, words = CHANGES[change]
    make(model)
    code, out, error = call(*signed)
    assert (code, out) == (1, "")
    assert "bytes.match" in error
    for word in words:
        assert word in error


def test_a_signature_under_another_name_is_content(signed, model, call):
    """Only the very file whose signature is used is no part of the model."""
    own = next(
        path for path in model.iterdir() if path.suffix in (".sig", ".json") and path.name != "config.json"
    )
    (model / "copy.sigstore.json").write_bytes(own.read_bytes())
    code, _, error = call(*signed, "--bundle", own)
    assert code == 1
    assert "not signed: 'copy.sigstore.json'" in error
    code, _, error = call(*signed, "--bundle", model / "copy.sigstore.json")
    assert code == 1
    assert f"not signed: '{own.name}'" in error
    code, out, _ = call(*signed, "--bundle", own, "--allow-unsigned", "copy.sigstore.json")
    assert code == 0
    assert "copy.sigstore.json (1 file; allowed here" in out


def test_a_link_is_no_file(signed, model, call, here):
    (here / "outside").write_text("{}")
    (model / "config.json").unlink()
    (model / "config.json").symlink_to(here / "outside")
    code, _, error = call(*signed)
    assert code == 1
    assert "manifest.path" in error


def test_a_folder_may_be_allowed_by_name(signed, model, call):
    (model / "notes" / "deep").mkdir(parents=True)
    (model / "notes" / "deep" / "a").write_text("x")
    (model / "notesx").write_text("x")
    code, _, error = call(*signed, "--allow-unsigned", "notes/")
    assert (code, "'notesx'" in error) == (1, True)
    (model / "notesx").unlink()
    code, out, _ = call(*signed, "--allow-unsigned", "notes/")
    assert code == 0
    assert "not covered: notes (1 file; allowed here" in out


def test_a_signed_file_is_compared_though_it_is_allowed(signed, model, call):
    (model / "config.json").write_text("changed")
    code, _, error = call(*signed, "--allow-unsigned", "config.json")
    assert code == 1
    assert "config.json" in error


def test_files_of_git(model, call):
    sig = model / "model.sig"
    sig.write_bytes(by_key(list_model(model, sig).statement))
    (model / ".git" / "hooks").mkdir(parents=True)
    (model / ".git" / "hooks" / "x").write_text("x")
    code, _, error = call("verify", model, *MINE, "--bundle", sig)
    assert (code, "'.git/hooks/x'" in error, "--allow-ignored" in error) == (1, True, True)
    code, out, _ = call("verify", model, *MINE, "--bundle", sig, "--allow-ignored")
    assert (code, ".git (1 file; left out by the signer)" in out) == (0, True)
    sig.unlink()
    Path("bert.sigstore.json").write_bytes(by_key(claim(model)))
    code, out, _ = call("verify", model, *MINE)  # our manifest never covers them, and says so
    assert (code, ".git (1 file; never part of a model" in out) == (0, True)


def test_the_other_places_of_signatures(model, call):
    (model / ".kaggle").mkdir()
    place = model / ".kaggle" / "signing.json"
    place.write_bytes(by_key(list_model(model, place).statement))
    assert call("verify", model, *MINE)[0] == 0
    place.rename("bert.sig")
    (model / ".kaggle").rmdir()
    assert call("verify", model, *MINE)[0] == 0


# What it costs to start.

HEAVY = ("sigstore", "httpx2", "httpx", "sqlalchemy", "numpy", "asyncio", "cyclonedx", "huggingface_hub", "model_signing", "ssl", "concurrent")  # fmt: skip


def test_verifying_imports_nothing_heavy(model, here):
    Path("bert.sigstore.json").write_bytes(by_key(claim(model)))
    program = f"""
import sys
from weighbridge.cli.main import run
assert run(["verify", {str(model)!r}, "--key", "me.pub.pem"]) == 0
loaded = {{name.partition(".")[0] for name in sys.modules}} & set({HEAVY!r})
assert not loaded, loaded
assert "weighbridge.core.finding" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# What moves while we look, and what a hub's cache looks like.


def test_another_file_under_the_signatures_name_is_content(model, here):
    from weighbridge.core.errors import VerificationFailed
    from weighbridge.gate.signatures import signatures_of
    from weighbridge.gate.signed import Expectation, check_signed
    from weighbridge.trust.demand import Demand
    from weighbridge.trust.expect import ExpectedKey

    sig = model / "model.sig"
    sig.write_bytes(by_key(list_model(model, sig).statement))
    found, _ = signatures_of(model)
    wanted = Expectation(ExpectedKey(KEY.key_id), key_pem=KEY.public_pem, demand=Demand(logs=0))
    assert check_signed(model, found, [wanted], now=NOW).covered.files == 3
    sig.write_bytes(b"weights in disguise")  # between reading the signature and reading the model
    with pytest.raises(VerificationFailed) as caught:
        check_signed(model, found, [wanted], now=NOW)
    assert "not signed: 'model.sig'" in caught.value.cause


def test_a_snapshot_in_a_hubs_cache(model, call, here):
    from weighbridge.core.digest import Digest

    sig = model / "model.sig"
    sig.write_bytes(by_key(list_model(model, sig).statement))
    top = here / "hub" / "models--org--bert"
    snapshot = top / "snapshots" / ("ab" * 20)
    (top / "blobs").mkdir(parents=True)
    (top / "refs").mkdir()
    (top / "refs" / "main").write_text("ab" * 20)
    for path in model.rglob("*"):
        if path.is_file():
            name = path.relative_to(model)
            blob = top / "blobs" / Digest.of(path.read_bytes()).hex
            blob.write_bytes(path.read_bytes())
            link = snapshot / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(*[".."] * (len(name.parts) + 1)) / "blobs" / blob.name)
    for where in (snapshot, top):
        code, out, error = call("verify", where, *MINE)
        assert code == 0, error
        assert "3 files" in out
        assert "model.sig (1 file; the signature that is used)" in out


def test_proof_demanded_of_nobody(model, call):
    Path("bert.sigstore.json").write_bytes(by_key(claim(model)))
    code, _, error = call("verify", model, *MINE, "--demand", "logs=1")
    assert (code, "expect.roots" in error) == (2, True)


def test_a_summary_that_did_not_pass(model, call):
    manifest, _ = describe_model(model, None)
    kind = "https://slsa.dev/verification_summary/v1"
    for result, expected in (("PASSED", 0), ("FAILED", 1), ("passed", 1), (None, 1)):
        made = Statement((subject_of(manifest.digest),), kind, {"verificationResult": result})
        Path("bert.sigstore.json").write_bytes(by_key(made))
        code, _, error = call("verify", model, *MINE, "--type", kind)
        assert code == expected, error
