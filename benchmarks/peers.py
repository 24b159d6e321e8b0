"""Other scanners, each in an environment of its own, and how one run of a scanner is measured.

The environments lie in .cache/peers/ and are made on first use (from the package index that pip is set up
for). Measured is the whole process with its children, start-up included: user and system CPU time, the
largest resident size of any one of its processes, and the bytes it asked for with read(), which is how
one sees what a scanner left out (files that are mapped into memory do not count there).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".cache" / "peers"


@dataclass(frozen=True)
class Tool:
    """One scanner: what to install, how to scan a path, which exit codes mean what."""

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    passes: tuple[int, ...] = (0,)
    flags: tuple[int, ...] = (1,)
    folders: bool = True
    note: str = ""

    def call(self, path: Path) -> list[str]:
        """Return the command line that scans `path`."""
        program, *rest = self.command
        binary = Path(sys.executable) if program == "python" else FOLDER / self.name / "bin" / program
        return [str(binary), *rest, str(path)]


OURS = Tool(
    "weighbridge",
    (),
    ("python", "-m", "weighbridge", "scan", "--no-cache", "--quiet"),
    note="as text, without a digest of the bytes; --identity adds a pass of SHA-256",
)
PEERS = (
    Tool("picklescan", ("picklescan==1.0.5", "numpy", "py7zr"), ("picklescan", "-p"), note="with numpy and py7zr, without which it cannot read npy and 7z"),
    Tool("picklescan --strict", ("picklescan==1.0.5",), ("picklescan", "--strict", "-p")),
    Tool("modelscan", ("modelscan==0.8.8",), ("modelscan", "-p")),
    Tool("fickling", ("fickling==0.1.12", "typing_extensions"), ("fickling", "--check-safety"), folders=False, note="its command takes one pickle, no archive and no folder; typing_extensions added, without which it does not start"),
    Tool("modelaudit", ("modelaudit==0.2.54",), ("modelaudit", "scan", "--no-cache", "--format", "json"), note="base install"),
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What one run cost and how it ended; `code` is None when it was stopped after the time allowed."""

    code: int | None
    cpu: float
    wall: float
    peak_mib: float
    read_mb: float
    output: str


def peer(name: str) -> Tool:
    """Return the peer of this name."""
    return next(tool for tool in PEERS if tool.name == name)


def ready(tool: Tool) -> None:
    """Make the environment of a peer when it is not there yet."""
    folder = FOLDER / tool.name
    if tool is OURS:
        return
    if " " in tool.name:  # the same scanner with another option
        other = FOLDER / tool.name.split()[0]
        ready(peer(other.name))
        if not folder.exists():
            folder.symlink_to(other)
        return
    if not folder.exists():
        venv.create(folder, with_pip=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", *tool.packages]  # fmt: skip
        subprocess.run(command, check=True)


def run(tool: Tool, path: Path, *, seconds: float = 600) -> Run:
    """Scan `path` once with `tool` and measure the whole process; some leave files where they are started."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        return _measured(tool, path.resolve(), seconds, scratch)


def _measured(tool: Tool, path: Path, seconds: float, scratch: str) -> Run:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {
        "NO_COLOR": "1",
        "DO_NOT_TRACK": "1",
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "COLUMNS": "200",
    }
    began = os.times().elapsed
    child = subprocess.Popen(tool.call(path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=scratch, start_new_session=True)  # fmt: skip
    lines: list[bytes] = []
    assert child.stdout is not None
    reader = threading.Thread(target=_drain, args=(child.stdout, lines), daemon=True)
    reader.start()
    timer = threading.Timer(seconds, os.killpg, (child.pid, signal.SIGKILL))
    timer.start()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    read = _bytes_read(child.pid)
    _, status, usage = os.wait4(child.pid, 0)
    timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    reader.join(5)
    code = None if child.returncode == -signal.SIGKILL else child.returncode
    wall = os.times().elapsed - began
    return Run(code, usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, read / 1e6, b"".join(lines).decode(errors="replace"))  # fmt: skip


def _drain(stream: object, lines: list[bytes]) -> None:
    lines.append(stream.read())  # type: ignore[attr-defined]


def _bytes_read(pid: int) -> int:
    """Return what a process that has ended asked for with read(), before it is reaped."""
    try:
        text = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.split("rchar:")[1].split()[0])
