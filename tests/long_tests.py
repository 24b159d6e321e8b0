"""Which tests take long: several workers begin with these, so that none is still busy with one when the others are done."""

from __future__ import annotations

LONG = {
    "full/test_full_reevaluate_kills.py::test_a_killed_round_is_gone_on_with": 45,
    "full/test_full_postgresql_registry.py::test_what_holds_on_sqlite_holds_on_postgresql": 45,
    "full/test_full_postgresql_writers.py": 35,
    "full/test_full_gate_kills.py": 14,
    "house/test_house_wheel.py": 10,
    "full/test_full_tensors_kinship.py": 2,
    "full/test_full_honest.py": 25,
    "full/test_full_drill.py": 20,
    "full/test_full_postgresql_replicas.py": 10,
    "full/test_full_gc_load.py": 30,
    "full/test_full_opa.py": 10,
    "cli/test_cli_line.py": 3,
}
"""Files, or tests in them, and about how many seconds each of their tests takes."""


def first(names: list[str], workers: int) -> list[int]:
    """Return the order in which to run tests: the long ones first in the part that each worker is given at the start.

    A worker is given as many tests as any other, in a row; whoever is done takes from the end of what another has left.
    """
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        found = next((key for key in LONG if f"tests/{key}" in name), "")
        # Tests of a file share what is dear to make, unless each is long enough to be worth it.
        groups.setdefault(name if LONG.get(found, 0) >= 40 else found, []).append(number)
    short = groups.pop("", [])

    def seconds(key: str) -> int:
        return sum(
            LONG[next(one for one in LONG if f"tests/{one}" in names[number])] for number in groups[key]
        )

    parts: list[list[int]] = [[] for _ in range(workers)]
    taken = [0] * workers
    for key in sorted(groups, key=lambda one: (-seconds(one), one)):
        least = taken.index(min(taken))
        parts[least] += groups[key]
        taken[least] += seconds(key)
    size, order, at = len(names) // workers, [], 0
    for part in parts:
        more = max(0, size - len(part))
        order += [*part, *short[at : at + more]]
        at += more
    return order + short[at:]
