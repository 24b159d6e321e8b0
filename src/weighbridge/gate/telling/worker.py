"""The program that runs a plug-in: checks the files of its distribution, then hands it the alerts. Standard library only.

In: one JSON object (group, plugin, digest, options, alerts) on standard input. Out: exit code 0 when the alerts
were told, 3 when the files are not those that were named, else 1; one line on standard output says why.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
from importlib.metadata import Distribution, EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

CHANGED = 3
MEMORY = 2 * 1024**3
MAX_SAID = 300


def main() -> int:
    """Do it; the plug-in's own output goes nowhere."""
    order = json.load(sys.stdin)
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        code, why = _run(order)
    except BaseException as error:  # noqa: BLE001 (it is not our code that raises)
        code, why = 1, f"{type(error).__name__}: {error}"
    said.write(" ".join(why.split())[:MAX_SAID])
    said.flush()
    return code


def _run(order: Any) -> tuple[int, str]:
    found = [entry for entry in entry_points(group=order["group"]) if entry.name == order["plugin"]]
    if not found:
        return CHANGED, f"no installed distribution offers {order['plugin']!r}"
    if len(found) > 1:
        return CHANGED, f"{len(found)} distributions offer {order['plugin']!r}"
    digest = _digest(found[0])
    if digest != order["digest"]:
        return CHANGED, f"the files of its distribution have the digest {digest}"
    found[0].load()(order["alerts"], order["options"])
    return 0, ""


def _digest(entry: EntryPoint) -> str:
    """Return sha256 over `path NUL sha256 LF` of all files of the distribution, sorted; compiled ones and the installer's own notes are left out.

    What an editable installation points at is not among its files: such a one is refused.
    """
    distribution: Distribution | None = entry.dist
    if distribution is None or not distribution.files:
        return "none: its files are not known"
    total = hashlib.sha256()
    for file in sorted(distribution.files, key=str):
        name = str(file)
        if name.endswith((".pyc", "/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json")):
            continue
        if name.endswith(".pth"):
            return f"none: it is not wholly installed ({name})"
        with open(str(distribution.locate_file(file)), "rb") as data:  # noqa: PTH123 (a path of importlib's own kind)
            content = hashlib.file_digest(data, "sha256").hexdigest()
        total.update(f"{name}\0{content}\n".encode())
    known = {str(distribution.locate_file(file)) for file in distribution.files}
    found = find_spec(entry.module.partition(".")[0])
    if found is None or found.origin not in known:
        return "none: the module that it names is not among them"
    return f"sha256:{total.hexdigest()}"


if __name__ == "__main__":
    sys.exit(main())
