"""Programs that are not ours believe our services: openssl the timestamps, sigstore certificates, bundles and the TUF repository."""

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "trust"))

from trust_services import (
    DEVELOPER,
    NAME,
    NOW,
    Counting,
    authority_chain,
    bench,
    development,
    service_key,
    services,
    timestamp_chain,
)

from weighbridge.core.digest import Digest
from weighbridge.core.statement import Statement, subject_of
from weighbridge.trust.artifact import Artifact
from weighbridge.trust.ca import CertificateService
from weighbridge.trust.issuers import DEVELOPMENT_ISSUER
from weighbridge.trust.keyless import retire, sign_keyless
from weighbridge.trust.minting import make_intermediate, make_root
from weighbridge.trust.signing_config import Endpoints, client_trust_config, write_signing_config
from weighbridge.trust.trusted_root import write_trusted_root
from weighbridge.trust.tsa import TimestampService
from weighbridge.trust.tuf_repository import (
    SIGNING_CONFIG,
    TRUSTED_ROOT,
    OnlineKeys,
    TufRepository,
)

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

OPENSSL = shutil.which("openssl")
STATEMENT = Statement((subject_of(Digest("wb1", "ab" * 32)),), "https://weighbridge.dev/test/v1", {"a": 1})
FORMS = [
    ("weighbridge.test - 7", "ecdsa-p256"),
    ("weighbridge.test", "ed25519"),
    ("weighbridge.test", "ecdsa-p256"),
]
DATA = b"a signature"


def openssl(*arguments):
    command = [OPENSSL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def pem(certificate):
    return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "other").write_bytes(b"another signature")
    return tmp_path


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl here")
@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa"])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("with_chain", [True, False])
def test_openssl_asks_and_verifies(algorithm, digest, with_chain, folder):
    now = datetime.now(UTC).replace(microsecond=0)  # openssl holds the chain against its own clock
    name = f"tsa {algorithm}"
    chain = timestamp_chain(now, stamping=name, algorithm=algorithm)
    tsa = TimestampService(service_key(name, algorithm), chain, entropy=Counting())
    (folder / "root.pem").write_bytes(pem(chain[1]))
    (folder / "leaf.pem").write_bytes(pem(chain[0]))
    asked = ["ts", "-query", "-data", folder / "data", f"-{digest}", "-out", folder / "query"]
    assert openssl(*asked, *(["-cert"] if with_chain else [])).returncode == 0
    (folder / "response").write_bytes(tsa.respond((folder / "query").read_bytes(), now))
    trusted = ["-in", folder / "response", "-CAfile", folder / "root.pem"]
    trusted += [] if with_chain else ["-untrusted", folder / "leaf.pem"]
    for subject in (["-queryfile", folder / "query"], ["-data", folder / "data"]):
        done = openssl("ts", "-verify", *subject, *trusted)
        assert (done.returncode, "Verification: OK" in done.stdout) == (0, True), done.stderr
    done = openssl("ts", "-verify", "-data", folder / "other", *trusted)
    assert done.returncode != 0
    assert "Verification: OK" not in done.stdout


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl here")
def test_openssl_reads_a_rejection(folder):
    openssl("ts", "-query", "-data", folder / "data", "-sha1", "-out", folder / "query")
    (folder / "response").write_bytes(bench(folder).tsa.respond((folder / "query").read_bytes(), NOW))
    done = openssl("ts", "-reply", "-in", folder / "response", "-text")
    assert "Status: Rejected." in done.stdout
    assert "unrecognized or unsupported algorithm identifier" in done.stdout


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl here")
def test_openssl_verifies_the_chain_of_a_leaf(folder):
    made = services(folder)
    leaf = sign_keyless(STATEMENT, development().token(DEVELOPER, NOW), made, NOW).certificates[0]
    (folder / "leaf.pem").write_bytes(pem(leaf))
    (folder / "own.pem").write_bytes(pem(made.ca.chain[0]))
    (folder / "root.pem").write_bytes(pem(made.ca.chain[1]))
    at = ["-attime", int(NOW.timestamp()), "-x509_strict"]
    command = [
        "verify",
        *at,
        "-CAfile",
        folder / "root.pem",
        "-untrusted",
        folder / "own.pem",
        folder / "leaf.pem",
    ]
    done = openssl(*command)
    assert done.returncode == 0, done.stderr
    command[2] = int((NOW + timedelta(minutes=11)).timestamp())
    assert openssl(*command).returncode != 0


def their_root(roots, folder):
    from sigstore.models import TrustedRoot

    path = folder / "trusted_root.json"
    path.write_bytes(write_trusted_root(roots))
    return TrustedRoot.from_file(str(path))


def theirs(bundle, roots, folder, *, identity=DEVELOPER, issuer=DEVELOPMENT_ISSUER, data=None):
    """Verify with sigstore's own verifier; return the payload, or True for a file."""
    from sigstore.models import Bundle
    from sigstore.verify import Verifier, policy

    verifier = Verifier(trusted_root=their_root(roots, folder))
    expected, parsed = policy.Identity(identity=identity, issuer=issuer), Bundle.from_json(bundle.to_json())
    if data is not None:
        verifier.verify_artifact(data, parsed, expected)
        return True
    return verifier.verify_dsse(parsed, expected)[1]


def refused_by_them(*arguments, **known):
    from sigstore.errors import Error

    with pytest.raises(Error):
        theirs(*arguments, **known)
    return True


@pytest.mark.parametrize(("origin", "algorithm"), FORMS)
def test_sigstore_believes_what_was_signed_with_a_token(origin, algorithm, tmp_path):
    made = services(tmp_path, origin=origin, algorithm=algorithm, log=f"log {algorithm}")
    token, roots = development().token(DEVELOPER, NOW), made.roots()
    bundle = sign_keyless(STATEMENT, token, made, NOW)
    assert theirs(bundle, roots, tmp_path) == STATEMENT.encode()
    assert refused_by_them(bundle, roots, tmp_path, identity="other@example.org")
    assert refused_by_them(bundle, roots, tmp_path, issuer="https://other.example")
    file = sign_keyless(Artifact.of(DATA), token, made, NOW)
    assert theirs(file, roots, tmp_path, data=DATA)
    assert refused_by_them(file, roots, tmp_path, data=b"another file")


@pytest.mark.parametrize("part", ["logs", "ctlogs", "timestamps", "authorities"])
def test_sigstore_does_not_without_any_one_of_them(part, tmp_path):
    made = services(tmp_path)
    bundle = sign_keyless(STATEMENT, development().token(DEVELOPER, NOW), made, NOW)
    stranger = services(tmp_path / "strange", log="strange log").roots()
    other = {
        "logs": stranger.logs,
        "ctlogs": tuple(
            replace(row, pem=service_key("x").public_pem, log_id=bytes(32)) for row in stranger.ctlogs
        ),
        "timestamps": (),
        "authorities": (
            replace(stranger.authorities[0], chain=authority_chain(issuing="strange ca", root="strange")),
        ),
    }
    assert refused_by_them(bundle, replace(made.roots(), **{part: other[part]}), tmp_path)


def test_sigstore_reads_the_claims_of_a_build(tmp_path):
    from sigstore.models import Bundle
    from sigstore.verify import Verifier, policy
    from test_trust_oidc import ACTIONS, GITHUB, P256, claims, issuer, signed

    from weighbridge.trust.oidc import TokenVerifier

    trusted = issuer("github", ("https://github.com/acme",), url=ACTIONS)
    made = services(tmp_path, verifier=TokenVerifier([trusted]))
    bundle = sign_keyless(STATEMENT, signed(claims(**GITHUB), P256), made, NOW)
    rules = [
        policy.OIDCIssuer(ACTIONS),
        policy.OIDCIssuerV2(ACTIONS),
        policy.GitHubWorkflowTrigger("push"),
        policy.GitHubWorkflowSHA("cc" * 20),
        policy.GitHubWorkflowName("Train"),
        policy.GitHubWorkflowRepository("acme/speech"),
        policy.GitHubWorkflowRef("refs/heads/main"),
        policy.OIDCBuildSignerURI(
            "https://github.com/acme/builds/.github/workflows/train.yml@refs/heads/main"
        ),
        policy.OIDCBuildSignerDigest("aa" * 20),
        policy.OIDCRunnerEnvironment("github-hosted"),
        policy.OIDCSourceRepositoryURI("https://github.com/acme/speech"),
        policy.OIDCSourceRepositoryDigest("cc" * 20),
        policy.OIDCSourceRepositoryRef("refs/heads/main"),
        policy.OIDCSourceRepositoryIdentifier("123"),
        policy.OIDCSourceRepositoryOwnerURI("https://github.com/acme"),
        policy.OIDCSourceRepositoryOwnerIdentifier("45"),
        policy.OIDCBuildConfigURI("https://github.com/acme/speech/.github/workflows/ci.yml@refs/heads/main"),
        policy.OIDCBuildConfigDigest("bb" * 20),
        policy.OIDCBuildTrigger("push"),
        policy.OIDCRunInvocationURI("https://github.com/acme/speech/actions/runs/9001/attempts/2"),
        policy.OIDCSourceRepositoryVisibility("private"),
    ]
    verifier = Verifier(trusted_root=their_root(made.roots(), tmp_path))
    parsed = Bundle.from_json(bundle.to_json())
    verifier.verify_dsse(parsed, policy.AllOf(rules))
    for rule in (policy.OIDCBuildTrigger("release"), policy.GitHubWorkflowName("Other")):
        with pytest.raises(Exception, match=r"(?i)expected|failed"):
            verifier.verify_dsse(parsed, rule)


@pytest.mark.parametrize("algorithm", ["ecdsa-p384", "ecdsa-p521", "rsa"])
def test_sigstore_believes_authorities_with_other_keys(algorithm, tmp_path):
    made = services(tmp_path)
    root_key, key = service_key("ca-root", "ecdsa-p384"), service_key(f"ca {algorithm}", algorithm)
    known = {"name": NAME, "now": NOW, "entropy": Counting(50)}
    root = make_root(root_key, **known)
    chain = (make_intermediate(root_key, root, key.public_pem, **known), root)
    made = replace(made, ca=CertificateService(key, chain, ct=made.ct, entropy=Counting(51)))
    bundle = sign_keyless(STATEMENT, development().token(DEVELOPER, NOW), made, NOW)
    assert theirs(bundle, made.roots(), tmp_path) == STATEMENT.encode()


def test_sigstore_believes_old_and_new_after_an_exchange(tmp_path):
    early = NOW - timedelta(days=2)  # it holds the beginning of a window against its own clock
    made = services(tmp_path, early)
    old = sign_keyless(STATEMENT, development().token(DEVELOPER, early), made, early)
    chain = authority_chain(NOW, issuing="ca 2", root="ca-root 2", entropy=Counting(40))
    ca = CertificateService(service_key("ca 2"), chain, ct=made.ct, entropy=Counting(41))
    after = replace(made, ca=ca, retired=retire(made.roots(), "authorities", NOW))
    new = sign_keyless(STATEMENT, development().token(DEVELOPER, NOW), after, NOW)
    for bundle in (old, new):
        assert theirs(bundle, after.roots(), tmp_path) == STATEMENT.encode()
    assert refused_by_them(new, made.roots(), tmp_path)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def hosted(tmp_path):
    (tmp_path / "tuf").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "tuf"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_sigstore_learns_of_this_instance_by_tuf(hosted, tmp_path, monkeypatch):
    """From one root file: the trusted root and where to sign; then the keys change, and it follows."""
    from sigstore.models import ClientTrustConfig

    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    now = datetime.now(UTC).replace(microsecond=0)
    made = services(tmp_path / "services", now)
    online = OnlineKeys(*(service_key(f"tuf {role}") for role in ("targets", "snapshot", "timestamp")))
    files = {
        TRUSTED_ROOT: write_trusted_root(made.roots()),
        SIGNING_CONFIG: write_signing_config(Endpoints.at("http://127.0.0.1:8091", now)),
    }
    root = service_key("tuf root", "ecdsa-p384")
    repository = TufRepository.create(tmp_path / "tuf", root, online, files, now=now)
    first = tmp_path / "root.json"
    first.write_bytes(repository.root_bytes)
    found = ClientTrustConfig.from_tuf(hosted, bootstrap_root=first)
    assert [url.url for url in found.signing_config._inner.ca_urls] == ["http://127.0.0.1:8091"]
    assert len(found.trusted_root._inner.certificate_authorities) == 1

    following = service_key("tuf root 2", "ecdsa-p384")
    online = replace(online, timestamp=service_key("tuf timestamp 2"))
    repository.rotate([root], now, online=online, root_signer=following)
    retired = retire(made.roots(), "authorities", now)
    both = replace(made.roots(), authorities=(*retired.authorities, *made.roots().authorities))
    repository.publish(files | {TRUSTED_ROOT: write_trusted_root(both)}, online, now)
    found = ClientTrustConfig.from_tuf(hosted)
    assert len(found.trusted_root._inner.certificate_authorities) == 2


def test_sigstore_reads_the_one_file(tmp_path):
    from sigstore.models import ClientTrustConfig
    from sigstore.sign import SigningContext

    made = services(tmp_path)
    found = ClientTrustConfig.from_json(
        client_trust_config(made.roots(), Endpoints.at("http://127.0.0.1:8091", NOW))
    )
    assert found.signing_config.get_fulcio().url == "http://127.0.0.1:8091"
    assert [tsa.url for tsa in found.signing_config.get_tsas()] == ["http://127.0.0.1:8091/api/v1/timestamp"]
    assert SigningContext.from_trust_config(found)
