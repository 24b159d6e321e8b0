"""A server on a real loopback socket, with services of its own in a temporary folder, and a client without manners."""

from __future__ import annotations

import base64
import json
import socket
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "trust"))

from trust_services import DEVELOPER, development, service_key, services

from weighbridge.keys.files import generate
from weighbridge.server.app import Serving, make_app
from weighbridge.server.limits import Limits
from weighbridge.server.serving import Server, listen, url_of
from weighbridge.trust.dsse import encode64, pae
from weighbridge.trust.signing_config import Endpoints, client_trust_config, write_signing_config
from weighbridge.trust.trusted_root import write_trusted_root
from weighbridge.trust.tuf_repository import SIGNING_CONFIG, TRUSTED_ROOT, OnlineKeys, TufRepository

V1, V2 = "weighbridge.test - 7", "weighbridge.test"
KIND = "application/vnd.in-toto+json"


class Now:
    """The clock that foreign clients have too."""

    def now(self):
        return datetime.now(UTC).replace(microsecond=0)


@dataclass
class Instance:
    """A running server, its services, and what a client needs to know."""

    url: str
    services: Any
    folder: Path
    repository: Path
    server: Server
    client: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=30))

    def token(self, subject=DEVELOPER):
        return development().token(subject, Now().now())

    def get(self, path, **known):
        return self.client.get(f"{self.url}{path}", **known)

    def post(self, path, value=None, **known):
        return self.client.post(f"{self.url}{path}", json=value, **known)

    def trust_config(self):
        """The one file, written where a command line finds it."""
        path = self.folder / "client.json"
        version = 1 if self.services.log.form == "v1" else 2
        since = self.services.ca.ct.entries().__next__().logged_at
        at = Endpoints.at(self.url, since, log_version=version)
        path.write_bytes(client_trust_config(self.services.roots(), at))
        return path

    def certificate(self, key=None, subject=DEVELOPER):
        """A fresh key, and its certificate in PEM, as a JavaScript client gets it."""
        key = key or generate("ecdsa-p256")
        asked = asked_for(key, self.token(subject), subject)
        reply = self.post("/api/v2/signingCert", asked)
        assert reply.status_code == 200, reply.text
        return key, reply.json()["signedCertificateEmbeddedSct"]["chain"]["certificates"]


def asked_for(key, token, subject=DEVELOPER):
    return {
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": key.public_pem},
            "proofOfPossession": encode64(key.sign(subject.encode())),
        },
    }


def proposed_dsse(key, pem, payload=b'{"a":1}'):
    """What sigstore's clients post for an envelope."""
    envelope = {
        "payload": encode64(payload),
        "payloadType": KIND,
        "signatures": [{"sig": encode64(key.sign(pae(KIND, payload))), "keyid": ""}],
    }
    content = {"envelope": json.dumps(envelope), "verifiers": [encode64(pem.encode())]}
    return {"kind": "dsse", "apiVersion": "0.0.1", "spec": {"proposedContent": content}}


def proposed_file(key, pem, data=b"weights"):
    import hashlib

    digest = {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}
    signature = {"content": encode64(key.sign(data)), "publicKey": {"content": encode64(pem.encode())}}
    spec = {"signature": signature, "data": {"hash": digest}}
    return {"kind": "hashedrekord", "apiVersion": "0.0.1", "spec": spec}


def der64(pem):
    return base64.b64encode(base64.b64decode("".join(pem.strip().split("\n")[1:-1]))).decode()


@contextmanager
def running(folder, *, origin=V1, algorithm="ecdsa-p256", limits=None, demo=True, **serving):
    """A server in a thread; it is stopped as SIGTERM stops it."""
    folder.mkdir(exist_ok=True)
    limits = limits or Limits()
    now = Now().now()
    made = services(folder / "services", now, origin=origin, algorithm=algorithm, log=f"log {algorithm}")
    listening = listen("127.0.0.1", 0)
    url = url_of(listening)
    online = OnlineKeys(*(service_key(f"tuf {role}") for role in ("targets", "snapshot", "timestamp")))
    version = 1 if made.log.form == "v1" else 2
    files = {
        TRUSTED_ROOT: write_trusted_root(made.roots()),
        SIGNING_CONFIG: write_signing_config(Endpoints.at(url, now, log_version=version)),
    }
    # The root's key is P-256: npm's older TUF client takes no SHA-384.
    TufRepository.create(folder / "tuf", service_key("tuf root"), online, files, now=now)
    told = {
        "url": url,
        "hosts": frozenset(("127.0.0.1", "localhost")),
        "repository": folder / "tuf",
        "development": development() if demo else None,
    }
    ready = threading.Event()
    app = make_app(made, Serving(**(told | serving)), clock=Now(), limits=limits)
    server = Server(app, listening, limits, ready=ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    assert ready.wait(20)
    instance = Instance(url, made, folder, folder / "tuf", server)
    try:
        yield instance
    finally:
        instance.client.close()
        server.stop()
        thread.join(30)
        listening.close()
        assert not thread.is_alive()


def raw(url, data, seconds=5.0):
    """Send bytes as they are and return what comes back until the end, or what came in time."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(data)
        got = b""
        try:
            while part := connection.recv(65536):
                got += part
        except (TimeoutError, ConnectionResetError):
            pass
        return got
