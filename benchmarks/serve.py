"""What one keyless signature costs over HTTP: certificate, log entry and timestamp, in CPU of the server and in time of the client.

The server is `weighbridge serve` in a process of its own, over a registry made for this; its CPU is taken from
the kernel when it has ended, less that of a server that was asked for nothing. Usage: serve.py [SIGNATURES].
"""

from __future__ import annotations

import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

from weighbridge.core.digest import Digest
from weighbridge.keys.files import generate
from weighbridge.trust.dsse import encode64, pae

SUBJECT, KIND = "trainer@example.org", "application/vnd.in-toto+json"
BUDGET = 0.050
"""Seconds of CPU for one signature, server and its disk work together."""


def server(folder: Path, work: Callable[[str], float]) -> tuple[float, float]:
    """Run `work` against a server; return the CPU of the server's whole life, and what `work` returned."""
    environment = os.environ | {
        "WEIGHBRIDGE_HOME": str(folder / "r"),
        "WEIGHBRIDGE_CONFIG_HOME": str(folder / "c"),
    }
    verb = [sys.executable, "-m", "weighbridge"]
    if not (folder / "r").exists():
        subprocess.run([*verb, "init", "--demo"], env=environment, check=True, stdout=subprocess.DEVNULL)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*verb, "serve", "--demo", "--quiet", "--port", "0", "--format", "jsonl"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            done = work(json.loads(process.stdout.readline())["url"])
        finally:
            process.terminate()
            process.wait(60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


def sign(client: httpx2.Client, url: str, number: int) -> None:
    """Sign one payload as a JavaScript client does."""
    form = {"grant_type": "client_credentials", "subject": SUBJECT}
    token = client.post(f"{url}/token", data=form).json()["id_token"]
    key, payload = generate("ecdsa-p256"), b'{"n":%d}' % number
    proof = encode64(key.sign(SUBJECT.encode()))
    asked = {
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {"publicKey": {"content": key.public_pem}, "proofOfPossession": proof},
    }
    chain = client.post(f"{url}/api/v2/signingCert", json=asked).json()["signedCertificateEmbeddedSct"][
        "chain"
    ]
    signature = key.sign(pae(KIND, payload))
    envelope = {
        "payload": encode64(payload),
        "payloadType": KIND,
        "signatures": [{"sig": encode64(signature)}],
    }
    content = {
        "envelope": json.dumps(envelope),
        "verifiers": [base64.b64encode(chain["certificates"][0].encode()).decode()],
    }
    entry = {"kind": "dsse", "apiVersion": "0.0.1", "spec": {"proposedContent": content}}
    assert client.post(f"{url}/api/v1/log/entries", json=entry).status_code == 201
    digest = encode64(bytes.fromhex(Digest.of(signature).hex))
    query = {"artifactHash": digest, "hashAlgorithm": "sha256", "certificates": True}
    assert client.post(f"{url}/api/v1/timestamp", json=query).status_code == 201


def many(count: int, threads: int) -> Callable[[str], float]:
    """Return the work of signing `count` times from so many threads; it returns the seconds that took."""

    def work(url: str) -> float:
        with httpx2.Client(timeout=60) as client, ThreadPoolExecutor(threads) as pool:
            sign(client, url, -1)
            began = time.perf_counter()
            list(pool.map(lambda number: sign(client, url, number), range(count)))
            return time.perf_counter() - began

    return work


def main() -> int:
    """Measure and print; tell whether it is within its budget."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        idle, _ = server(folder, many(0, 1))
        within = True
        for threads in (1, 16):
            cpu, seconds = server(folder, many(count, threads))
            each = (cpu - idle) / count
            within = within and each <= BUDGET
            print(
                f"{threads:2} at once: {each * 1000:5.1f} ms CPU of the server a signature, {count / seconds:5.1f} a second"
            )
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
