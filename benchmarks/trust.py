"""Sign and verify the same models with Weighbridge and with the library model_signing, in turn, and compare what it costs.

    python benchmarks/trust.py [--rounds N] [--unit MIB] [--only CASE ...]

Runs go A B A B ..., and a ratio is the median of the ratios of pairs. CPU and wall time are those of the whole
process, start-up included, over files that were read just before. Both sides compare every file; the digests that
each makes stand in the record. The models are random bytes: four files of UNIT and one of four times UNIT (1024 MiB
unless told otherwise; the record says how much it was). They are made once, under .cache/bench/. The figures go to
benchmarks/results/trust.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peers import ROOT, Run, Tool, ready, run

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "trust")]
SAMPLES = ROOT / ".cache" / "bench" / "trust"
RESULTS = ROOT / "benchmarks" / "results" / "trust.json"
OURS = Tool("weighbridge", (), ("python", "-m", "weighbridge"))
THEIRS = Tool(
    "model_signing",
    ("model-signing==1.1.1", "pyopenssl"),
    ("model_signing",),
    note="pyopenssl added, without which it does not start",
)
API = """\
import sys
from model_signing import hashing, signing, verifying
verb, key, signature, model = sys.argv[1:]
if verb == "sign":
    config = hashing.Config().use_file_serialization(hashing_algorithm="blake3")
    signing.Config().set_hashing_config(config).use_elliptic_key_signer(private_key=key).sign(model, signature)
else:
    verifying.Config().use_elliptic_key_verifier(public_key=key).verify(model, signature)
"""  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One comparison: both command lines (the model's path is put behind), the digests, and what we hold to."""

    name: str
    title: str
    ours: Callable[[Path], tuple[str, ...]]
    theirs: Callable[[Path], tuple[str, ...]]
    digests: tuple[str, str]
    cpu: float
    wall: float | None = None


def key(kind: str) -> str:
    """Return the path of the private (`pem`) or public key that signs all samples."""
    return str(SAMPLES / f"me.{kind}")


def signature(model: Path, name: str) -> str:
    """Return where the signature of that name over a model lies."""
    return str(SAMPLES / f"{model.name}.{name}")


def _verify(name: str) -> Callable[[Path], tuple[str, ...]]:
    return lambda model: ("verify", "--quiet", "--key", key("pub.pem"), "--bundle", signature(model, name))


def _theirs(verb: str, name: str) -> Callable[[Path], tuple[str, ...]]:
    option = ("--private_key", key("pem")) if verb == "sign" else ("--public_key", key("pub.pem"))
    return lambda model: (verb, "key", "--signature", signature(model, name), *option)


def _api(verb: str, name: str) -> Callable[[Path], tuple[str, ...]]:
    which = key("pem" if verb == "sign" else "pub.pem")
    return lambda model: ("python", str(SAMPLES / "api.py"), verb, which, signature(model, name))


CASES = (
    Case("sha256", "verify the same list: SHA-256 of each file", _verify("sha256.sig"), _theirs("verify", "sha256.sig"), ("sha256", "sha256"), cpu=1.0),
    Case("blake3", "verify the same list: BLAKE3 of each file (theirs through their API)", _verify("blake3.sig"), _api("verify", "blake3.sig"), ("blake3", "blake3"), cpu=1.0),
    Case("default", "verify as each does by default", _verify("claim.json"), _theirs("verify", "sha256.sig"), ("blake3 of each 16 MiB, from the signed table", "sha256"), cpu=0.5, wall=0.6),
    Case("sign", "sign as each does by default", lambda model: ("sign", "--quiet", "--key", key("pem"), "--bundle", signature(model, "new.json")), _theirs("sign", "new.sig"), ("sha256 of each file and blake3 of each 16 MiB, in one reading", "sha256"), cpu=1.2),
)  # fmt: skip


def prepare(unit: int) -> list[Path]:
    """Make the models, the keys and the signatures that are verified; files that are there are kept."""
    SAMPLES.mkdir(parents=True, exist_ok=True)
    parts = {"four": [unit] * 4, "one": [4 * unit]}
    models = []
    for name, sizes in parts.items():
        model = SAMPLES / f"{name}-{unit}"
        files = [(model / f"part-{number}.safetensors", size << 20) for number, size in enumerate(sizes)]
        missing = sum(size for path, size in files if not _whole(path, size))
        if missing > shutil.disk_usage(SAMPLES).free - (2 << 30):
            raise SystemExit(f"{missing >> 20} MiB are needed under {SAMPLES}; take a smaller --unit")
        model.mkdir(exist_ok=True)
        for path, size in files:
            if not _whole(path, size):
                with path.open("wb") as file:
                    for _ in range(size >> 20):
                        file.write(os.urandom(1 << 20))
        models.append(model)
    tiny = SAMPLES / "tiny"
    tiny.mkdir(exist_ok=True)
    (tiny / "config.json").write_text("{}")
    (SAMPLES / "api.py").write_text(API)
    if not Path(key("pem")).exists():
        _do(OURS, ("key", "new"), Path(key("pem")))
    for model in (*models, tiny):
        sign = ("sign", "--quiet", "--key", key("pem"), "--bundle")
        if not Path(signature(model, "claim.json")).exists():
            _do(OURS, (*sign, signature(model, "claim.json")), model)
            for name in ("sha256", "blake3"):
                _do(OURS, (*sign, signature(model, f"{name}.sig"), "--oms", "--hash", name), model)
    return models


def _whole(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _do(tool: Tool, words: tuple[str, ...], path: Path) -> Run:
    program = tool.command if words[0] != "python" else ()
    done = run(replace(tool, command=(*program, *(words if program else ("python3", *words[1:])))), path)
    if done.code != 0:
        raise SystemExit(f"{tool.name} {' '.join(words)} {path} ended with {done.code}:\n{done.output}")
    return done


def measure(case: Case, model: Path, rounds: int) -> dict[str, Any]:
    """Run both in turn and return the figures; each must find the model in order."""
    runs: dict[str, list[Run]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        for name, tool, words in (("ours", OURS, case.ours), ("theirs", THEIRS, case.theirs)):
            _warm(model)
            Path(signature(model, "new.json")).unlink(missing_ok=True)
            runs[name].append(_do(tool, words(model), model))
            done = runs[name][-1]
            print(f"    {model.name} {case.name} {name}: {done.cpu:.2f} CPU-s, {done.wall:.2f} s", flush=True)
    pairs = list(zip(runs["ours"], runs["theirs"], strict=True))
    cpu = statistics.median(a.cpu / b.cpu for a, b in pairs)
    wall = statistics.median(a.wall / b.wall for a, b in pairs)
    row: dict[str, Any] = {
        "title": case.title,
        "digests": dict(zip(("ours", "theirs"), case.digests, strict=True)),
        "rounds": rounds,
        "cpu_ratio": round(cpu, 3),
        "cpu_bar": case.cpu,
        "cpu_held": cpu <= case.cpu,
        "wall_ratio": round(wall, 3),
    }
    if case.wall is not None:
        row |= {"wall_bar": case.wall, "wall_held": wall <= case.wall}
    for name, done in runs.items():
        row[name] = {
            "cpu_s": round(statistics.median(one.cpu for one in done), 2),
            "wall_s": round(statistics.median(one.wall for one in done), 2),
            "peak_mib": round(max(one.peak_mib for one in done)),
        }
    return row


def _warm(model: Path) -> None:
    buffer = bytearray(1 << 20)
    for path in model.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def tiny(rounds: int) -> dict[str, Any]:
    """Measure the whole process that verifies a model of two bytes."""
    model = SAMPLES / "tiny"
    runs = [_do(OURS, _verify("claim.json")(model), model).cpu for _ in range(4 * rounds + 1)]
    cpu = statistics.median(runs[1:])  # the first may write bytecode
    return {"title": "verify a model of two bytes, whole process", "cpu_ms": round(1000 * cpu), "cpu_ms_bar": 150, "held": cpu <= 0.15, "runs": len(runs) - 1}  # fmt: skip


def bundles(rounds: int) -> dict[str, Any]:
    """Measure reading and verifying bundles in process, each as if it were the first: nothing parsed before is kept."""
    from sigstore_world import make

    from weighbridge.trust import certificates
    from weighbridge.trust.bundle import Bundle
    from weighbridge.trust.prove import prove

    kept = [part for part in vars(certificates).values() if hasattr(part, "cache_clear")]
    rows: dict[str, Any] = {"bar_ms": 5}
    for kind in ("dsse", "dsse2"):
        case = make(kind)
        data = case.bundle
        taken = []
        for _ in range(20 * rounds + 5):
            for part in kept:
                part.cache_clear()
            began = time.process_time()
            bundle = Bundle.from_json(data)
            prove(bundle, roots=case.roots, demand=case.demand, now=case.now)
            taken.append(1000 * (time.process_time() - began))
        rows[kind] = round(statistics.median(taken[5:]), 2)
    rows["held"] = max(rows["dsse"], rows["dsse2"]) <= rows["bar_ms"]
    rows["title"] = "read and verify a keyless bundle (certificate, SCT, log entry, timestamp), CPU ms"
    return rows


def _print(record: dict[str, Any]) -> None:
    print("\n| model | case | CPU ratio (bar) | wall ratio (bar) | ours CPU / wall s | theirs CPU / wall s |")
    print("|---|---|---|---|---|---|")
    for model, cases in record["models"].items():
        for row in cases.values():
            a, b = row["ours"], row["theirs"]
            print(f"| {model} | {row['title']} | {row['cpu_ratio']} ({row['cpu_bar']}) | {row['wall_ratio']} ({row.get('wall_bar', 'none')}) | {a['cpu_s']} / {a['wall_s']} | {b['cpu_s']} / {b['wall_s']} |")  # fmt: skip
    for name in ("tiny", "bundles"):
        print(f"\n{name}: {json.dumps(record[name])}")


def main() -> int:
    """Measure, keep and print the figures; return 1 when a bar is not held."""
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--unit", type=int, default=1024, help="MiB of one of the four files")
    words.add_argument("--only", action="append", default=[], choices=[case.name for case in CASES])
    chosen = words.parse_args()
    ready(THEIRS)
    models = prepare(chosen.unit)
    record: dict[str, Any] = {
        "unit_mib": chosen.unit,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "peer": f"{THEIRS.packages[0]} ({THEIRS.note})",
        "models": {
            model.name: {
                case.name: measure(case, model, chosen.rounds)
                for case in CASES
                if not chosen.only or case.name in chosen.only
            }
            for model in models
        },
        "tiny": tiny(chosen.rounds),
        "bundles": bundles(chosen.rounds),
    }
    _print(record)
    if not chosen.only:
        RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    held = [value for cases in record["models"].values() for row in cases.values() for name, value in row.items() if name.endswith("_held")]  # fmt: skip
    held += [record["tiny"]["held"], record["bundles"]["held"]]
    print(f"\n{sum(held)} of {len(held)} bars held")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
