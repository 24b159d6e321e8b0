"""sigstore for Python, model_signing, openssl and a TUF client work against our server as they are: they sign, and refuse what is wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

from server_bench import DEVELOPER, V2, Now, running
from trust_services import service_key

from weighbridge.trust.artifact import Artifact
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.demand import Demand
from weighbridge.trust.issuers import DEVELOPMENT_ISSUER
from weighbridge.trust.prove import prove
from weighbridge.trust.tuf_repository import OnlineKeys, TufRepository

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
BIN = Path(sys.executable).parent
FORMS = [("weighbridge.test - 7", "ecdsa-p256"), (V2, "ed25519")]


@pytest.fixture(scope="module", params=FORMS, ids=["v1", "v2"])
def instance(request, tmp_path_factory):
    origin, algorithm = request.param
    with running(tmp_path_factory.mktemp("python"), origin=origin, algorithm=algorithm) as made:
        yield made


@pytest.fixture
def first(tmp_path):
    with running(tmp_path / "first") as made:
        yield made


def program(name, *arguments, home):
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1"}
    command = [str(BIN / name), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=90)


def ours(instance, bundle, *, artifact=None):
    """Hold a bundle against our own verifier, with everything demanded."""
    proof = prove(
        Bundle.from_json(bundle),
        roots=instance.services.roots(),
        demand=Demand(logs=1, timestamps=1, scts=1, times=1),
        now=Now().now(),
        payload_type=None,
        artifact=artifact,
    )
    assert (proof.signer.subject, proof.signer.issuer) == (DEVELOPER, DEVELOPMENT_ISSUER)
    return proof


def test_the_library_signs_and_verifies(instance):
    from sigstore.dsse import StatementBuilder, Subject
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken
    from sigstore.sign import SigningContext
    from sigstore.verify import Verifier, policy

    config = ClientTrustConfig.from_json(instance.trust_config().read_text())
    statement = (
        StatementBuilder()
        .subjects([Subject(name="model", digest={"sha256": "ab" * 32})])
        .predicate_type("https://weighbridge.dev/test/v1")
        .predicate({"a": 1})
        .build()
    )
    with SigningContext.from_trust_config(config).signer(IdentityToken(instance.token())) as signer:
        signed, file = signer.sign_dsse(statement), signer.sign_artifact(b"weights")
    verifier = Verifier(trusted_root=config.trusted_root)
    expected = policy.Identity(identity=DEVELOPER, issuer=DEVELOPMENT_ISSUER)
    assert json.loads(verifier.verify_dsse(signed, expected)[1])["predicate"] == {"a": 1}
    verifier.verify_artifact(b"weights", file, expected)
    with pytest.raises(Error):
        verifier.verify_artifact(b"other", file, expected)
    for wrong in (
        policy.Identity(identity="other@example.org", issuer=DEVELOPMENT_ISSUER),
        policy.Identity(identity=DEVELOPER, issuer="https://other.example"),
    ):
        with pytest.raises(Error):
            verifier.verify_dsse(signed, wrong)
    ours(instance, signed.to_json().encode())
    ours(instance, file.to_json().encode(), artifact=Artifact.of(b"weights"))


def test_a_forged_or_foreign_token_gets_the_library_nothing(first):
    from sigstore._internal.fulcio.client import FulcioClientError
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken
    from sigstore.sign import SigningContext

    from weighbridge.trust.development import DevelopmentIssuer

    class Entropy:
        def token(self, size):
            return bytes(size)

    config = ClientTrustConfig.from_json(first.trust_config().read_text())
    stranger = DevelopmentIssuer(service_key("stranger"), entropy=Entropy())
    token, size = first.token(), first.services.ct.log.size
    for forged in (token[:-8] + "AAAAAAAA", stranger.token(DEVELOPER, Now().now())):
        context = SigningContext.from_trust_config(config).signer(IdentityToken(forged))
        with pytest.raises(FulcioClientError), context as signer:
            signer.sign_artifact(b"weights")
    first.services.ct.log.refresh()
    assert first.services.ct.log.size == size


def test_the_command_signs_and_verifies(instance, tmp_path):
    (tmp_path / "f").write_bytes(b"weights")
    (tmp_path / "g").write_bytes(b"other")
    config = ("--trust-config", instance.trust_config())
    signing = ("sign", "--identity-token", instance.token(), "--bundle", tmp_path / "b", tmp_path / "f")
    done = program("sigstore", *config, *signing, home=tmp_path)
    assert done.returncode == 0, done.stderr
    ours(instance, (tmp_path / "b").read_bytes(), artifact=Artifact.of(b"weights"))

    def verify(file="f", identity=DEVELOPER, issuer=DEVELOPMENT_ISSUER):
        who = ("--cert-identity", identity, "--cert-oidc-issuer", issuer)
        asked = ("verify", "identity", "--bundle", tmp_path / "b", *who, tmp_path / file)
        return program("sigstore", *config, *asked, home=tmp_path).returncode

    assert verify() == 0
    assert verify(file="g") != 0
    assert verify(identity="other@example.org") != 0
    assert verify(issuer="https://other.example") != 0


def test_the_command_attests(instance, tmp_path):
    (tmp_path / "f").write_bytes(b"weights")
    (tmp_path / "p").write_text(
        '{"buildDefinition":{"buildType":"x","externalParameters":{}},"runDetails":{"builder":{"id":"y"}}}'
    )
    config = ("--trust-config", instance.trust_config())
    asked = ("--predicate", tmp_path / "p", "--predicate-type", "https://slsa.dev/provenance/v1")
    signing = (
        "attest",
        *asked,
        "--identity-token",
        instance.token(),
        "--bundle",
        tmp_path / "b",
        tmp_path / "f",
    )
    done = program("sigstore", *config, *signing, home=tmp_path)
    assert done.returncode == 0, done.stderr
    proof = ours(instance, (tmp_path / "b").read_bytes())
    assert json.loads(proof.payload)["predicateType"] == "https://slsa.dev/provenance/v1"


def test_model_signing_signs_and_verifies(instance, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "weights.safetensors").write_bytes(bytes(1024))
    config = ("--trust_config", instance.trust_config(), "--signature", tmp_path / "model.sig")
    done = program(
        "model_signing",
        "sign",
        "sigstore",
        *config,
        "--identity_token",
        instance.token(),
        model,
        home=tmp_path,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    proof = ours(instance, (tmp_path / "model.sig").read_bytes())
    names = [row["name"] for row in json.loads(proof.payload)["predicate"]["resources"]]
    assert names == ["config.json", "weights.safetensors"]

    def verify(identity=DEVELOPER, issuer=DEVELOPMENT_ISSUER):
        who = ("--identity", identity, "--identity_provider", issuer)
        return program("model_signing", "verify", "sigstore", *config, *who, model, home=tmp_path).returncode

    assert verify() == 0
    assert verify(identity="other@example.org") != 0
    assert verify(issuer="https://other.example") != 0
    (model / "config.json").write_text('{"a": 1}')
    assert verify() != 0


def test_openssl_asks_over_http_and_verifies(instance, tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")

    def ask(*arguments):
        return subprocess.run([openssl, *map(str, arguments)], capture_output=True, text=True, check=False)

    (tmp_path / "data").write_bytes(b"a signature")
    (tmp_path / "other").write_bytes(b"another")
    assert (
        ask("ts", "-query", "-data", tmp_path / "data", "-sha256", "-cert", "-out", tmp_path / "q").returncode
        == 0
    )
    headers = {"Content-Type": "application/timestamp-query"}
    reply = instance.client.post(
        f"{instance.url}/api/v1/timestamp", content=(tmp_path / "q").read_bytes(), headers=headers
    )
    (tmp_path / "r").write_bytes(reply.content)
    chain = instance.get("/api/v1/timestamp/certchain").text.split("-----BEGIN")
    (tmp_path / "root.pem").write_text("-----BEGIN" + chain[-1])
    trusted = ("-in", tmp_path / "r", "-CAfile", tmp_path / "root.pem")
    for asked in (("-queryfile", tmp_path / "q"), ("-data", tmp_path / "data")):
        done = ask("ts", "-verify", *asked, *trusted)
        assert (done.returncode, "Verification: OK" in done.stdout) == (0, True), done.stderr
    assert ask("ts", "-verify", "-data", tmp_path / "other", *trusted).returncode != 0


def test_a_tuf_client_begins_with_the_root_and_signs(instance, tmp_path, monkeypatch):
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken
    from sigstore.sign import SigningContext
    from sigstore.verify import Verifier, policy

    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    config = ClientTrustConfig.from_tuf(
        f"{instance.url}/tuf", bootstrap_root=instance.repository / "1.root.json"
    )
    with SigningContext.from_trust_config(config).signer(IdentityToken(instance.token())) as signer:
        bundle = signer.sign_artifact(b"weights")
    expected = policy.Identity(identity=DEVELOPER, issuer=DEVELOPMENT_ISSUER)
    Verifier(trusted_root=config.trusted_root).verify_artifact(b"weights", bundle, expected)


def test_a_tuf_client_with_another_root_is_told_nothing(instance, tmp_path, monkeypatch):
    from sigstore.errors import TUFError
    from sigstore.models import ClientTrustConfig

    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    keys = OnlineKeys(*(service_key(f"strange {role}") for role in ("targets", "snapshot", "timestamp")))
    made = TufRepository.create(tmp_path / "tuf", service_key("strange root"), keys, {}, now=Now().now())
    (tmp_path / "root.json").write_bytes(made.root_bytes)
    with pytest.raises((TUFError, ValueError)):
        ClientTrustConfig.from_tuf(f"{instance.url}/tuf", bootstrap_root=tmp_path / "root.json")
