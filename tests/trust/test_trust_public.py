"""Other people's Sigstore: never without being asked, and through its own client over real HTTP on this machine."""

import base64
import json
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from trust_services import DEVELOPER, development, services

from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, Unreachable, UsageError, VerificationFailed
from weighbridge.core.statement import PAYLOAD_TYPE, Statement, subject_of
from weighbridge.trust.bundle import Bundle, log_body
from weighbridge.trust.demand import Demand
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.issuers import DEVELOPMENT_ISSUER
from weighbridge.trust.keyless import sign_keyless
from weighbridge.trust.log_bodies import hashedrekord1_body
from weighbridge.trust.prove import prove
from weighbridge.trust.public import (
    PUBLIC_HOSTS,
    WHAT_BECOMES_PUBLIC,
    browser_token,
    sign_digest,
    sign_statement,
    verify_digest,
    verify_statement,
)
from weighbridge.trust.signing_config import Endpoints, client_trust_config
from weighbridge.trust.trusted_root import write_trusted_root

STATEMENT = Statement((subject_of(Digest("sha256", "ab" * 32)),), "https://weighbridge.dev/test/v1", {"a": 1})
FULL = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def full(function):
    for mark in FULL:
        function = mark(function)
    return function


# Consent


def test_what_becomes_public_is_said_whole():
    text = " ".join(WHAT_BECOMES_PUBLIC.split())
    for words in (
        "e-mail address",
        "repository",
        "branch",
        "digest",
        "nothing is ever removed",
        "network address",
    ):
        assert words in text


@pytest.mark.parametrize(
    "instance",
    [
        None,
        *(
            json.dumps({"signingConfig": {"rekorTlogUrls": [{"url": url}]}}).encode()
            for url in (
                "https://rekor.sigstore.dev",
                "https://REKOR.Sigstore.dev:443/",
                "https://rekor.sigstore.dev./",
                "https://user@log2025-1.rekor.sigstore.dev",
                "https://fulcio.sigstage.dev",
                "https://sigstore.dev",
            )
        ),
    ],
)
def test_the_public_instance_is_used_only_when_asked_for(instance):
    for sign in (
        lambda: sign_statement(b"{}", "token", instance=instance),
        lambda: sign_digest(Digest.of(b""), "token", instance=instance),
    ):
        with pytest.raises(UsageError) as caught:
            sign()
        assert caught.value.check == "public.consent"
        assert caught.value.cause == WHAT_BECOMES_PUBLIC
        assert "--public" in caught.value.remedy


@pytest.mark.parametrize("host", PUBLIC_HOSTS)
def test_no_login_at_the_public_instance_either(host):
    with pytest.raises(UsageError) as caught:
        browser_token(f"https://oauth2.{host}/auth")
    assert caught.value.check == "public.consent"


def test_nothing_is_asked_offline():
    for ask in (
        lambda: sign_statement(b"{}", "token", public=True, offline=True),
        lambda: sign_digest(
            Digest.of(b""), "token", instance=b'{"url": "https://own.example"}', offline=True
        ),
        lambda: browser_token("https://issuer.example", offline=True),
    ):
        with pytest.raises(Unreachable) as caught:
            ask()
        assert caught.value.check == "net.offline"


@pytest.mark.parametrize("instance", [b"", b"{", b"[" * 100_000])
def test_what_is_no_trust_configuration(instance):
    with pytest.raises(UsageError) as caught:
        sign_statement(b"{}", "token", instance=instance, public=False)
    assert caught.value.check == "sigstore.config"


def test_a_missing_library_names_its_extra(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sigstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sigstore", None)
    for ask in (
        lambda: sign_statement(b"{}", "token", public=True),
        lambda: verify_statement(b"{}", identity="a", issuer="b"),
        lambda: browser_token("http://127.0.0.1:1"),
    ):
        with pytest.raises(UsageError) as caught:
            ask()
        assert caught.value.check == "sigstore.extra"
        assert "weighbridge[sigstore]" in caught.value.remedy


# An instance of our own, as far as Sigstore's Python client asks


class Instance(BaseHTTPRequestHandler):
    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        made, now = self.server.made, datetime.now(UTC)
        if self.path == "/api/v2/signingCert":
            who = made.verifier.verify(self.headers["Authorization"].removeprefix("Bearer "), now)
            request = base64.b64decode(json.loads(data)["certificateSigningRequest"])
            chain = made.ca.issue_for_request(who, request, now).pem()
            self._answer(
                200,
                json.dumps({"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}).encode(),
            )
        elif self.path == "/api/v1/timestamp":
            self._answer(201, made.tsa.respond(data, now))
        else:
            self._answer(self.server.log_status, self._entry(json.loads(data), now))

    def _entry(self, proposed, now):
        """Append as Rekor v1 does (see docs/reference/log.md for the body)."""
        made, spec = self.server.made, proposed["spec"]
        if proposed["kind"] == "dsse":
            envelope = Envelope.from_json(json.loads(spec["proposedContent"]["envelope"]))
            body = log_body(envelope, base64.b64decode(spec["proposedContent"]["verifiers"][0]).decode())
        else:
            signature = spec["signature"]
            body = hashedrekord1_body(
                Digest("sha256", spec["data"]["hash"]["value"]),
                base64.b64decode(signature["content"]),
                base64.b64decode(signature["publicKey"]["content"]).decode(),
            )
        (row,) = made.log.append([body], signer=made.log_signer, now=now)
        proof = made.log.proof(row.index)
        inclusion = {
            "checkpoint": proof.checkpoint,
            "hashes": [step.hex() for step in proof.hashes],
            "logIndex": row.index,
            "rootHash": proof.root.hex(),
            "treeSize": proof.size,
        }
        promise = base64.b64encode(row.promise).decode()
        entry = {
            "body": base64.b64encode(row.body).decode(),
            "integratedTime": row.integrated_time,
            "logID": made.log.log_id.hex,
            "logIndex": row.index,
            "verification": {"signedEntryTimestamp": promise, "inclusionProof": inclusion},
        }
        return json.dumps({"ab" * 32: entry}).encode()

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_given):
        pass


@contextmanager
def serving(folder):
    now = datetime.now(UTC)
    server = HTTPServer(("127.0.0.1", 0), Instance)
    server.made = services(folder, now - timedelta(minutes=1))
    server.asked, server.log_status = [], 201
    url = f"http://127.0.0.1:{server.server_port}"
    server.config = client_trust_config(server.made.roots(), Endpoints.at(url, now - timedelta(minutes=2)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def instance(tmp_path):
    with serving(tmp_path) as server:
        yield server


def fresh_token():
    return development().token(DEVELOPER, datetime.now(UTC))


@full
def test_their_client_signs_a_statement_and_both_verify_it(instance):
    made = instance.made
    bundle = sign_statement(STATEMENT.encode(), fresh_token(), instance=instance.config)
    assert sorted(set(instance.asked)) == ["/api/v1/log/entries", "/api/v1/timestamp", "/api/v2/signingCert"]
    root = write_trusted_root(made.roots())
    kind, payload = verify_statement(bundle, identity=DEVELOPER, issuer=DEVELOPMENT_ISSUER, trusted_root=root)
    assert (kind, payload) == (PAYLOAD_TYPE, STATEMENT.encode())
    demand = Demand(logs=1, timestamps=1, scts=1, times=2)
    proof = prove(Bundle.from_json(bundle), roots=made.roots(), demand=demand, now=datetime.now(UTC))
    assert (proof.signer.subject, proof.signer.issuer) == (DEVELOPER, DEVELOPMENT_ISSUER)
    for wrong in ({"identity": "other@example.org"}, {"issuer": "https://other.example"}):
        who = {"identity": DEVELOPER, "issuer": DEVELOPMENT_ISSUER} | wrong
        with pytest.raises(VerificationFailed) as caught:
            verify_statement(bundle, trusted_root=root, **who)
        assert caught.value.check == "sigstore.verify"


@full
def test_their_client_signs_a_file_by_its_digest(instance):
    digest = Digest.of(b"weights")
    bundle = sign_digest(digest, fresh_token(), instance=instance.config)
    known = {
        "identity": DEVELOPER,
        "issuer": DEVELOPMENT_ISSUER,
        "trusted_root": write_trusted_root(instance.made.roots()),
    }
    verify_digest(bundle, digest, **known)
    with pytest.raises(VerificationFailed):
        verify_digest(bundle, Digest.of(b"other"), **known)
    with pytest.raises(UsageError):
        verify_digest(bundle, Digest("sha512", "ab" * 64), **known)


@full
def test_what_we_sign_their_verifier_takes_and_with_another_root_does_not(tmp_path):
    now = datetime.now(UTC)
    made, other = (
        services(tmp_path / "one", now),
        services(tmp_path / "two", now, origin="weighbridge.two - 7"),
    )
    bundle = sign_keyless(STATEMENT, development().token(DEVELOPER, now), made, now).to_json()
    who = {"identity": DEVELOPER, "issuer": DEVELOPMENT_ISSUER}
    verify_statement(bundle, trusted_root=write_trusted_root(made.roots()), **who)
    with pytest.raises(VerificationFailed):
        verify_statement(bundle, **who)  # the public root, which came with the library
    for broken in (bundle.replace(b'"payload"', b'"payloat"'), b"", b"{}", bundle[:-1]):
        with pytest.raises(VerificationFailed) as caught:
            verify_statement(broken, trusted_root=write_trusted_root(other.roots()), **who)
        assert caught.value.check == "sigstore.verify"
    with pytest.raises(UsageError) as caught:
        verify_statement(bundle, trusted_root=b"{}", **who)
    assert caught.value.check == "sigstore.config"


@full
def test_services_that_fail_are_said_without_the_token(instance):
    token = fresh_token()
    instance.log_status = 500
    with pytest.raises(Unreachable) as caught:
        sign_statement(STATEMENT.encode(), token, instance=instance.config)
    assert caught.value.check == "sigstore.service"
    assert token not in str(caught.value)
    gone = json.loads(instance.config)
    gone["signingConfig"]["caUrls"][0]["url"] = "http://127.0.0.1:1"
    with pytest.raises(Unreachable) as caught:
        sign_statement(STATEMENT.encode(), token, instance=canonical(gone))
    assert token not in str(caught.value)


@full
@pytest.mark.parametrize("change", [{"aud": "other"}, {"exp": 1}, {"sub": None}])
def test_a_token_that_cannot_be_used_is_refused_before_it_is_sent(instance, change):
    _, claims, signature = fresh_token().split(".")
    values = json.loads(base64.urlsafe_b64decode(claims + "==")) | change
    values = {name: value for name, value in values.items() if value is not None}
    text = base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()
    with pytest.raises(Refused) as caught:
        sign_statement(STATEMENT.encode(), f"e30.{text}.{signature}", instance=instance.config)
    assert caught.value.check == "token.form"
    assert instance.asked == []


@full
def test_an_issuer_that_is_not_there_is_said():
    with pytest.raises(Unreachable) as caught:
        browser_token("http://127.0.0.1:1")
    assert caught.value.check == "sigstore.service"
