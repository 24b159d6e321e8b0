"""The program that evaluates Rego, one question after the other; started by path, never imported.

It reads frames from standard input and writes one frame for each to standard output: four bytes of length
(big-endian) and that much JSON. A question is `{"modules", "data", "input", "query", "seconds"}`; an
answer `{"results": …}` or `{"error": …}`. It limits its own memory and processor time before it reads
anything, and needs nothing of Weighbridge.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from typing import Any, BinaryIO

MAX_ERROR = 2000


def limit(memory: int) -> None:
    """Bound memory; forbid files, core dumps and further processes."""
    if sys.platform != "darwin":  # macOS refuses this limit; there only time and output are bounded
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))


def limit_seconds(seconds: float) -> None:
    """Bound the processor time of the next question; the kernel ends the process when it is spent."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (spent if hard < 0 else min(spent, hard), hard))


def evaluate(engine: Any, question: dict[str, Any]) -> dict[str, Any]:
    """Evaluate one question on a fresh engine; whatever is raised becomes an error."""
    try:
        for name, text in sorted(question["modules"].items()):
            engine.add_policy(name, text)
        engine.add_data_json(json.dumps(question["data"]))
        engine.set_input_json(json.dumps(question["input"]))
        return {"results": json.loads(engine.eval_query_as_json(question["query"]))}
    except Exception as error:  # noqa: BLE001 (the engine raises RuntimeError, its JSON reader others)
        return {"error": words(error)}


def words(error: BaseException) -> str:
    """Return what an engine's error says and where, without its drawing of the line and without its stack."""
    text = str(error).split("Stack backtrace", maxsplit=1)[0]
    said = [line.strip() for line in text.splitlines() if line.strip(" |^")]
    where = next((line.removeprefix("--> ") for line in said if line.startswith("--> ")), "")
    what = next((line.removeprefix("error: ") for line in said if line.startswith("error: ")), " ".join(said))
    return f"{where}: {what}"[:MAX_ERROR] if where else f"{type(error).__name__}: {what}"[:MAX_ERROR]


def frames(stream: BinaryIO) -> Any:
    """Yield the frames of a stream until it ends."""
    while len(head := stream.read(4)) == 4:
        yield stream.read(int.from_bytes(head, "big"))


def main() -> None:
    """Serve until standard input ends; the first argument is the memory limit in bytes."""
    import regorus

    limit(int(sys.argv[1]))
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a policy or the engine prints is noise, never part of an answer
    for frame in frames(sys.stdin.buffer):
        question = json.loads(frame)
        limit_seconds(question["seconds"])
        # A panic of the engine is no Exception: it ends this process, and the supervisor says so.
        answer = json.dumps(evaluate(regorus.Engine(), question)).encode()
        output.write(len(answer).to_bytes(4, "big") + answer)
        output.flush()


if __name__ == "__main__":
    main()
