"""What handing out costs beside nginx: the same file, the same client (curl), loopback, runs in turn; and how much memory it takes.

nginx verifies nothing: it lets the kernel send what lies on the disk. The mirror asks for the gate's word, reads each piece into memory
of its own, hashes it (BLAKE3) and sends it from there; pieces that are still there from an earlier reader are sent without another
look at the disk. Both cases are measured. Usage: mirror.py [--mib 1024] [--rounds 7] [--write]. Needs the program `nginx`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from weighbridge.config import read_config
from weighbridge.core.digest import Digest
from weighbridge.core.tier import Role
from weighbridge.gate.promote import promote
from weighbridge.keys.files import generate, load
from weighbridge.registry import authorities, intake, project_settings
from weighbridge.registry.intake import Acceptance
from weighbridge.registry.service_keys import root_folder
from weighbridge.registry.setup import init_registry
from weighbridge.registry.wiring import SystemClock, SystemEntropy

RESULT = Path(__file__).parent / "results" / "mirror.json"
NAME = "weights.safetensors"
BAR = 0.7
READERS, PART = 100, 8 * 1024 * 1024
HOT_MIB = 2048


def main() -> int:
    """Measure, print, and keep the figures with --write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mirror-", dir=Path(__file__).parents[1] / ".cache") as scratch:
        found = measure(Path(scratch), wanted.mib, wanted.rounds)
    text = json.dumps(found, indent=2)
    print(text)
    if wanted.write:
        RESULT.write_text(f"{text}\n", encoding="utf-8")
    return 0 if all(row["held"] for row in found["cases"].values()) else 1


def measure(folder: Path, mib: int, rounds: int) -> dict[str, Any]:
    """Make a registry with one admitted model, and run each case."""
    environment, blob, size = registry(folder, mib)
    cases: dict[str, Any] = {}
    with nginx(folder, blob) as plain:
        for name, room, work in (
            ("whole file, each piece read and hashed anew", 512, whole),
            ("whole file, pieces still in verified memory", HOT_MIB, whole),
            (f"{READERS} readers of {PART >> 20} MiB each at once", 512, parts(size)),
        ):
            with mirror(environment, room) as (url, process):
                first = work(url)
                idle = resident(process)
                pairs = [(work(url), work(plain)) for _ in range(rounds)]
                cases[name] = row(pairs, first) | {
                    "mirror_mib": room,
                    "resident_before_mib": idle,
                    "resident_peak_mib": peak(process),
                }
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": {"cpus": os.cpu_count(), "load_at_end": round(os.getloadavg()[0], 1)},
        "versions": {"nginx": version("nginx", "-v"), "curl": version("curl", "--version")},
        "file_mib": mib,
        "rounds": rounds,
        "bar": f"median of the ratios of one round at least {BAR}",
        "unequal": "nginx verifies nothing and asks nobody; the first request for a large file reads all of it once",
        "cases": cases,
    }


def row(pairs: list[tuple[float, float]], first: float) -> dict[str, Any]:
    """Return rates in MB/s, and the ratio of each round: mirror to nginx."""
    ratios = [ours / theirs for ours, theirs in pairs]
    return {
        "mirror_mb_s": round(statistics.median(ours for ours, _ in pairs) / 1e6),
        "nginx_mb_s": round(statistics.median(theirs for _, theirs in pairs) / 1e6),
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in sorted(ratios)],
        "first_request_mb_s": round(first / 1e6),
        "held": statistics.median(ratios) >= BAR,
    }


def whole(url: str) -> float:
    """Take the whole file; return bytes a second."""
    done = subprocess.run(
        ["curl", "-sf", "-o", os.devnull, "-w", "%{speed_download}", url], check=True, capture_output=True
    )
    return float(done.stdout)


def parts(size: int) -> Callable[[str], float]:
    """Return a client that takes many parts at once, by one curl."""

    def work(url: str) -> float:
        command = ["curl", "-sf", "-Z", "--parallel-immediate", "--parallel-max", str(READERS)]
        for number in range(READERS):
            start = number * (size - PART) // READERS
            more = ["--next", "-sf"] if number else []
            command += [*more, "-o", os.devnull, "-r", f"{start}-{start + PART - 1}", url]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return READERS * PART / (time.perf_counter() - began)

    return work


def registry(folder: Path, mib: int) -> tuple[Mapping[str, str], Path, int]:
    """Make a registry from which anybody may take one large model; return its environment, and where the large file lies."""
    environment = {
        **os.environ,
        "WEIGHBRIDGE_HOME": str(folder / "r"),
        "WEIGHBRIDGE_CONFIG_HOME": str(folder / "c"),
    }
    model = folder / "model"
    model.mkdir()
    size = mib << 20
    head = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode().ljust(128)
    with (model / NAME).open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    (model / "README.md").write_text("---\nlicense: mit\n---\nRandom numbers.\n")
    config = read_config(environment)
    clock = SystemClock()
    made = init_registry(config, clock=clock, entropy=SystemEntropy())
    try:
        key = generate()
        authority = made.authority.with_identity(
            "operator",
            key.public_pem,
            [Role.POLICY],
            project="*",
            valid_from=clock.now() - timedelta(minutes=1),
        )
        authorities.publish(made, authority, load(root_folder(config.home, made.id) / "root.pem"))
        project_settings.change(made, "anonymous-read", "on", reason="a benchmark", signer=key)
        kept = intake.take_folder(
            made, model, announced={path.name: _digest(path) for path in model.iterdir()}
        )
        shutil.rmtree(model)
        until = clock.now() + timedelta(days=1)
        intake.accept(made, kept, Acceptance("nobody", "MIT", "operator", "a benchmark", until))
        result = promote(made, kept.digest, name="large")
        assert result.decision.allow, [check.to_json() for check in result.decision.refusals]
        entry = kept.manifest.entry(NAME)
        assert entry is not None
        return environment, made.blobs.local(entry.sha256), entry.size
    finally:
        made.close()


def _digest(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())


@contextmanager
def mirror(environment: Mapping[str, str], room: int) -> Iterator[tuple[str, int]]:
    """Serve the registry in a process of its own; give the file's address and the process."""
    command = [sys.executable, "-m", "weighbridge", "serve", "--mirror", "--quiet", "--port", "0"]
    command += ["--format", "jsonl", "--heartbeat", "0"]
    surroundings = {**environment, "WEIGHBRIDGE_MIRROR_MIB": str(room)}
    with subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = json.loads(process.stdout.readline())["url"]
            yield f"{url}/large/resolve/main/{NAME}", process.pid
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def nginx(folder: Path, blob: Path) -> Iterator[str]:
    """Serve the same file with nginx as it is set up for files: sendfile, a worker for each CPU."""
    port = 18181
    own = folder / "nginx"
    own.mkdir()
    places = "".join(
        f"{kind}_temp_path {own}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (own / "nginx.conf").write_text(
        f"""{"user root;" if os.getuid() == 0 else ""} worker_processes auto; daemon off; pid {own}/pid;
error_log {own}/error.log; events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nopush on; {places}
server {{ listen 127.0.0.1:{port}; location = /{NAME} {{ alias {blob}; }} }} }}"""
    )
    with subprocess.Popen(["nginx", "-e", f"{own}/error.log", "-c", f"{own}/nginx.conf"]) as process:
        try:
            time.sleep(1)
            yield f"http://127.0.0.1:{port}/{NAME}"
        finally:
            process.terminate()
            process.wait(30)


def resident(pid: int) -> int:
    """Return the resident size in MiB, and begin to note the peak anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status(pid, "VmRSS")


def peak(pid: int) -> int:
    """Return the largest resident size since `resident`, in MiB."""
    return _status(pid, "VmHWM")


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.partition(f"{name}:")[2].split()[0]) // 1024


def version(program: str, option: str) -> str:
    """Return the first line in which a program says its version."""
    done = subprocess.run([program, option], check=True, capture_output=True, text=True)
    return (done.stdout or done.stderr).splitlines()[0][:80]


if __name__ == "__main__":
    sys.exit(main())
