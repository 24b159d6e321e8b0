"""Verify a complete claim graph in process: read each bundle, prove it, walk the graph, explain it; nothing kept from before.

    python benchmarks/claims.py [--rounds N]

The graph has twelve claims by six identities: three datasets (one made of another), an accepted origin, a conversion, two
fine-tunes, their merge, its evaluation and packaging, a conversion of that and its packaging. Proving a bundle is
its signature, its entry's inclusion and the log's signed time, held against the authority; with certificates also the path
to the certificate authority, its log's promise and an RFC 3161 timestamp. Bundles begin as the bytes that a
registry keeps. Certificates read before are forgotten before each round. The figures go to benchmarks/results/claims.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "trust"), str(ROOT / "tests" / "claims")]
RESULTS = ROOT / "benchmarks" / "results" / "claims.json"
BAR = 0.100


def managed() -> tuple[list[bytes], Any, Any]:
    """Return the bundles of a graph signed by managed keys, the authority that names these, and the time."""
    import claims_world as world

    return [bundle.to_json() for bundle in world.whole()], world.authority(), world.NOW


def keyless(folder: Path) -> tuple[list[bytes], Any, Any]:
    """Return the bundles of the same graph signed by certificates, with log entries and timestamps."""
    import claims_world as world
    from trust_services import ISSUER, NOW, service_key, services, token

    from weighbridge.core.tier import Role
    from weighbridge.trust.authority import Authority
    from weighbridge.trust.demand import Demand
    from weighbridge.trust.expect import ExpectedIdentity
    from weighbridge.trust.keyless import sign_keyless

    class Known:
        """Believes whoever the text names: tokens are not what is measured."""

        def verify(self, text: str, now: Any) -> Any:
            del now
            return token(text)

    parts = services(folder, verifier=Known())
    rows = world.graph().values()
    bundles = [sign_keyless(statement, f"{team}@example.org", parts, NOW) for statement, team in rows]
    made = Authority("test", 1, world.LONG_AGO, NOW.replace(year=2027), (service_key("offline").public_pem,))
    made = made.with_log(parts.log.origin, service_key("log").public_pem).with_trusted(parts.roots())
    for team, role in world.TEAMS.items():
        made = made.with_identity(
            team, "", [Role(role)], project=world.PROJECT, valid_from=world.LONG_AGO,
            evidence=Demand(logs=1, timestamps=1, scts=1, times=1),
            keyless=ExpectedIdentity(subject=f"{team}@example.org", issuer=ISSUER),
        )  # fmt: skip
    return [bundle.to_json() for bundle in bundles], made, NOW


def forget() -> None:
    """Drop what was read before, so that each round does all the work."""
    ours = ("weighbridge.keys.", "weighbridge.trust.", "weighbridge.claims.")
    for module in [module for name, module in sys.modules.items() if name.startswith(ours)]:
        for thing in list(vars(module).values()):
            if hasattr(thing, "cache_clear"):
                thing.cache_clear()


def verify(kept: Sequence[bytes], authority: Any, now: Any) -> None:
    """Do all of it once; the graph must end at an accepted origin, with one evaluation that counts."""
    import claims_world as world

    from weighbridge.claims.explain import explain
    from weighbridge.gate.claimed import fact_of
    from weighbridge.trust.bundle import Bundle

    facts = [
        fact_of(Bundle.from_json(data), authority=authority, project=world.PROJECT, now=now) for data in kept
    ]
    found = explain(world.MODEL.digest, world.MODEL.weights, [fact for fact in facts if fact is not None])
    if found.ancestry.end != "origin" or len(found.evaluations) != 1:
        raise SystemExit(f"the graph is not proven: {found.answer}")


def measure(work: Callable[[], None], rounds: int) -> dict[str, float]:
    """Return the smallest, median and largest CPU and wall seconds of some rounds."""
    work()
    cpu, wall = [], []
    for _ in range(rounds):
        forget()
        began = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    return {
        "cpu_min": round(min(cpu), 4),
        "cpu_median": round(statistics.median(cpu), 4),
        "cpu_max": round(max(cpu), 4),
        "wall_median": round(statistics.median(wall), 4),
    }


def main() -> int:
    """Measure both kinds of signers; 1 when a median is over the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "bar_seconds": BAR,
        "rounds": rounds,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, (kept, authority, now) in (("keys", managed()), ("certificates", keyless(Path(folder)))):
            row = measure(lambda k=kept, a=authority, n=now: verify(k, a, n), rounds)
            found[name] = {"claims": len(kept), "bytes": sum(map(len, kept)), **row}
            print(
                f"{len(kept)} claims by six identities, {name}: {row['cpu_median'] * 1000:.1f} ms of CPU,"
                f" {row['wall_median'] * 1000:.1f} ms (bar {BAR * 1000:.0f} ms)"
            )
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if max(found[name]["cpu_median"] for name in ("keys", "certificates")) > BAR else 0


if __name__ == "__main__":
    sys.exit(main())
