"""`weighbridge serve` in a process of its own: it says where it serves, serves, refuses what is dangerous, and stops when told to."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from server_bench import DEVELOPER, asked_for, proposed_dsse

from weighbridge.config import read_config
from weighbridge.keys.files import generate
from weighbridge.registry.setup import init_registry
from weighbridge.registry.wiring import SystemClock, SystemEntropy


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A demonstration and an ordinary registry, and the environment that finds them."""
    folder = tmp_path_factory.mktemp("verb")
    found = {}
    for name in ("demo", "real"):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "WEIGHBRIDGE_HOME": str(folder / name),
            "WEIGHBRIDGE_CONFIG_HOME": str(folder / f"{name}-home"),
        }
        config = read_config(environment)
        made = init_registry(
            config, clock=SystemClock(), entropy=SystemEntropy(), demonstration=name == "demo"
        )
        made.close()
        found[name] = environment
    return found


def command(*arguments):
    return [sys.executable, "-m", "weighbridge", "serve", *map(str, arguments)]


@contextmanager
def serving(environment, *arguments):
    """Start the verb and give what it printed when it was ready, and the process."""
    process = subprocess.Popen(
        command("--port", 0, "--format", "jsonl", *arguments),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield json.loads(line), process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def test_it_serves_and_stops(places, tmp_path):
    config = tmp_path / "client.json"
    with serving(places["demo"], "--demo", "--trust-config", config) as (said, process):
        url = said["url"]
        assert json.loads(config.read_text())["signingConfig"]["caUrls"][0]["url"] == url
        with httpx2.Client() as client:
            form = {"grant_type": "client_credentials", "subject": DEVELOPER}
            token = client.post(f"{url}/token", data=form).json()["id_token"]
            key = generate("ecdsa-p256")
            reply = client.post(f"{url}/api/v2/signingCert", json=asked_for(key, token))
            leaf = reply.json()["signedCertificateEmbeddedSct"]["chain"]["certificates"][0]
            logged = client.post(f"{url}/api/v1/log/entries", json=proposed_dsse(key, leaf))
            assert logged.status_code == 201, logged.text
            client.get(f"{url}/api/v1/log?secret=eyJhbGciOiJFUzI1NiJ9.e30.c2ln")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        rows = [
            json.loads(row)["fields"]
            for row in errors.splitlines()
            if row.startswith("{") and '"request"' in row
        ]
        assert [row["path"] for row in rows] == [
            "/token",
            "/api/v2/signingCert",
            "/api/v1/log/entries",
            "/api/v1/log",
        ]
        assert [row["status"] for row in rows] == ["200", "200", "201", "200"]
        assert "eyJ" not in errors, "a token was written down"
        assert token not in errors
    with serving(places["demo"]) as (said, _), httpx2.Client() as client:
        size = client.get(f"{said['url']}/api/v1/log").json()["treeSize"]
        assert size == 3, "what was logged is still there"
        assert client.get(f"{said['url']}/.well-known/jwks.json").status_code == 404


def test_an_interrupt_is_no_failure(places):
    with serving(places["real"], "--quiet") as (_, process):
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
        assert (process.returncode, out, errors) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "arguments", "check"),
    [
        ("real", ("--host", "0.0.0.0"), "server.exposed"),
        ("real", ("--host", "192.0.2.1"), "server.exposed"),
        ("real", ("--host", "example.org"), "server.address"),
        ("real", ("--demo",), "server.demo"),
        ("demo", ("--demo", "--host", "0.0.0.0", "--plain-http-beyond-this-machine"), "server.demo"),
        ("real", ("--url", "https://example.org/below"), "server.address"),
        ("real", ("--url", "ftp://example.org"), "server.address"),
    ],
)
def test_what_is_dangerous_or_wrong_is_refused(name, arguments, check, places):
    done = subprocess.run(
        command("--port", 0, *arguments),
        env=places[name],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert f"[{check}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said(places):
    with serving(places["real"]) as (said, _):
        port = said["url"].rpartition(":")[2]
        done = subprocess.run(
            command("--port", port),
            env=places["real"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 3
        assert "[server.address]" in done.stderr
