"""How long it takes to find which of many trusted models are due: python benchmarks/reevaluation.py [MODELS] [DUE].

The registry is made of rows like those of real decisions (signed by the gate, chained), without bytes: finding what is due
reads none. Prints the CPU and wall seconds of one look, and how many were found.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from weighbridge.claims.records import event
from weighbridge.claims.results import decided
from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.gate.due import due
from weighbridge.registry import decisions, tally
from weighbridge.store import schema
from weighbridge.store.dialect import insert_new
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.seal import sign_statement
from world import World


def main(number: int, wanted: int) -> None:
    """Make a registry of `number` trusted models, `wanted` of them with a newer claim, and look."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        sample = world.ready()
        body = dict(world.promote(sample).body)
        registry = world.registry
        record, end = registry.record(), None
        with tally.keeping(registry) as connection:
            end = decisions.end(connection)
            models, bundles, subjects, rows = [], [], [], []
            for count in range(number):
                digest = Digest("wb1", hashlib.sha256(b"%d" % count).hexdigest())
                said = end.numbered(
                    {name: value for name, value in body.items() if name not in ("sequence", "previous")}
                )
                end = end.after(said)
                statement = decided(event("decision", (digest,), said, **registry.event_facts()), registry.id)
                bundle = Bundle(sign_statement(statement, registry.gate_key), registry.gate_key.key_id)
                models.append({**record, "digest": str(digest), "weights": None, "tier": "trusted", "status": "active",
                               "origin": "own", "label": "m", "source": "{}"})  # fmt: skip
                bundles.append({**record, "digest": str(bundle.digest), "stage": "decision", "log_index": count,
                                "signer": str(registry.gate_key.key_id), "content": bundle.to_json().decode()})  # fmt: skip
                subjects.append({"identity": str(digest), "bundle": str(bundle.digest)})
                rows.append({**record, "id": end.id, "manifest": str(digest), "action": "promote", "answer": "allow",
                             "content": canonical(said).decode(), "evidence": "", "receipt": "{}",
                             "sequence": end.sequence, "bundle": str(bundle.digest)})  # fmt: skip
            for count in range(wanted):
                name = f"sha256:{hashlib.sha256(b'claim %d' % count).hexdigest()}"
                bundles.append({**record, "digest": name, "stage": "evaluate", "log_index": number + count,
                                "signer": name, "content": "{}"})  # fmt: skip
                subjects.append({"identity": models[count]["digest"], "bundle": name})
            for table, part in ((schema.model, models), (schema.bundle, bundles), (schema.bundle_subject, subjects), (schema.decision, rows)):  # fmt: skip
                insert_new(connection, table, part, next(iter(table.c)))
        for _ in range(3):
            wall, cpu = time.perf_counter(), time.process_time()
            found = due(registry)
            print(
                f"{number + 1} trusted, {len(found)} due: "
                f"{time.process_time() - cpu:.2f} s of processor, {time.perf_counter() - wall:.2f} s"
            )
        registry.close()


if __name__ == "__main__":
    main(*(int(text) for text in (*sys.argv[1:], *("10000", "300")[len(sys.argv) - 1 :])))
