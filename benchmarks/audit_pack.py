"""How long a pack of many decisions takes, how large it is, and how much memory making and verifying it needs.

    python benchmarks/audit_pack.py [--decisions 10000] [--models 500]

The decisions are those of one model taken through the gate, signed again for each: their sizes are real. Making and
verifying run in processes of their own, so that what each needs is seen.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

BATCH = 500


def build(folder: Path, decisions: int, models: int) -> None:
    """Make a registry with so many decisions, on so many names of manifests, each admitted and deployed once."""
    from weighbridge.registry.outbox import drain, enqueue
    from weighbridge.store import schema
    from world import World

    world = World(folder)
    registry = world.registry
    shown = world.ready()
    world.promote(shown)
    first = world.admit(shown, target="prod/first").decision
    with registry.records.read() as connection:
        evidence = json.loads(connection.exec_driver_sql("SELECT evidence FROM decision").scalar())
        content = connection.exec_driver_sql("SELECT content FROM bundle WHERE stage = 'admit'").scalar()
    summary = json.loads(base64.b64decode(json.loads(content)["dsseEnvelope"]["payload"]))
    for start in range(0, decisions, BATCH):
        world.hand.pass_(seconds=30)
        drafts, rows = [], []
        for number in range(start, min(start + BATCH, decisions)):
            row, signed = one(world, first, evidence, summary, (number, models))
            rows.append(row)
            drafts += signed
        with registry.writing():
            with registry.records.write() as connection:
                connection.execute(schema.decision.insert(), rows)
                enqueue(registry, connection, drafts)
            drain(registry, drafts)
    (folder / "root.pem").write_text(registry.pin.roots[0])
    registry.close()


def one(
    world: Any, first: Any, evidence: Any, summary: Any, place: tuple[int, int]
) -> tuple[dict[str, Any], list[Any]]:
    """Return the row and the signed drafts of one decision, its summary, and at first a deployment."""
    from weighbridge.claims.records import event
    from weighbridge.claims.words import ADMISSION
    from weighbridge.core.canonical import canonical
    from weighbridge.core.clock import rfc3339
    from weighbridge.core.digest import Digest
    from weighbridge.core.statement import Statement, Subject
    from weighbridge.registry.outbox import sign

    registry, (number, models) = world.registry, place
    manifest = Digest("wb1", hashlib.sha256(str(number % models).encode()).hexdigest())
    facts = json.dumps(evidence).replace(evidence["manifest"], str(manifest))
    text = canonical(json.loads(facts)).decode()
    body = first.to_json() | {"warnings": [f"number {number}"]}
    body["digests"] = {**first.digests, "evidence": str(Digest.of(text.encode())), "manifest": str(manifest)}
    drafts = [sign(event("decision", (manifest,), body, **registry.event_facts()), registry.gate_key)]
    said = {**summary["predicate"][ADMISSION], "expires": rfc3339(world.hand.now() + timedelta(hours=24))}
    about = (Subject(str(manifest), (("sha256", manifest.hex),)),)
    statement = Statement(about, summary["predicateType"], {**summary["predicate"], ADMISSION: said})
    drafts.append(sign(statement, registry.gate_key))
    if number < models:
        where = {"target": f"prod/{number}", "ended": False}
        drafts.append(
            sign(event("deployment", (manifest,), where, **registry.event_facts()), registry.gate_key)
        )
    row = {
        **registry.record(), "id": str(Digest.of(canonical(body))), "manifest": str(manifest), "action": "admit",
        "answer": "allow", "content": canonical(body).decode(), "evidence": text,
    }  # fmt: skip
    return row, drafts


def make(folder: Path) -> None:
    """Make the pack of everything."""
    from weighbridge.config import read_config
    from weighbridge.gate.pack import Wanted, make_pack
    from weighbridge.registry.wiring import SystemEntropy, open_registry
    from world_house import Hand

    environ = {"WEIGHBRIDGE_CONFIG_HOME": str(folder / "config"), "HOME": str(folder), "USER": "tester"}
    config = read_config(environ, {"registry": str(folder / "registry")})
    hand = Hand()
    hand.pass_(days=2)
    registry = open_registry(config, clock=hand, entropy=SystemEntropy())
    before = peak()
    start = time.perf_counter()
    made = make_pack(registry, folder / "pack.zip", Wanted())
    told(made.records, made.size, time.perf_counter() - start, before, len(made.wrong))


def check(folder: Path) -> None:
    """Verify the pack."""
    from weighbridge.gate.pack_formats import Pack
    from weighbridge.gate.verify_pack import verify

    before = peak()
    start = time.perf_counter()
    found, counted = verify(Pack(folder / "pack.zip"), [(folder / "root.pem").read_text()])
    size = (folder / "pack.zip").stat().st_size
    told(counted["records"], size, time.perf_counter() - start, before, len(found.wrong))


def peak() -> int:
    """Return the most memory this process ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def told(records: int, size: int, seconds: float, before: int, wrong: int) -> None:
    """Print one row as JSON."""
    row = {"records": records, "pack_mb": round(size / 1e6, 1), "seconds": round(seconds, 1), "wrong": wrong}
    print(json.dumps(row | {"peak_mib": peak(), "before_mib": before}))


def main() -> None:
    """Run everything, or one step in a folder that is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--decisions", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--step", choices=["build", "make", "check"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.step == "build":
        build(options.folder, options.decisions, options.models)
    elif options.step == "make":
        make(options.folder)
    elif options.step == "check":
        check(options.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            for step in ("build", "make", "check"):
                more = ["--decisions", str(options.decisions), "--models", str(options.models)]
                command = [sys.executable, __file__, "--step", step, "--folder", folder, *more]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                print(f"{step}: {done.stdout.strip() or 'done'}")


if __name__ == "__main__":
    main()
