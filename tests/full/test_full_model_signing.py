"""The library of OpenSSF Model Signing, unmodified: what it signs we verify, what we sign it verifies, and what it overlooks."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

from server_bench import V1, V2, running
from trust_services import DEVELOPER, development, services

from weighbridge.cli.main import run
from weighbridge.gate.listing import list_model
from weighbridge.keys.files import generate
from weighbridge.trust.issuers import DEVELOPMENT_ISSUER
from weighbridge.trust.keyless import sign_keyless
from weighbridge.trust.signing_config import Endpoints, client_trust_config

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
CURVES = ("ecdsa-p256", "ecdsa-p384", "ecdsa-p521")
DAY = timedelta(days=1)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """Return a folder with files in folders, an empty file, one of several shards, and git's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG_HOME", str(tmp_path / "home"))
    made = tmp_path / "finbert"
    (made / "sub").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (made / "sub" / "b.bin").write_bytes(b"bb")
    (made / "sub-b").write_bytes(b"sorted by parts")
    (made / ".gitattributes").write_text("*.bin filter=lfs")
    return made


@pytest.fixture
def keys(tmp_path):
    """Return the paths of a private and a public key of any kind."""

    def made(algorithm="ecdsa-p256"):
        key = generate(algorithm)
        private, public = tmp_path / f"{algorithm}.pem", tmp_path / f"{algorithm}.pub.pem"
        key.save(private)
        public.write_text(key.public_pem)
        return private, public

    return made


@pytest.fixture
def ours(capsys):
    """Run one of our commands; returns its code and all it said."""

    def command(*words):
        capsys.readouterr()
        code = run([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out + said.err

    return command


def hashing(method, algorithm, **more):
    from model_signing import hashing as theirs

    config = theirs.Config()
    if method == "shards":
        return config.use_shard_serialization(hashing_algorithm=algorithm, shard_size=1000, **more)
    return config.use_file_serialization(hashing_algorithm=algorithm, **more)


def theirs_sign(model, signature, how, **signer):
    from model_signing import signing

    config = signing.Config().set_hashing_config(
        how.set_ignored_paths(paths=[signature.relative_to(model)] if signature.is_relative_to(model) else [])
    )
    config.use_elliptic_key_signer(**signer).sign(model, signature)


def theirs_verify(model, signature, public, how=None):
    """Return None, or why they refuse."""
    from model_signing import verifying

    config = verifying.Config()
    if how is not None:
        names = {"model.sig", ".git", ".gitattributes", ".github", ".gitignore"}
        config.set_hashing_config(how.set_ignored_paths(paths=names))
    try:
        config.use_elliptic_key_verifier(public_key=public).verify(model, signature)
    except ValueError as error:
        return str(error)
    return None


# Keys.


@pytest.mark.parametrize(
    ("method", "algorithm"),
    [
        ("files", "sha256"),
        ("files", "blake2"),
        ("files", "blake3"),
        ("shards", "sha256"),
        ("shards", "blake2"),
    ],
)
def test_they_sign_with_a_key_and_we_verify(model, keys, ours, method, algorithm):
    private, public = keys()
    signature = model / "model.sig"
    theirs_sign(model, signature, hashing(method, algorithm), private_key=private)
    code, said = ours("verify", model, "--key", public, "--allow-ignored")
    assert code == 0, said
    assert "4 files" in said
    assert ".gitattributes" in said  # what nobody signed is told
    (model / "sub" / "b.bin").write_bytes(b"bc")
    code, said = ours("verify", model, "--key", public, "--allow-ignored")
    assert code == 1
    assert "other bytes than signed: 'sub/b.bin'" in said


@pytest.mark.parametrize("algorithm", CURVES)
def test_each_curve_both_ways(model, keys, ours, algorithm):
    private, public = keys(algorithm)
    theirs_sign(model, model.parent / "theirs.sig", hashing("files", "sha256"), private_key=private)
    (model / ".gitattributes").unlink()
    code, said = ours("verify", model, "--key", public, "--bundle", "theirs.sig")
    assert code == 0, said
    code, said = ours("sign", model, "--key", private, "--oms", "--bundle", "ours.sig")
    assert code == 0, said
    assert theirs_verify(model, model.parent / "ours.sig", public) is None


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ((), None),
        (("--hash", "blake3"), None),
        (("--shard-size", "1000"), None),
        # They write "blake2b" and then do not know it when they read it, so they must be told.
        (("--hash", "blake2b"), ("files", "blake2")),
        (("--hash", "blake2b", "--shard-size", "1000"), ("shards", "blake2")),
    ],
    ids=str,
)
def test_we_sign_with_a_key_and_they_verify(model, keys, ours, words, how):
    private, public = keys()
    code, said = ours("sign", model, "--key", private, "--format", "oms", *words)
    assert code == 0, said
    signature, config = model / "model.sig", how and hashing(*how)
    assert theirs_verify(model, signature, public, config) is None
    assert ours("verify", model, "--key", public, "--allow-ignored")[0] == 0
    (model / "model.safetensors").write_bytes(bytes(10240))
    assert "model.safetensors" in theirs_verify(model, signature, public, how and hashing(*how))


def test_a_model_of_one_file_both_ways(model, keys, ours):
    private, public = keys()
    one = model / "model.safetensors"
    theirs_sign(one, model.parent / "theirs.sig", hashing("files", "sha256"), private_key=private)
    assert ours("verify", one, "--key", public, "--bundle", "theirs.sig")[0] == 0
    assert ours("sign", one, "--key", private, "--oms", "--bundle", "ours.sig")[0] == 0
    assert theirs_verify(one, model.parent / "ours.sig", public) is None
    assert ours("verify", model / "config.json", "--key", public, "--bundle", "theirs.sig")[0] == 1


def test_both_make_the_same_list_and_root(model, keys, ours):
    private, _ = keys()
    theirs_sign(model, model.parent / "theirs.sig", hashing("files", "sha256"), private_key=private)
    assert ours("sign", model, "--key", private, "--oms", "--bundle", "ours.sig")[0] == 0
    a, b = (statement(model.parent / name) for name in ("theirs.sig", "ours.sig"))
    assert a["subject"] == b["subject"]
    assert a["predicate"]["resources"] == b["predicate"]["resources"]


def statement(path):
    import base64

    return json.loads(base64.b64decode(json.loads(path.read_bytes())["dsseEnvelope"]["payload"]))


def test_another_key_is_refused_by_both(model, keys, ours):
    private, _ = keys()
    assert ours("sign", model, "--key", private, "--oms")[0] == 0
    other = model.parent / "other.pub.pem"
    other.write_text(generate("ecdsa-p256").public_pem)
    assert "Key mismatch" in theirs_verify(model, model / "model.sig", other)
    code, said = ours("verify", model, "--key", other, "--allow-ignored")
    assert (code, "bundle.signature" in said) == (1, True)


# What they overlook.


def test_a_hook_of_git_added_after_signing(model, keys, ours):
    private, public = keys()
    (model / ".gitattributes").unlink()
    theirs_sign(model, model / "model.sig", hashing("files", "sha256"), private_key=private)
    assert ours("verify", model, "--key", public)[0] == 0
    (model / ".git" / "hooks").mkdir(parents=True)
    (model / ".git" / "hooks" / "post-checkout").write_text("import os")
    assert theirs_verify(model, model / "model.sig", public) is None
    code, said = ours("verify", model, "--key", public)
    assert code == 1
    assert "not signed: '.git/hooks/post-checkout'" in said


def test_an_empty_file_added_to_a_list_of_shards(model, keys, ours):
    private, public = keys()
    (model / ".gitattributes").unlink()
    theirs_sign(model, model / "model.sig", hashing("shards", "sha256"), private_key=private)
    (model / "__init__.py").write_bytes(b"")
    # They write the size of shards as 1000.0 and cannot count in such steps, so they must be told.
    assert theirs_verify(model, model / "model.sig", public, hashing("shards", "sha256")) is None
    code, said = ours("verify", model, "--key", public)
    assert (code, "'__init__.py'" in said) == (1, True)


def test_both_refuse_names_that_were_exchanged_though_the_root_is_the_same(model, keys, ours):
    private, public = keys()
    assert ours("sign", model, "--key", private, "--oms", "--bundle", "ours.sig")[0] == 0
    (model / "sub-b").rename(model / "sub-c")
    assert ours("sign", model, "--key", private, "--oms", "--bundle", "after.sig")[0] == 0
    before, after = (statement(model.parent / name)["subject"] for name in ("ours.sig", "after.sig"))
    assert before == after
    assert "sub-b" in theirs_verify(model, model.parent / "ours.sig", public)
    code, said = ours("verify", model, "--key", public, "--bundle", "ours.sig", "--allow-ignored")
    assert code == 1
    assert "'sub-b' is now called 'sub-c'" in said


# Certificates of an organisation's own.


def issue(
    tmp_path, *, usage=ExtendedKeyUsageOID.CODE_SIGNING, begin=-DAY, end=30 * DAY, name="release@example.com"
):
    """Make a root, an intermediate and a leaf; returns the leaf's key, the leaf, the chain and the root as paths."""
    now = datetime.now(UTC).replace(microsecond=0)
    root_key, mid_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = certificate("root", root_key, "root", root_key, now - 900 * DAY, now + 900 * DAY)
    mid = certificate("mid", mid_key, "root", root_key, now - 800 * DAY, now + 800 * DAY)
    extra = [
        (x509.KeyUsage(True, False, False, False, False, False, False, False, False), True),
        (x509.ExtendedKeyUsage([usage]), False),
    ]
    if name:
        extra.append((x509.SubjectAlternativeName([x509.RFC822Name(name)]), False))
    leaf = certificate("Example Release", leaf_key, "mid", mid_key, now + begin, now + end, extra)
    paths = [tmp_path / name for name in ("leaf.key", "leaf.pem", "mid.pem", "root.pem")]
    pem = serialization.Encoding.PEM
    key = leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths[0].touch(0o600)
    paths[0].write_bytes(key)
    for path, made in zip(paths[1:], (leaf, mid, root), strict=True):
        path.write_bytes(made.public_bytes(pem))
    return paths


def certificate(name, key, issuer, signing_key, begin, end, extra=None):
    ca = [
        (x509.BasicConstraints(True, None), True),
        (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), False)
    )
    for value, critical in extra or ca:
        builder = builder.add_extension(value, critical)
    return builder.sign(signing_key, hashes.SHA256())


def certified(model, key, leaf, mid):
    from model_signing import signing

    config = signing.Config().set_hashing_config(hashing("files", "sha256"))
    config.use_certificate_signer(private_key=key, signing_certificate=leaf, certificate_chain=[mid])
    config.sign(model, model.parent / "theirs.sig")


def theirs_accept(model, signature, root):
    from model_signing import verifying

    try:
        verifying.Config().use_certificate_verifier(certificate_chain=[root]).verify(model, signature)
    except Exception:  # noqa: BLE001 (they let the library's own errors out)
        return False
    return True


@pytest.fixture
def bare(model):
    (model / ".gitattributes").unlink()
    return model


def test_they_sign_with_a_certificate_and_we_verify(bare, tmp_path, ours):
    key, leaf, mid, root = issue(tmp_path)
    certified(bare, key, leaf, mid)
    words = ("verify", bare, "--bundle", "theirs.sig", "--certificate-chain", root)
    code, said = ours(*words, "--signer", "release@example.com")
    assert code == 0, said
    assert "release@example.com" in said
    assert ours(*words, "--signer", "release@example.co")[0] == 1
    assert ours(*words, "--certificate-identity-regexp", "release@example")[0] == 1
    assert ours(*words, "--certificate-identity-regexp", r"[a-z]+@example\.com")[0] == 0


def test_a_certificate_without_a_name_goes_by_its_common_name(bare, tmp_path, ours):
    key, leaf, mid, root = issue(tmp_path, name="")
    certified(bare, key, leaf, mid)
    words = ("verify", bare, "--bundle", "theirs.sig", "--certificate-chain", root)
    assert ours(*words, "--signer", "Example Release")[0] == 0
    assert ours(*words, "--signer", "Example")[0] == 1


def test_we_sign_with_a_certificate_and_they_verify(bare, tmp_path, ours):
    key, leaf, mid, root = issue(tmp_path)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(leaf.read_bytes() + mid.read_bytes())
    code, said = ours("sign", bare, "--oms", "--key", key, "--certificate", chain)
    assert code == 0, said
    assert theirs_accept(bare, bare / "model.sig", root)
    words = ("verify", bare, "--certificate-chain", root, "--signer", "release@example.com")
    assert ours(*words)[0] == 0
    (bare / "config.json").write_text("{ }")
    assert not theirs_accept(bare, bare / "model.sig", root)
    assert ours(*words)[0] == 1


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ({"begin": -700 * DAY, "end": -600 * DAY}, "certificate.time"),
        ({"usage": ExtendedKeyUsageOID.SERVER_AUTH}, "certificate.usage"),
    ],
    ids=["ended long ago", "of a TLS server"],
)
def test_certificates_that_they_accept_and_we_do_not(bare, tmp_path, ours, wrong, check):
    key, leaf, mid, root = issue(tmp_path, **wrong)
    certified(bare, key, leaf, mid)
    assert theirs_accept(bare, bare.parent / "theirs.sig", root)
    code, said = ours(
        "verify",
        bare,
        "--bundle",
        "theirs.sig",
        "--certificate-chain",
        root,
        "--signer",
        "release@example.com",
    )
    assert code == 1
    assert check in said


def test_another_root_is_refused_by_both(bare, tmp_path, ours):
    key, leaf, mid, _ = issue(tmp_path)
    certified(bare, key, leaf, mid)
    other = tmp_path / "other"
    other.mkdir()
    root = issue(other)[3]
    assert not theirs_accept(bare, bare.parent / "theirs.sig", root)
    code, said = ours(
        "verify",
        bare,
        "--bundle",
        "theirs.sig",
        "--certificate-chain",
        root,
        "--signer",
        "release@example.com",
    )
    assert (code, "certificate.chain" in said) == (1, True)


# Without a key of one's own.


@pytest.fixture
def sigstore(tmp_path):
    """Return a private Sigstore in this process and the file that tells clients of it."""
    now = datetime.now(UTC).replace(microsecond=0)
    made = services(tmp_path / "services", now)
    config = tmp_path / "trust.json"
    config.write_bytes(client_trust_config(made.roots(), Endpoints.at("http://127.0.0.1:8091", now)))
    return made, config, now


def theirs_believe(model, signature, config, identity=DEVELOPER):
    from model_signing import verifying
    from sigstore.errors import VerificationError

    wanted = verifying.Config().use_sigstore_verifier(
        identity=identity, oidc_issuer=DEVELOPMENT_ISSUER, trust_config=config
    )
    try:
        wanted.verify(model, signature)
    except (ValueError, VerificationError) as error:
        return str(error)
    return None


def test_we_sign_with_a_token_and_they_verify(bare, sigstore, ours):
    made, config, now = sigstore
    signature = bare / "model.sig"
    listed = list_model(bare, signature)
    token = development().token(DEVELOPER, now)
    signature.write_bytes(sign_keyless(listed.statement, token, made, now).to_json())
    assert theirs_believe(bare, signature, config) is None
    assert theirs_believe(bare, signature, config, "trainer@example.com") is not None
    words = ("verify", bare, "--trusted-root", config, "--issuer", DEVELOPMENT_ISSUER)
    code, said = ours(*words, "--signer", DEVELOPER)
    assert code == 0, said
    assert DEVELOPER in said
    assert "weighbridge.test" in said
    assert ours(*words, "--signer", "trainer@example.com")[0] == 1
    (bare / "config.json").write_text("{ }")
    assert "config.json" in theirs_believe(bare, signature, config)
    code, said = ours(*words, "--signer", DEVELOPER)
    assert (code, "config.json" in said) == (1, True)


@pytest.fixture(params=[(V1, "ecdsa-p256"), (V2, "ed25519")], ids=["rekor 1", "rekor 2"])
def instance(request, tmp_path):
    """Return a private Sigstore on a loopback port, with a log of either form."""
    origin, algorithm = request.param
    with running(tmp_path / "instance", origin=origin, algorithm=algorithm) as made:
        yield made


def test_they_sign_with_a_token_and_we_verify(bare, instance, ours):
    from model_signing import signing

    config = instance.trust_config()
    theirs = signing.Config().set_hashing_config(hashing("files", "sha256"))
    theirs.use_sigstore_signer(identity_token=instance.token(), trust_config=config)
    theirs.sign(bare, bare.parent / "theirs.sig")
    words = ("verify", bare, "--bundle", "theirs.sig", "--trusted-root", config)
    code, said = ours(*words, "--signer", DEVELOPER, "--issuer", DEVELOPMENT_ISSUER)
    assert code == 0, said
    assert "4 files" in said
    assert "one operator's log" in said
    assert ours(*words, "--signer", DEVELOPER, "--issuer", "https://accounts.example")[0] == 1
    assert theirs_believe(bare, bare.parent / "theirs.sig", config) is None


def test_we_sign_with_a_token_over_the_network_and_they_verify(bare, instance, ours):
    config = instance.trust_config()
    (bare.parent / "token").write_text(instance.token())
    code, said = ours("sign", bare, "--oms", "--keyless", "--identity-token", "@token", "--instance", config)
    assert code == 0, said
    assert DEVELOPER in said
    assert theirs_believe(bare, bare / "model.sig", config) is None
    words = ("verify", bare, "--trusted-root", config, "--signer", DEVELOPER, "--issuer", DEVELOPMENT_ISSUER)
    code, said = ours(*words)
    assert code == 0, said
    (bare / "sub-b").unlink()
    assert "sub-b" in theirs_believe(bare, bare / "model.sig", config)
    code, said = ours(*words)
    assert (code, "missing: 'sub-b'" in said) == (1, True)
