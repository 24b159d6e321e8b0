"""Measure a whole decision from verified evidence against the bare engine on the same policy and input.

    python benchmarks/gate.py [--rounds N]

A decision is what `gate.judging.judge_model` does in an open registry: the active policy is read and held against its pin, the evidence
written as canonical JSON and hashed, the floor checked, the question asked of the engine in its worker process, the answer held against
the contract, and all of it judged. Gathering evidence, signing and logging the decision are not in it. CPU is that
of this process and of the worker together. The bare engine is regorus in this process with the same modules parsed and data
loaded, given the same input as JSON text that is already made: set_input_json, eval_query_as_json, and its answer read.
Both are asked in turn, so that what else the machine does meets both. The figures go to benchmarks/results/gate.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "policy")]
RESULTS = ROOT / "benchmarks" / "results" / "gate.json"
BAR = 2.0


def samples() -> dict[str, Any]:
    """Return evidence of three sizes: a stranger's model, our own as usual, and one of 200 claims, 80 files, 30 findings."""
    import good_evidence as good

    usual = good.own()
    stages = (good.Stage.DATA, good.Stage.TRAIN, good.Stage.EVALUATE)
    detail = {"source": "a set", "licence": "CC-BY-4.0", "result": "PASSED", "metrics": {"accuracy": 0.91}}
    more = [
        good.fact(stages[number % 3], [good.wb(f"ancestor {number}")], name=str(number), detail=detail)
        for number in range(200 - len(usual.claims))
    ]
    findings = [good.finding(good.Verdict.NOTES, rule="config-note", subject=f"key {n}") for n in range(30)]
    files = {f"shard-{number:02}.safetensors": "safetensors" for number in range(80)}
    large = good.scanned(replace(usual, claims=(*usual.claims, *more)), *findings, formats=files)
    return {"small": good.third_party(), "typical": usual, "large": large}


def bare_engine(bundle: Any, package: str, text: str) -> Callable[[], Any]:
    """Return what asks the bare engine once: rules parsed, data loaded and analysed beforehand."""
    import regorus

    engine = regorus.Engine()
    for name, module in sorted(bundle.modules.items()):
        engine.add_policy(name, module)
    engine.add_data_json(json.dumps(bundle.data))
    query = f"data.weighbridge.{package}"

    def ask() -> Any:
        engine.set_input_json(text)
        return json.loads(engine.eval_query_as_json(query))["result"][0]["expressions"][0]["value"]

    return ask


class Cpu:
    """CPU seconds of this process and of the worker."""

    def __init__(self, worker: int) -> None:
        self._file = Path(f"/proc/{worker}/schedstat")

    def now(self) -> tuple[float, float]:
        """Return both, this process first."""
        return time.process_time(), int(self._file.read_text().split()[0]) / 1e9


def measure(registry: Any, evidence: Any, rounds: int) -> dict[str, Any]:
    """Return the figures for one size; ends the program when the two do not say the same."""
    from weighbridge.gate.engines import engine_of
    from weighbridge.gate.judging import PACKAGES, judge_model, read_policy
    from weighbridge.policy.contract import question
    from weighbridge.policy.floor import floor

    bundle, package = read_policy(registry.layout.policy), PACKAGES[evidence.origin]
    now = registry.clock.now()
    text = json.dumps(question(evidence, floor(evidence, now), now, "promote"))
    bare = bare_engine(bundle, package, text)
    decision = judge_model(registry, evidence, action="promote").decision
    value = bare()
    answered = next(check for check in decision.checks if check.id == "policy.engine")
    if (answered.outcome == "pass") != value["allow"]:
        raise SystemExit(f"the two do not say the same: {answered}, {value}")
    cpu = Cpu(engine_of(registry).worker)  # type: ignore[attr-defined]
    rows: dict[str, list[float]] = {"decision": [], "worker": [], "wall": [], "bare": [], "ratio": []}
    for _ in range(rounds):
        began, there, at = *cpu.now(), time.perf_counter()
        judge_model(registry, evidence, action="promote")
        wall = time.perf_counter() - at
        ours, theirs = (after - before for after, before in zip(cpu.now(), (began, there), strict=True))
        began = time.process_time()
        bare()
        alone = time.process_time() - began
        found = (ours + theirs, theirs, wall, alone, (ours + theirs) / alone)
        for name, figure in zip(rows, found, strict=True):
            rows[name].append(figure)
    return {
        "input_bytes": len(text),
        "claims": len(evidence.claims),
        "allowed": decision.allow,
        "rounds": rounds,
        "ratio_p50": round(statistics.median(rows["ratio"]), 3),
        "ratio_of_sums": round(sum(rows["decision"]) / sum(rows["bare"]), 3),
        **{f"{name}_ms_p50": _ms(rows[name], 50) for name in ("decision", "worker", "bare", "wall")},
        **{f"{name}_ms_p99": _ms(rows[name], 99) for name in ("decision", "worker", "bare", "wall")},
    }


def _ms(rows: list[float], percent: int) -> float:
    return round(statistics.quantiles(rows, n=100)[percent - 1] * 1000, 3)


def main() -> int:
    """Measure three sizes; 1 when a median ratio is over the bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=500)
    rounds = parser.parse_args().rounds
    if not Path("/proc/self/schedstat").exists():
        raise SystemExit("the worker's CPU is read from /proc, which is not here")
    import good_evidence as good

    from world import World

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "bar_ratio": BAR,
    }
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.hand.at = good.NOW
        for name, evidence in samples().items():
            row = found[name] = measure(world.registry, evidence, rounds)
            print(
                f"{name}: {row['input_bytes'] / 1000:.1f} KB of input; a decision {row['decision_ms_p50']:.2f} ms of CPU"
                f" (p99 {row['decision_ms_p99']:.2f}), the bare engine {row['bare_ms_p50']:.2f} ms:"
                f" {row['ratio_p50']:.2f} times (bar {BAR:g}); {row['wall_ms_p50']:.2f} ms on the clock (p99 {row['wall_ms_p99']:.2f})"
            )
        world.registry.close()
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if max(found[name]["ratio_p50"] for name in ("small", "typical", "large")) > BAR else 0


if __name__ == "__main__":
    sys.exit(main())
