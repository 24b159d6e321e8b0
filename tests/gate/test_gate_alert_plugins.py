"""A plug-in runs only as it was named, in a process of its own, and costs its deadline and nothing else."""

import os
import py_compile
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weighbridge.core.alert import Alert, Sink
from weighbridge.core.errors import OutOfBudget, Refused, Unreachable
from weighbridge.gate.telling import plugin
from weighbridge.gate.telling.plugin import Plugin
from weighbridge.gate.telling.receivers import Occasion
from world_house import START

GOOD = """
import json, os
def tell(alerts, options):
    with open(options["to"], "w") as file:
        json.dump({"alerts": alerts, "environ": dict(os.environ)}, file)
"""
ALERT = Alert(
    "sha256:1",
    1,
    "outage",
    "critical",
    "p",
    "me",
    "so",
    (),
    {},
    1,
    "2026-11-22T12:00:00Z",
    "2026-11-22T12:00:00Z",
)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Make an interpreter with a place of its own for distributions."""
    home = tmp_path_factory.mktemp("interpreter")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    [site] = home.glob("lib/python*/site-packages")
    return home / "bin" / "python", site


@pytest.fixture
def install(python, monkeypatch):
    interpreter, site = python
    monkeypatch.setattr(plugin.sys, "executable", str(interpreter))
    made = []

    def put(code, name="chat", module="chat_alerts", *, files=None):
        info = site / f"{name}-1.dist-info"
        info.mkdir()
        (site / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[weighbridge.alerts]\nchat = {module}:tell\n")
        listed = [
            f"{module}.py",
            f"{info.name}/METADATA",
            f"{info.name}/entry_points.txt",
            f"{info.name}/RECORD",
        ]
        (info / "RECORD").write_text(
            "".join(f"{path},,\n" for path in (files if files is not None else listed))
        )
        made.extend([info, site / f"{module}.py", site / "__editable__.chat.pth", site / module])
        return site / f"{module}.py"

    yield put
    for path in made:
        if path.is_dir():
            for inner in path.iterdir():
                inner.unlink()
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def tell(digest, *, options=None, environ=None, seconds=20.0, env=()):
    sink = Sink("chat", "plugin", plugin="chat", digest=digest, options=options, env=env)
    receiver = Plugin(sink, os.environ if environ is None else environ, offline=False)
    receiver.tell([ALERT], Occasion("r", START, seconds))


def digest_of_installed():
    with pytest.raises(Refused) as caught:
        tell("sha256:" + "0" * 64)
    assert caught.value.check == "alert.plugin"
    return re.search(r"sha256:[0-9a-f]{64}", caught.value.cause).group()


def test_it_is_told_and_sees_little(install, tmp_path):
    install(GOOD)
    target = tmp_path / "said.json"
    environ = {**os.environ, "CHAT_TOKEN": "t", "OTHER_SECRET": "s"}
    tell(digest_of_installed(), options={"to": str(target)}, environ=environ, env=("CHAT_TOKEN",))
    text = target.read_text()
    assert '"kind": "outage"' in text
    assert '"CHAT_TOKEN": "t"' in text
    assert "OTHER_SECRET" not in text


def test_code_that_was_exchanged_is_not_run(install, tmp_path):
    target = tmp_path / "said.json"
    code = install(GOOD)
    digest = digest_of_installed()
    code.write_text(GOOD.replace("json.dump", "# another\n        json.dump"))
    with pytest.raises(Refused):
        tell(digest, options={"to": str(target)})
    assert not target.exists()


def test_what_was_compiled_before_is_not_run(install, tmp_path):
    target = tmp_path / "said.json"
    code = install(GOOD)
    digest = digest_of_installed()
    code.write_text(GOOD.replace('"w"', '"x"'))
    compiled = Path(py_compile.compile(str(code), doraise=True))
    written = code.stat().st_mtime_ns
    code.write_text(GOOD)
    os.utime(code, ns=(written, written))  # what was compiled fits it, by size and time
    assert compiled.is_file()
    target.write_text("already there, so that the compiled one would fail")
    tell(digest, options={"to": str(target)})
    assert '"outage"' in target.read_text()


@pytest.mark.parametrize("case", ["nothing", "twice", "no list", "elsewhere", "editable", "shadowed"])
def test_what_cannot_be_known_is_not_run(install, python, case):
    if case == "twice":
        install(GOOD)
        install(GOOD, "other", "other_alerts")
    elif case == "no list":
        install(GOOD, files=[])
    elif case == "elsewhere":
        install(GOOD, files=["chat-1.dist-info/METADATA"])
    elif case == "editable":
        path = install(GOOD, files=["chat_alerts.py", "__editable__.chat.pth"])
        (path.parent / "__editable__.chat.pth").write_text("")
    elif case == "shadowed":
        digest = install(GOOD) and digest_of_installed()
        (python[1] / "chat_alerts").mkdir()
        (python[1] / "chat_alerts" / "__init__.py").write_text(GOOD)
        with pytest.raises(Refused, match="was not started"):
            tell(digest)
    with pytest.raises(Refused) as caught:
        tell("sha256:" + "0" * 64)
    assert not re.search(r"sha256:[0-9a-f]{64}", caught.value.cause)


@pytest.mark.parametrize(
    "code",
    [
        "def tell(alerts, options):\n    raise ValueError('no room\\x1b[2J')",
        "import os\ndef tell(alerts, options):\n    os._exit(7)",
        "import os\ndef tell(alerts, options):\n    os.kill(os.getpid(), 9)",
        "raise SystemExit(1)",
        "def tell(alerts):\n    pass",
        "x = 1",
        "def tell(alerts, options):\n    x = bytearray(10**11)",
    ],
)
def test_whatever_it_does_is_a_problem_that_is_said(install, code):
    install(code)
    with pytest.raises(Unreachable):
        tell(digest_of_installed())


def test_it_is_killed_with_all_that_it_started(install, tmp_path):
    target = tmp_path / "pid"
    install(
        "import subprocess, sys, time\n"
        "def tell(alerts, options):\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "    open(options['to'], 'w').write(str(child.pid))\n"
        "    time.sleep(60)\n"
    )
    digest = digest_of_installed()
    begun = time.monotonic()
    with pytest.raises(OutOfBudget):
        tell(digest, options={"to": str(target)}, seconds=3.0)
    assert time.monotonic() - begun < 20
    child = int(target.read_text())
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("what the plug-in started lives on")


def test_a_plugin_is_not_started_offline():
    sink = Sink("chat", "plugin", plugin="chat", digest="sha256:" + "0" * 64)
    with pytest.raises(Unreachable):
        Plugin(sink, {}, offline=True)
