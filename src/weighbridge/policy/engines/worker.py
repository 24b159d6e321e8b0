"""The program that evaluates Rego, one question after the other; started by path, never imported.

It reads frames from standard input and writes one frame for each to standard output: four bytes of length
(big-endian, of what follows them), eight bytes of sequence number, and the payload. An answer carries the
number of its question. Sent first, with number 0, is `{"ready": version of regorus}`.

A question is four bytes of length, that much JSON (`{"rules": name, "query", "seconds", "coverage"}`, and `"modules"` and
`"data"` where the worker does not know the rules of that name), and the input document as JSON text up to the end. An
answer is one letter and text: `R` what the engine returned (JSON, passed on as it is), `C` the same with a report
of coverage, `E` why there is no answer, `U` rules of this name are not known here, `P` the engine or this
program came to harm and ends.

With `{"look": modules, "seconds"}` and no input the answer is the syntax trees of these modules, and nothing is evaluated.

Rules that were parsed are kept for the questions that follow, and no question is ever put to them: each is put to a
copy of its own, so that neither its input, nor what it mocked or printed is there for the next. The program limits its own memory and
processor time before it reads anything, and needs nothing of Weighbridge.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

MAX_ERROR = 2000
KEPT = 4
"""Sets of rules that are kept parsed."""


class Unknown(Exception):
    """The question names rules that were not sent."""


class Evaluator:
    """Parsed rules by name, and the answers to questions about them."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._prepared: OrderedDict[str, Any] = OrderedDict()

    def answer(self, payload: bytes) -> bytes:
        """Return the answer to one question; whatever the engine raises is one."""
        size = int.from_bytes(payload[:4], "big")
        asked = json.loads(payload[4 : 4 + size])
        limit_seconds(asked["seconds"])
        try:
            if "look" in asked:
                return b"R" + json.dumps(trees(self._library.Engine(), asked["look"])).encode()
            engine = self._copy(asked)
            if asked["coverage"]:
                engine.set_enable_coverage(True)
            engine.set_input_json(payload[4 + size :].decode())
            said: str = engine.eval_query_as_json(asked["query"])
            if asked["coverage"]:
                return b"C" + json.dumps([said, engine.get_coverage_report_as_json()]).encode()
            return b"R" + said.encode()
        except Unknown:
            return b"U"
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (the engine raises RuntimeError, its JSON reader others)
            return b"E" + words(error).encode("utf-8", "replace")

    def _copy(self, asked: dict[str, Any]) -> Any:
        """Return an engine with the rules, which no other question sees."""
        name = asked["rules"]
        engine = self._prepared.get(name)
        if engine is None:
            if "modules" not in asked:
                raise Unknown
            engine = self._library.Engine()
            for file, text in sorted(asked["modules"].items()):
                engine.add_policy(file, text)
            engine.add_data_json(json.dumps(asked["data"]))
            if asked["coverage"]:
                engine.set_enable_coverage(True)
            engine.eval_query_as_json("null")  # has the rules analysed, once for all copies
            self._prepared[name] = engine
            while len(self._prepared) > KEPT:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(name)
        return engine.clone()


def trees(engine: Any, modules: dict[str, str]) -> dict[str, Any]:
    """Return the syntax tree of each module by its file; spans as `[line, column, first byte, end]`."""
    for file, text in sorted(modules.items()):
        engine.add_policy(file, text)
    return {ast["source"]["file"]: _slim(ast["ast"]) for ast in json.loads(engine.get_ast_as_json())}


def _slim(node: Any) -> Any:
    """Leave out of a tree what only the engine needs: it is a tenth then, and fits into an answer."""
    if isinstance(node, list):
        return [_slim(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.keys() == {"line", "col", "start", "end"}:
        return [node["line"], node["col"], node["start"], node["end"]]
    return {name: _slim(item) for name, item in node.items() if name not in ("eidx", "sidx", "qidx")}


def limit(memory: int) -> None:
    """Bound memory; forbid files, core dumps and further processes."""
    if sys.platform != "darwin":  # macOS refuses this limit; there only time and output are bounded
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # the kernel holds nobody but root to be above it


def limit_seconds(seconds: float) -> None:
    """Bound the processor time of the next question; the kernel ends the process when it is spent."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (spent if hard < 0 else min(spent, hard), hard))


def words(error: BaseException) -> str:
    """Return what an engine's error says and where, without its drawing of the line and without its stack."""
    text = str(error).split("Stack backtrace", maxsplit=1)[0]
    said = [line.strip() for line in text.splitlines() if line.strip(" |^")]
    where = next((line.removeprefix("--> ") for line in said if line.startswith("--> ")), "")
    what = next((line.removeprefix("error: ") for line in said if line.startswith("error: ")), " ".join(said))
    return f"{where}: {what}"[:MAX_ERROR] if where else f"{type(error).__name__}: {what}"[:MAX_ERROR]


def installed(library: Any) -> str:
    """Return the version of the engine that lies beside the imported library; empty when that cannot be seen."""
    here = Path(getattr(library, "__file__", None) or "/nowhere/x").parent.parent
    found = [path.name for path in here.glob("gordon_to_regorus-*.dist-info")]
    return found[0].removeprefix("gordon_to_regorus-").removesuffix(".dist-info") if len(found) == 1 else ""


def frames(stream: BinaryIO) -> Any:
    """Yield sequence number and payload of the frames of a stream until it ends."""
    while len(head := stream.read(12)) == 12:
        size = int.from_bytes(head[:4], "big") - 8
        payload = stream.read(size)
        if len(payload) != size:
            return
        yield head[4:], payload


def main() -> None:
    """Serve until standard input ends; the first argument is the memory limit in bytes."""
    import regorus

    version = installed(regorus)
    limit(int(sys.argv[1]))
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a policy or the engine prints is noise, never part of an answer

    def send(number: bytes, payload: bytes) -> None:
        output.write((len(payload) + 8).to_bytes(4, "big") + number + payload)
        output.flush()

    send(bytes(8), json.dumps({"ready": version}).encode())
    evaluator = Evaluator(regorus)
    for number, payload in frames(sys.stdin.buffer):
        try:
            answer = evaluator.answer(payload)
        except BaseException as error:  # noqa: BLE001 (a panic of the engine is no Exception, and leaves nobody knows what)
            send(number, b"P" + words(error).encode("utf-8", "replace"))
            return
        send(number, answer)


if __name__ == "__main__":
    main()
