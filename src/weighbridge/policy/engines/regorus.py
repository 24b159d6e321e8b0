"""Ask regorus (Rego v1) in a worker process: bounded, replaced when it misbehaves, believed only in one shape."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from typing import Any, Self

from weighbridge.core.canonical import JSON, parse
from weighbridge.core.decision import EngineAnswer
from weighbridge.core.errors import CannotTell, OutOfBudget, Unreachable
from weighbridge.policy.contract import Heard, no_answer, printable, read_answer
from weighbridge.policy.engines.guard import Guard
from weighbridge.policy.engines.process import Worker
from weighbridge.policy.settings import PolicyBundle

VERSION = "0.13.0"
DIGEST = f"regorus/{VERSION}"
MAX_QUESTION = 64 * 1024 * 1024
KEPT = 4
"""Sets of rules whose texts are kept at hand; the worker keeps as many parsed."""


class RegorusEngine:
    """A policy engine behind `policy.contract.Engine`; a context manager, safe to share between threads.

    Its worker is started by the first question and kept for the next ones, with the rules that it has parsed.
    `timeout_s` bounds each question in wall-clock and in processor seconds, `memory_bytes` the address
    space of the worker.
    """

    digest = DIGEST

    def __init__(self, timeout_s: float = 5.0, memory_bytes: int = 512 * 1024 * 1024) -> None:
        self._timeout = timeout_s
        self._memory = memory_bytes
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._guard = Guard()
        self._rules: list[_Rules] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker; the next question starts another."""
        with self._lock:
            self._drop()

    @property
    def worker(self) -> int | None:
        """Return the number of the worker's process, where one runs."""
        return self._worker.pid if self._worker is not None else None

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> EngineAnswer:
        """Return the answer of `query`; CANNOT_TELL with the problem whenever there is none."""
        return self.hear(modules, data, question, query).answer

    def answer(self, bundle: PolicyBundle, package: str, question: Mapping[str, JSON]) -> EngineAnswer:
        """Ask a policy about a model of class `package`; one that allows without evidence gets no say (`guard`)."""
        return self._guard.ask(self, bundle, package, question)

    def hear(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> Heard:
        """Return the answer of `query` as `evaluate` does, and whether the worker was well."""
        try:
            value = self.query(modules, data, question, query)
        except Unreachable as error:
            return Heard(no_answer(error.problem, engine=DIGEST), well=False)
        except CannotTell as error:
            return Heard(no_answer(error.problem, engine=DIGEST), well=True)
        return Heard(read_answer(value, engine=DIGEST), well=True)

    def query(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> Any:
        """Return the value of `query`; raises CannotTell when it is undefined, Unreachable when it was not reached."""
        kind, said = self._ask(modules, data, question, query, coverage=False)
        return _value(said, query) if kind == "R" else _refused(said)

    def covered(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> tuple[Any, Any]:
        """Return the value of `query` and the engine's report of the lines that were evaluated; raises as `query`.

        The report is `{"files": [{"path", "covered": [line], "not_covered": [line]}]}`.
        """
        kind, said = self._ask(modules, data, question, query, coverage=True)
        if kind != "C":
            _refused(said)
        value, report = json.loads(said)
        return _value(value, query), json.loads(report)

    def look(self, modules: Mapping[str, str]) -> Any:
        """Return the syntax tree of each module by its file name; raises CannotTell for what is no Rego."""
        payload = _payload({"look": dict(modules), "seconds": self._timeout}, b"")
        if len(payload) > MAX_QUESTION:
            raise OutOfBudget(f"the policy is larger than {MAX_QUESTION} bytes")
        with self._lock:
            said = self._exchange(payload)
        try:
            return parse(said[1:]) if said[:1] == "R" else _refused(said[1:])
        except ValueError as error:
            raise CannotTell(f"the policy engine read the policy in another way: {error}") from error

    def _ask(
        self,
        modules: Mapping[str, str],
        data: Mapping[str, JSON],
        question: Mapping[str, JSON],
        query: str,
        *,
        coverage: bool,
    ) -> tuple[str, str]:
        """Return the letter and the text of the worker's answer (worker.py)."""
        try:
            asked = json.dumps(question, allow_nan=False).encode()
            with self._lock:
                rules = self._texts(modules, data)
        except (ValueError, TypeError, RecursionError) as error:
            raise CannotTell(f"the question cannot be written as JSON: {error}") from error
        if len(asked) + len(rules.text) > MAX_QUESTION:
            raise OutOfBudget(f"the question is larger than {MAX_QUESTION} bytes")
        # Counting lines changes what is kept of the rules, so those rules are others.
        head = {
            "rules": f"{rules.name}+" if coverage else rules.name,
            "query": query,
            "seconds": self._timeout,
            "coverage": coverage,
        }
        with self._lock:
            said = self._exchange(_payload(head, asked))
            if said == "U":
                said = self._exchange(_payload(head | json.loads(rules.text), asked))
        if said[:1] not in ("E", "C" if coverage else "R"):
            raise Unreachable("the policy engine gave no answer: it answered in another shape")
        return said[0], said[1:]

    def _texts(self, modules: Mapping[str, str], data: Mapping[str, JSON]) -> _Rules:
        """Return rules as they are sent; found again by their texts, whatever somebody says that they are."""
        described = json.dumps(dict(data), allow_nan=False)
        for rules in self._rules:
            if rules.data == described and rules.modules == modules:
                return rules
        text = json.dumps({"modules": dict(modules), "data": dict(data)}, allow_nan=False)
        made = _Rules(dict(modules), described, text)
        self._rules = [made, *self._rules][:KEPT]
        return made

    def _exchange(self, payload: bytes) -> str:
        """Exchange one frame; a worker that did not answer well is ended and never asked again."""
        try:
            if self._worker is not None and not self._worker.alive:
                self._drop()
            if self._worker is None:
                self._worker = Worker(self._memory)
                if self._worker.version != VERSION:
                    raise OSError(f"this is regorus {self._worker.version or 'of no version'}, not {VERSION}")
            said = self._worker.exchange(payload, self._timeout).decode()
            if said.startswith("P"):
                raise OSError(f"it came to harm: {said[1:]}")
        except Exception as error:  # whatever went wrong with the worker blocks, and is no error of the gate
            self._drop()
            raise Unreachable(f"the policy engine gave no answer: {printable(str(error))}") from error
        except BaseException:
            self._drop()  # an interrupt in the middle of an exchange leaves a frame behind
            raise
        return said

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None


class _Rules:
    """Modules and data as they are sent to a worker, and the name under which it keeps them."""

    __slots__ = ("data", "modules", "name", "text")

    def __init__(self, modules: dict[str, str], data: str, text: str) -> None:
        self.modules = modules
        self.data = data
        self.text = text
        self.name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _payload(head: dict[str, Any], asked: bytes) -> bytes:
    written = json.dumps(head).encode()
    return len(written).to_bytes(4, "big") + written + asked


def _refused(said: str) -> Any:
    raise CannotTell(f"the policy engine refused: {printable(said)}")


def _value(said: str, query: str) -> Any:
    """Unwrap what the engine answered: exactly one result of exactly one expression."""
    try:
        results: Any = parse(said)
    except ValueError as error:
        raise Unreachable(f"the policy engine gave no answer: {printable(str(error))}") from error
    rows: Any = results.get("result") if isinstance(results, dict) else 0
    if rows is None or rows == []:
        raise CannotTell(f"{query} is undefined in this policy")
    try:
        [row] = rows
        [expression] = row["expressions"]
        return expression["value"]
    except (ValueError, TypeError, KeyError) as error:
        raise Unreachable("the policy engine answered in another shape") from error
