"""The client of the conformance suite says yes and no as the suite's protocol wants it."""

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sigstore_issuing import ISSUER, NOW, SUBJECT, Leaf, key
from sigstore_world import ARTIFACT, KINDS, PAYLOAD_TYPE, STATEMENT, Forged, make, managed

from weighbridge.core.digest import Digest

CLIENT = Path(__file__).resolve().parents[1] / "conformance" / "client"
WHO = ("--certificate-identity", SUBJECT, "--certificate-oidc-issuer", ISSUER)

pytestmark = pytest.mark.skipif(
    datetime.now(UTC) < NOW,
    reason="the bundles of these tests are made in what this machine takes for the future",
)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "root.json").write_bytes(make().trusted_root)
    (tmp_path / "artifact").write_bytes(ARTIFACT)
    (tmp_path / "key.pub").write_text(managed().public_pem)

    def run(bundle, *who, artifact="artifact", root="root.json", command="verify-bundle"):
        (tmp_path / "bundle").write_bytes(bundle)
        trust = ("--trusted-root", root) if root else ()
        line = [sys.executable, CLIENT, command, "--bundle", "bundle", *who, *trust, artifact]
        environment = {"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


def says_no(done, *words):
    assert done.returncode not in (0, 4), done.stderr
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_it_is_a_program():
    assert os.access(CLIENT, os.X_OK)
    assert CLIENT.read_text().startswith("#!/usr/bin/env python3\n")


@pytest.mark.parametrize("kind", KINDS)
def test_bundles_in_order_are_verified_by_file_and_by_digest(run, kind):
    done = run(make(kind).bundle, *WHO)
    assert (done.returncode, done.stderr) == (0, "")
    digest = str(Digest.of(ARTIFACT))
    assert run(make(kind).bundle, *WHO, artifact=digest).returncode == 0
    says_no(run(make(kind).bundle, *WHO, artifact="sha256:" + "00" * 32))


@pytest.mark.parametrize("kind", ["dsse", "hashedrekord"])
def test_managed_keys(run, kind):
    with_log = Forged(kind, with_key=managed()).build().to_json()
    without = Forged(kind, with_key=managed(), logged=False).build().to_json()
    for bundle in (with_log, without):
        assert run(bundle, "--key", "key.pub").returncode == 0
        says_no(run(bundle, *WHO), "bundle.material")
        says_no(run(bundle, "--key", "key.pub", *WHO), "not clear")
    other = Forged(kind, with_key=key("other")).build().to_json()
    says_no(run(other, "--key", "key.pub"), "bundle.signature")


@pytest.mark.parametrize(
    "who",
    [
        (),
        ("--certificate-identity", SUBJECT),
        ("--certificate-oidc-issuer", ISSUER),
        ("--key", "key.pub", "--certificate-identity", SUBJECT),
    ],
)
def test_a_signer_half_named_is_no_signer(run, who):
    says_no(run(make().bundle, *who), "not clear")


@pytest.mark.parametrize(
    ("identity", "issuer"),
    [(SUBJECT + "x", ISSUER), (SUBJECT[:-1], ISSUER), (SUBJECT, ISSUER + "/"), (".*", ISSUER)],
)
def test_somebody_else(run, identity, issuer):
    who = ("--certificate-identity", identity, "--certificate-oidc-issuer", issuer)
    says_no(run(make().bundle, *who), "identity.expected")


@pytest.mark.parametrize(
    "statement",
    [
        {"_type": "https://in-toto.io/Statement/v0.2"},
        {"_type": ...},
        {"subject": []},
        {"subject": [{"digest": {"sha512": "00"}}]},
        {"subject": 5},
    ],
)
def test_statements_about_something_else(run, statement):
    value = {**json.loads(STATEMENT), **statement}
    content = json.dumps({name: row for name, row in value.items() if row is not ...}).encode()
    says_no(run(make(content=content, leaf=Leaf()).bundle, *WHO), "statement.")


def test_other_payloads_are_no_statements(run):
    says_no(run(make(payload_type="text/plain").bundle, *WHO), "bundle.payload-type")
    assert PAYLOAD_TYPE != "text/plain"


def test_files_that_are_not_there_and_keys_that_are_none(run, tmp_path):
    says_no(run(make().bundle, *WHO, artifact="nothing"))
    says_no(run(make().bundle, *WHO, root="nothing"))
    (tmp_path / "key.pub").write_text("no key")
    says_no(run(make().bundle, "--key", "key.pub"), "key.form")
    says_no(run(b"no bundle", *WHO), "bundle.form")


def test_the_public_root_is_used_or_missed_aloud(run):
    says_no(run(make().bundle, *WHO, root=None))


def test_signing_says_why_it_cannot(run):
    token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b"{}", b"{}", b"x"))
    done = run(b"", "--identity-token", token, command="sign-bundle")
    says_no(done)
