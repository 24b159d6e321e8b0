"""Keys in a real PKCS #11 token (SoftHSM) and in a key service over real HTTP, asked by libraries that are not ours."""

import base64
import json
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from weighbridge.core.errors import Unreachable, Unreadable, UsageError
from weighbridge.keys.files import generate
from weighbridge.keys.public import verify_signature
from weighbridge.trust.dsse import sign
from weighbridge.trust.signers import open_signer

pytestmark = pytest.mark.full

PIN = "4321-planted"
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)


@pytest.fixture(scope="session")
def token(tmp_path_factory):
    """Make a token with two elliptic keys and one of RSA, once in a process; returns the module's path."""
    module = next((path for path in MODULES if Path(path).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed: apt-get install softhsm2")
    pkcs11 = pytest.importorskip("pkcs11", reason="comes with the extra pkcs11")
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
    # The module reads its configuration once for each process.
    os.environ["SOFTHSM2_CONF"] = str(folder / "conf")
    command = [
        "softhsm2-util",
        "--init-token",
        "--free",
        "--label",
        "house",
        "--so-pin",
        "so-planted",
        "--pin",
        PIN,
    ]
    subprocess.run(command, check=True, capture_output=True)
    from pkcs11.util.ec import encode_named_curve_parameters

    with pkcs11.lib(module).get_token(token_label="house").open(user_pin=PIN, rw=True) as session:
        for number, curve in ((b"\x01", "secp256r1"), (b"\x02", "secp384r1")):
            attributes = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
            parameters = session.create_domain_parameters(pkcs11.KeyType.EC, attributes, local=True)
            parameters.generate_keypair(store=True, id=number, label=curve)
        session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=True, id=b"\x03", label="rsa")
    yield module
    os.environ.pop("SOFTHSM2_CONF", None)


def reference(module, number="%01", label="house"):
    return f"pkcs11:token={label};id={number}?module-path={module}"


@pytest.mark.parametrize(("number", "algorithm"), [("%01", "ecdsa-p256"), ("%02", "ecdsa-p384")])
def test_a_token_signs(token, number, algorithm):
    signer = open_signer(reference(token, number), password=PIN)
    assert signer.algorithm == algorithm
    for data in (b"", b"data", bytes(100_000)):
        assert verify_signature(signer.public_pem, data, signer.sign(data))
    envelope = sign("text/plain", b"statement", signer)
    assert len(envelope.signatures) == 1
    assert PIN not in repr(signer)
    assert "PYKCS11LIB" not in os.environ


def test_the_module_may_come_from_the_environment(token, monkeypatch):
    monkeypatch.setenv("PYKCS11LIB", token)
    assert open_signer("pkcs11:id=%01", password=PIN).sign(b"data")
    assert os.environ["PYKCS11LIB"] == token


def test_several_threads_sign_with_one_token(token):
    signer = open_signer(reference(token), password=PIN)
    found = []

    def work(number):
        found.extend(
            verify_signature(signer.public_pem, data, signer.sign(data))
            for data in (b"%d %d" % (number, step) for step in range(5))
        )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 20


def test_what_is_not_there_is_said(token):
    for wanted, word in [
        (reference(token, "%09"), "key"),
        (reference(token, "%03"), "ECDSA"),
        (reference(token, label="none"), "none"),
        (reference("/no/such/module.so"), "module.so"),
    ]:
        with pytest.raises(Unreachable) as caught:
            open_signer(wanted, password=PIN)
        assert caught.value.check == "key.service"
        assert word in caught.value.cause


def test_the_pin_matters_and_is_asked_for_late(token):
    with pytest.raises(UsageError):
        open_signer(reference(token)).sign(b"data")
    signer = open_signer(reference(token), password=lambda: "1234")
    for _ in range(5):
        with pytest.raises(Unreadable) as caught:
            signer.sign(b"data")
        assert caught.value.check == "key.password"
    assert open_signer(reference(token), password=lambda: PIN).sign(b"data")


# HashiCorp Vault's engine `transit`, as far as its client asks


class Vault(BaseHTTPRequestHandler):
    """The answers of https://developer.hashicorp.com/vault/api-docs/secret/transit to "read key" and "sign data"."""

    token = "hvs.planted-token"
    key = generate("ed25519")
    seen: list[str]

    def do_GET(self):
        self.server.seen.append(self.path)
        raw = base64.b64encode(self.key._private.public_key().public_bytes_raw()).decode()
        if self.path != "/v1/transit/keys/release":
            self._answer(404, {"errors": []})
        else:
            self._answer(
                200,
                {
                    "data": {
                        "type": "ed25519",
                        "keys": {"1": {"public_key": "AAAA"}, "12": {"public_key": raw}},
                    }
                },
            )

    def _write(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(self.path)
        if body.get("key_version") != 12:
            self._answer(400, {"errors": ["no such version"]})
            return
        signature = self.key.sign(base64.b64decode(body["input"]))
        if self.server.lies:
            signature = signature[::-1]
        self._answer(200, {"data": {"signature": f"vault:v12:{base64.b64encode(signature).decode()}"}})

    def do_POST(self):
        self._write()

    def do_PUT(self):
        self._write()

    def _answer(self, status, value):
        if self.headers.get("X-Vault-Token") != self.token:
            status, value = 403, {"errors": ["permission denied"]}
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_given):
        pass


@pytest.fixture
def vault(monkeypatch):
    pytest.importorskip("hvac", reason="comes with the extra kms")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vault)
    server.seen, server.lies = [], False
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("VAULT_TOKEN", Vault.token)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_key_service_signs(vault):
    signer = open_signer("hashivault://release")
    assert signer.algorithm == "ed25519"
    assert signer.key_id == Vault.key.key_id
    assert verify_signature(signer.public_pem, b"data", signer.sign(b"data"))
    assert vault.seen == ["/v1/transit/keys/release", "/v1/transit/sign/release"]


def test_a_key_service_that_lies_is_caught(vault):
    signer = open_signer("hashivault://release")
    vault.lies = True
    with pytest.raises(Exception, match="not by its key") as caught:
        signer.sign(b"data")
    assert caught.value.check == "key.signature"


def test_a_key_service_that_refuses_is_said(vault, monkeypatch):
    with pytest.raises(Unreachable):
        open_signer("hashivault://other")
    monkeypatch.setenv("VAULT_TOKEN", "hvs.wrong-planted")
    with pytest.raises(Unreachable) as caught:
        open_signer("hashivault://release")
    assert "permission denied" in caught.value.cause
    assert "hvs." not in str(caught.value)
    vault.seen.clear()
    with pytest.raises(Unreachable):
        open_signer("hashivault://release", offline=True)
    assert vault.seen == []
