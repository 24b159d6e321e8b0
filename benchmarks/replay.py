"""Make ten thousand decisions in one registry, and measure how long it takes to compute them all again.

    python benchmarks/replay.py [--decisions N] [--models N] [--jobs N] [--keep FOLDER]

Evidence is of three sizes (a stranger's model, our own, and one of 200 claims and 80 files), varied over 500 models: other
identities, every fifth without a training claim. Each decision is judged by the engine under the registry's own policy, its time
200 s after the one before, and goes through the registry's outbox like any other: signed by the gate, chained, logged, taken
into effect; 250 in one transaction. What is not real is where the evidence comes from: the models themselves are not in the
registry. Then all are replayed, each held against its signature and log proof first: under the policy that they were made by,
where every one must come out to the byte, and under one that lets scans be ten days old at most. The figures go to
benchmarks/results/replay.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "policy"), str(ROOT / "benchmarks")]
RESULTS = ROOT / "benchmarks" / "results" / "replay.json"
BAR_SECONDS = 60
BATCH = 250
STEP_SECONDS = 200


def variants(number: int) -> Iterator[Any]:
    """Yield evidence about `number` models."""
    import good_evidence as good

    from gate import samples
    from weighbridge.core.canonical import canonical, parse
    from weighbridge.core.digest import Digest
    from weighbridge.core.evidence import Evidence

    sizes = samples()
    shapes = [sizes["typical"], sizes["small"], sizes["typical"], sizes["typical"], sizes["large"]]
    for which in range(number):
        evidence = shapes[which % 50 % 4] if which % 50 < 48 else shapes[4]
        if which % 5 == 4:
            kept = tuple(fact for fact in evidence.claims if fact.stage is not good.Stage.TRAIN)
            evidence = replace(evidence, claims=kept)
        text = canonical(evidence.to_json()).decode()
        for own in filter(None, (evidence.manifest, evidence.weights)):
            text = text.replace(own.hex, Digest.of(f"{own} {which}".encode()).hex)
        yield Evidence.from_json(parse(text))


def fill(world: Any, wanted: int, models: int) -> dict[str, float]:
    """Make the decisions; return how long that took and how large the evidence is."""
    from weighbridge.gate.judging import judge_model
    from weighbridge.gate.settling import Wanted, settle

    registry, evidence = world.registry, list(variants(models))
    sizes, made, started, cpu = 0, 0, time.monotonic(), time.process_time()
    while made < wanted:
        batch = []
        for number in range(made, min(made + BATCH, wanted)):
            one = evidence[number * 7 % models]
            world.hand.pass_(seconds=STEP_SECONDS)
            judged = judge_model(registry, one, action=("promote", "admit")[number % 2])
            batch.append(Wanted(one.manifest, judged))
            sizes += len(judged.basis.text)
        with registry.writing():
            settle(registry, batch)
        made += len(batch)
        print(f"\r{made} decisions", end="", file=sys.stderr)
    print(file=sys.stderr)
    return {
        "decisions": made,
        "models": models,
        "evidence_bytes_mean": round(sizes / made),
        "fill_seconds": round(time.monotonic() - started, 1),
        "fill_cpu_ms_each": round(1000 * (time.process_time() - cpu) / made, 2),
    }


def again(folder: Path, jobs: int, *, changed: bool) -> dict[str, Any]:
    """Replay everything in a process of its own; return counts, seconds and the peak memory of it and of its workers."""
    command = [
        sys.executable,
        __file__,
        "--again",
        str(folder),
        "--jobs",
        str(jobs),
        *(["--changed"] if changed else []),
    ]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def replayed(folder: Path, jobs: int, *, changed: bool) -> dict[str, Any]:
    """Do that, in that process."""
    from weighbridge.config import read_config
    from weighbridge.gate.replay import Summary, replay_parallel
    from weighbridge.registry.wiring import SystemClock, SystemEntropy, open_registry

    environ = {"WEIGHBRIDGE_CONFIG_HOME": str(folder / "config"), "HOME": str(folder), "USER": "tester"}
    config = read_config(environ, {"registry": str(folder / "registry")})
    started = time.monotonic()
    with closing(open_registry(config, clock=SystemClock(), entropy=SystemEntropy())) as registry:
        policy = stricter(registry.layout.policy) if changed else None
        summary = Summary(str(policy.digest) if policy else "each decision's own")
        for row in replay_parallel(registry, jobs=jobs, policy=policy):
            summary.add(row)
    seconds = time.monotonic() - started
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = sum(used.ru_utime + used.ru_stime for used in (own, children))
    return {
        **summary.to_json(),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "cpu_ms_each": round(1000 * cpu / max(1, sum(summary.counts.values())), 2),
        "peak_mb": {"this": peak(), "largest_worker": children.ru_maxrss // 1024},
    }


def peak() -> int:
    """Return the peak memory of this program alone, in MB: the kernel's other figure includes who started it."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) // 1024


def stricter(folder: Path) -> Any:
    """Return the policy of a folder with scans of at most ten days."""
    from weighbridge.policy.settings import load_bundle

    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".rego", ".toml")}
    text, number = re.subn(
        r"(?m)^#?\s*max_age_days\s*=.*$", "max_age_days = 10", files["policy.toml"].decode(), count=1
    )
    if number != 1:
        sys.exit("policy.toml has no max_age_days to change")
    return load_bundle({**files, "policy.toml": text.encode()})


def main() -> int:
    """Run it; 1 when a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--decisions", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="write the figures there instead")
    parser.add_argument("--again", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--changed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.again:
        print(json.dumps(replayed(options.again, options.jobs, changed=options.changed)))
        return 0
    import good_evidence

    from world import World

    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.hand.at = good_evidence.NOW
        with closing(world.registry):
            figures: dict[str, Any] = {
                "machine": {
                    "python": platform.python_version(),
                    "cores": os.cpu_count(),
                    "jobs": options.jobs,
                },
                **fill(world, options.decisions, options.models),
            }
        for name, changed in (("same_policy", False), ("changed_policy", True)):
            figures[name] = again(Path(folder), options.jobs, changed=changed)
        figures["load_average"] = round(os.getloadavg()[0], 1)
    (options.keep or RESULTS).write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    same, changed = figures["same_policy"], figures["changed_policy"]
    held = same["identical"] == options.decisions and changed["changed"] > 0
    return 0 if held and changed["seconds"] <= BAR_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
