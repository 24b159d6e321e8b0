"""Ask the lineage index of a million models what it must answer at once, on SQLite and on PostgreSQL, and time it.

    python benchmarks/lineage.py [--models N] [--rounds N] [--only sqlite|postgresql] [--folder FOLDER]

The graph is `lineage_graph`'s: twice as many edges as models, skewed, the largest family with 9 % of all models,
diamonds, merges across families, at most 12 steps deep, 5,000 models deployed. Most of it is written directly and the
last part is published through the index, which is what publishing is timed by. Both databases must give the
same counts, and the graph's own, or the run fails. Times are wall times of the calls as the gate makes them,
SQLAlchemy and the making of Digests included, one connection, caches warm; beside them stands the processor's time
of this process and of PostgreSQL's, which is what carries when the machine has other work.

Not in any figure: the tally over the registry's records, signatures and log entries, reading a command line. Manifests,
chunk tables and bills of materials lie apart from the rows that change, and are left out. PostgreSQL 18 listens on a socket of
this machine, durable, with 1 GB of shared buffers and its other defaults. The figures go to benchmarks/results/lineage.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from lineage_graph import Graph, file_digest, identity, make

from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import CARRIES, AdvisoryKind, Grade, Parentage
from weighbridge.store import lineage_index as index
from weighbridge.store import schema
from weighbridge.store.dialect import insert_new
from weighbridge.store.sql import Records

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "lineage.json"
RECORD = {"schema_version": 1, "project": "default", "actor": "bench", "created_at": "2026-11-23T00:00:00Z"}
DEPLOYED, PUBLISHED, BATCH, ASKED, NAIVE = 5000, 20_000, 1000, 2000, 200
BARS = {
    "sqlite": {"affected_p99_ms": 1.0},
    "postgresql": {"affected_p99_ms": 5.0},
    "both": {
        "deployed_ms": 250.0,
        "descendants_ms": 500.0,
        "quarantine_s": 3.0,
    },
}
PUBLISH_BAR = 1000
BUNDLE = "sha256:" + "0" * 64


def main() -> int:
    """Make the graph, measure on both databases, compare, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--folder", type=Path, help="where SQLite's file is put for the time being")
    options = parser.parse_args()
    graph = make(options.models, 2 * options.models)
    gc.collect()
    gc.freeze()  # the graph is ours alone: no program that asks has millions of objects that Python looks through again
    sure = len(graph.below(0, CARRIES[AdvisoryKind.WEIGHTS], sure=True))
    truth = {"descendants": len(graph.below(0)), "reached_by_weights": sure}
    record: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]},
        "graph": {
            "models": graph.models,
            "datasets": graph.nodes - graph.models,
            "edges": len(graph.parents),
            **truth,
        },
    }
    for name in [options.only] if options.only else ["sqlite", "postgresql"]:
        with _opened(name, options.folder) as records:
            record[name] = measure(name, records, graph, options.rounds)
            counts = record[name]["counts"]
            if any(counts[key] != value for key, value in truth.items()):
                raise SystemExit(f"{name} counts {counts}, the graph has {truth}")
    if not options.only and record["sqlite"]["counts"] != record["postgresql"]["counts"]:
        raise SystemExit(f"{record['sqlite']['counts']} is not {record['postgresql']['counts']}")
    _print(record)
    if not options.only and options.models == 1_000_000:
        RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    return 0


@contextmanager
def _opened(name: str, where: Path | None) -> Iterator[Records]:
    if name == "sqlite":
        with tempfile.TemporaryDirectory(prefix="weighbridge-lineage-", dir=where) as folder:
            records = Records.open(Path(folder) / "registry.db", create=True)
            yield records
            records.close()
        return
    sys.path.insert(0, str(ROOT / "tests"))
    from world_postgresql import server

    with server(shared_buffers="1GB") as url:
        records = Records.open_url(url)
        yield records
        records.close()


def measure(name: str, records: Records, graph: Graph, rounds: int) -> dict[str, Any]:
    """Fill one database and put every question to it."""
    old = graph.models - min(PUBLISHED, graph.models // 10)
    _say(name, "filling")
    began = time.perf_counter()
    fill(records, graph, old)
    result: dict[str, Any] = {"fill_s": round(time.perf_counter() - began, 1), "counts": {}}
    housekeep(records)
    _say(name, "publishing")
    result |= publish(records, graph, old)
    deployed = [identity(node) for node in random.Random(1).sample(range(graph.models), DEPLOYED)]
    with records.read() as connection:
        _say(name, "asking")
        result |= ask(connection, graph, deployed, rounds, result["counts"])
        _say(name, "walking naively")
        result["naive"] = naive(connection, deployed, result["counts"])
        result["plans"] = plans(connection)
    _say(name, "quarantining")
    result |= quarantine(records, rounds, result["counts"])
    return result


def housekeep(records: Records) -> None:
    """Do what PostgreSQL's own housekeeping does in time; SQLite has none, and gets none."""
    with records._engine.connect() as connection:  # noqa: SLF001 (outside of any transaction)
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM (ANALYZE)")


def fill(records: Records, graph: Graph, stop: int) -> None:
    """Write everything before `stop` and the datasets directly, as a restored backup would."""
    nodes = [*range(stop), *range(graph.models, graph.nodes)]
    with records.write() as connection:
        _copy(connection, schema.artifact, (_node_row(node, graph) for node in nodes))
        _copy(connection, schema.model, (_model_row(node) for node in range(stop)))
        _copy(connection, schema.alias, (_alias_row(node) for node in range(stop)))
        _copy(connection, schema.edge, (_edge_row(edge) for edge in graph.edges(0, stop)))
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT setval('artifact_id_seq', (SELECT max(id) FROM artifact))")


def publish(records: Records, graph: Graph, start: int) -> dict[str, Any]:
    """Publish the rest in batches, a transaction each, made ready before the clock starts."""
    batches = []
    edges: dict[int, list[Parentage]] = {}
    for parent, child, relation, grade in graph.edges(start):
        edges.setdefault(child // BATCH, []).append(
            Parentage(identity(parent), identity(child), relation, grade, BUNDLE)
        )
    for first in range(start, graph.models, BATCH):
        models = range(first, min(first + BATCH, graph.models))
        batches.append((models, edges.get(first // BATCH, [])))
    spent = cpu = 0.0
    for models, found in batches:
        batch = index.Batch(
            nodes=[index.Node(identity(node), "model", f"org/model-{node}") for node in models],
            aliases=[
                (identity(node), alias, Grade.OBSERVED)
                for node in models
                for alias in (_file(node), Alias(Scheme.NAME, f"org/model-{node}"))
            ],
            edges=found,
        )
        rows = [_model_row(node) for node in models]
        began, before = time.perf_counter(), 0.0
        with records.write() as connection:
            clock = _clock(connection)
            before = clock()
            insert_new(connection, schema.model, rows, schema.model.c.digest)
            index.publish(connection, batch, RECORD)
            cpu += clock() - before
        spent += time.perf_counter() - began
    models = graph.models - start
    return {"publish_models_per_s": round(models / spent), "publish_models_per_cpu_s": round(models / cpu)}


def ask(
    connection: sa.Connection, graph: Graph, deployed: Sequence[Digest], rounds: int, counts: dict[str, int]
) -> dict[str, Any]:
    """Put the questions of the gate and of an exploration."""
    base, random_ = identity(0), random.Random(2)
    asked = [(random_.choice(deployed), base) for _ in range(ASKED // 2)]
    asked += [
        (random_.choice(deployed), identity(random_.randrange(graph.models))) for _ in range(ASKED // 2)
    ]
    for node, by in asked[:50]:
        index.affected(connection, node, by)
    took, cpu, answers = [], [], 0
    for node, by in asked:
        began, spent = time.perf_counter(), time.thread_time()
        answers += index.affected(connection, node, by)
        cpu.append(1000 * (time.thread_time() - spent))
        took.append(1000 * (time.perf_counter() - began))
    counts["affected"] = answers
    clock = _clock(connection)
    hits, deployed_figures = _median(clock, rounds, lambda: index.affected_among(connection, deployed, base))
    counts["deployed_hit"] = len(hits)
    below, below_figures = _median(clock, rounds, lambda: index.descendants(connection, [base]))
    counts["descendants"] = len(below)
    lookups = []
    for node in random_.sample(range(graph.models), ASKED):
        began = time.perf_counter()
        found = index.find(connection, _file(node))
        lookups.append(1000 * (time.perf_counter() - began))
        if found != [(identity(node), Grade.OBSERVED)]:
            raise SystemExit(f"looked for the file of {node}, found {found}")
    return {
        "affected_p50_ms": _part(took, 50),
        "affected_p99_ms": _part(took, 99),
        "affected_p99_cpu_ms": _part(cpu, 99),
        "deployed_ms": deployed_figures[0],
        "deployed_cpu_ms": deployed_figures[1],
        "descendants_ms": below_figures[0],
        "descendants_cpu_ms": below_figures[1],
        "lookup_p50_ms": _part(lookups, 50),
        "lookup_p99_ms": _part(lookups, 99),
    }


def naive(connection: sa.Connection, deployed: Sequence[Digest], counts: dict[str, int]) -> dict[str, float]:
    """Walk with one query for each node, as code does that asks for the parents of one thing at a time."""
    up = sa.text("SELECT parent FROM edge WHERE child = :node")
    down = sa.text("SELECT child FROM edge WHERE parent = :node")
    start = index.numbers(connection, [identity(0)])[identity(0)]
    ids, took = index.numbers(connection, deployed[:NAIVE]), []
    for number in ids.values():
        began = time.perf_counter()
        _ = start in _reached(connection, up, number)
        took.append(1000 * (time.perf_counter() - began))
    began = time.perf_counter()
    counts["naive_descendants"] = len(_reached(connection, down, start))
    return {
        "affected_p50_ms": _part(took, 50),
        "affected_p99_ms": _part(took, 99),
        "descendants_s": round(time.perf_counter() - began, 2),
    }


def _reached(connection: sa.Connection, query: sa.TextClause, start: int) -> set[int]:
    found, work = {start}, [start]
    while work:
        for (node,) in connection.execute(query, {"node": work.pop()}):
            if node not in found:
                found.add(node)
                work.append(node)
    return found


def quarantine(records: Records, rounds: int, counts: dict[str, int]) -> dict[str, Any]:
    """Publish an advisory: its row, the taints, the status of models, in one transaction that is committed."""
    took, cpu = [], []
    for number in range(max(1, min(rounds, 3))):
        row = {
            **RECORD, "id": f"ADV-{number}", "kind": AdvisoryKind.WEIGHTS.value, "targets": "[]", "reason": "poisoned",
            "severity": "critical", "published": RECORD["created_at"], "bundle": BUNDLE,
        }  # fmt: skip
        began = time.perf_counter()
        with records.write() as connection:
            clock = _clock(connection)
            before = clock()
            key = index.file_advisory(connection, row)
            assert key is not None
            counts["tainted"] = index.taint(connection, key, [identity(0)], RECORD)
            counts["quarantined"] = index.quarantine(connection, key, RECORD["project"])
            cpu.append(clock() - before)
        took.append(time.perf_counter() - began)
        with records.read() as connection:
            sure = sa.text("SELECT count(*) FROM taint WHERE advisory = :key AND grade <> 'declared'")
            counts["reached_by_weights"] = connection.execute(sure, {"key": key}).scalar_one()
        with records.write() as connection:
            index.untaint(connection, key)
            connection.exec_driver_sql("UPDATE model SET status = 'active' WHERE status = 'quarantined'")
        housekeep(records)
    return {
        "quarantine_s": round(statistics.median(took), 2),
        "quarantine_cpu_s": round(statistics.median(cpu), 2),
    }


def plans(connection: sa.Connection) -> dict[str, str]:
    """Return how the database walks; fails where it would read all edges."""
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    found: dict[str, str] = {}

    def listen(_connection: Any, _cursor: Any, *words: Any) -> None:
        statement, parameters = words[:2]
        if statement.startswith("WITH"):
            rows = connection.connection.cursor().execute(explain + statement, parameters).fetchall()
            found[name] = "; ".join(str(row[-1]).strip() for row in rows)

    sa.event.listen(connection, "before_cursor_execute", listen)
    for name in ("affected", "descendants"):
        args = (identity(5), identity(0)) if name == "affected" else ([identity(0)],)
        getattr(index, name)(connection, *args)
    sa.event.remove(connection, "before_cursor_execute", listen)
    for name, plan in found.items():
        if "SCAN e" in plan or "Seq Scan on edge" in plan:
            raise SystemExit(f"{name} reads all edges: {plan}")
    return {name: plan for name, plan in found.items() if connection.dialect.name == "sqlite"}


def _copy(connection: sa.Connection, table: sa.Table, rows: Iterator[dict[str, Any]]) -> None:
    """Write many rows the way this database takes them fastest."""
    first = next(rows)
    columns = list(first)
    raw = connection.connection.cursor()
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns))
        raw.execute(
            f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})", tuple(first.values())
        )
        raw.executemany(
            f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})",
            (tuple(row.values()) for row in rows),
        )
        return
    with raw.copy(f"COPY {table.name} ({', '.join(columns)}) FROM STDIN") as copy:
        copy.write_row(tuple(first.values()))
        for row in rows:
            copy.write_row(tuple(row.values()))


def _node_row(node: int, graph: Graph) -> dict[str, Any]:
    kind = "model" if node < graph.models else "dataset"
    return {**RECORD, "id": node + 1, "digest": str(identity(node)), "kind": kind, "label": f"org/{kind}-{node}", "state": "known"}  # fmt: skip


def _model_row(node: int) -> dict[str, Any]:
    return {
        **RECORD, "digest": str(identity(node)), "weights": f"wbw1:{file_digest(node)}", "tier": "trusted", "status": "active",
        "origin": "own", "label": f"org/model-{node}", "source": "{}",
    }  # fmt: skip


def _file(node: int) -> Alias:
    return Alias(Scheme.FILE_SHA256, file_digest(node))


def _alias_row(node: int) -> dict[str, Any]:
    return {
        **RECORD, "scheme": "file-sha256", "value": file_digest(node), "artifact": node + 1, "bundle": "", "grade": "observed",
    }  # fmt: skip


def _edge_row(edge: tuple[int, int, Any, Any]) -> dict[str, Any]:
    parent, child, relation, grade = edge
    return {
        **RECORD, "parent": parent + 1, "child": child + 1, "relation": relation.value, "bundle": BUNDLE, "grade": grade.value,
    }  # fmt: skip


def _median(
    clock: Callable[[], float], rounds: int, work: Callable[[], Any]
) -> tuple[Any, tuple[float, float]]:
    """Return what the work returns, and the medians of its wall time and processor time in milliseconds."""
    took, cpu = [], []
    for _ in range(rounds):
        began, before = time.perf_counter(), clock()
        found = work()
        cpu.append(1000 * (clock() - before))
        took.append(1000 * (time.perf_counter() - began))
    return found, (round(statistics.median(took), 1), round(statistics.median(cpu), 1))


def _clock(connection: sa.Connection) -> Callable[[], float]:
    """Return a clock of processor time: this process's, and that of the server process behind the connection."""
    if connection.dialect.name == "sqlite" or not Path("/proc").is_dir():
        return time.process_time
    status = Path(f"/proc/{connection.exec_driver_sql('SELECT pg_backend_pid()').scalar_one()}/stat")
    tick = os.sysconf("SC_CLK_TCK")

    def both() -> float:
        fields = status.read_text().rsplit(")", 1)[1].split()
        return time.process_time() + (int(fields[11]) + int(fields[12])) / tick

    return both


def _part(took: Sequence[float], percent: int) -> float:
    return round(statistics.quantiles(took, n=100, method="inclusive")[percent - 1], 3)


def _say(name: str, what: str) -> None:
    print(f"{name}: {what}", file=sys.stderr, flush=True)


def _print(record: dict[str, Any]) -> None:
    print(record["graph"])
    for name in ("sqlite", "postgresql"):
        if name in record:
            row, bars = record[name], BARS[name] | BARS["both"]
            fast = row["publish_models_per_s"] >= PUBLISH_BAR
            row["held"] = fast and all(row[key] <= bar for key, bar in bars.items())
            for key, bar in bars.items():
                print(f"{name:11} {key:22} {row[key]:10} at most {bar}")
            print(
                f"{name:11} {'publish_models_per_s':22} {row['publish_models_per_s']:10} at least {PUBLISH_BAR}"
            )
            rest = {
                key: value
                for key, value in row.items()
                if key not in {*bars, "plans", "publish_models_per_s"}
            }
            print(f"{name:11} {rest}")


if __name__ == "__main__":
    sys.exit(main())
