"""For every test: no network but loopback, no setting of whoever runs the tests, `world` importable."""

from __future__ import annotations

import ipaddress
import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from long_tests import first

# Suites that several tests share: whoever imports one first, its assertions say what they compared.
pytest.register_assert_rewrite("store_conformance", "bucket_conformance")

_HOME = tempfile.TemporaryDirectory(prefix="weighbridge-tests-")
for _name in [
    name for name in os.environ if name.startswith(("HF_", "WEIGHBRIDGE_")) and name != "WEIGHBRIDGE_CORPUS"
] + ["HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME", "ALL_PROXY", "all_proxy"]:
    os.environ.pop(_name, None)
# Before anything imports the hub's client: it reads its settings once.
os.environ.update(
    HF_HOME=_HOME.name,
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_UPDATE_CHECK="1",
    DO_NOT_TRACK="1",
    NO_PROXY="127.0.0.1,localhost,::1",
    no_proxy="127.0.0.1,localhost,::1",
)

_attempts: list[str] = []


def _is_loopback(host: object) -> bool:
    if host is None or isinstance(host, int):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    if text in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse, and remember, every connection or name look-up that would leave this machine."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a str or bytes is a local (unix) socket
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    if not _is_loopback(host):
        _attempts.append(f"{event} {host}")
        raise ConnectionRefusedError(f"tests do not leave this machine: {event} {host}")


sys.addaudithook(_guard)


@pytest.fixture(autouse=True)
def network_attempts():
    """What tried to leave this machine; a test fails for it even when the code swallowed the refusal."""
    _attempts.clear()
    yield _attempts
    assert _attempts == []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Where several workers share the tests, each begins with long ones."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        items[:] = [items[number] for number in first([item.nodeid for item in items], workers)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Make the usual worlds before the first test that makes one, while everything is what it is."""
    world = getattr(getattr(item, "module", None), "World", None)
    if world is not None:
        from world_kept import prepare

        prepare(world)


settings.register_profile("weighbridge", deadline=None, print_blob=True)
settings.load_profile("weighbridge")
