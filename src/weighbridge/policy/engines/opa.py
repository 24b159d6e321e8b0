"""Ask an OPA server: it is given the policy, and believed only where it shows that it evaluated this very policy.

The modules are put into OPA under ids of ours, with one module more, whose package is named after the digest of the
rules. That module is what is asked; in one evaluation it answers with the decision and with the data documents that
the decision saw. Then OPA's list of modules is held against ours. So rules that somebody changed, added or took away,
and other settings, are no answer (docs/adr/0019). Whoever runs OPA can still make it lie: engines are untrusted helpers, and
the floor holds whatever they say.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Self
from urllib.parse import quote

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.decision import EngineAnswer
from weighbridge.core.errors import BadSetting, CannotTell, OutOfBudget, Unreachable, WeighbridgeError
from weighbridge.net import Answer, Line, Tls
from weighbridge.policy.contract import Heard, no_answer, printable, read_answer
from weighbridge.policy.engines.guard import Guard
from weighbridge.policy.lint import bare
from weighbridge.policy.settings import PolicyBundle

PREFIX = "weighbridge/"
"""Ids of modules that are ours to replace."""
ASKED = "weighbridge_asked"
MAX_ANSWER = 32 * 1024 * 1024
"""Bytes of one answer; the list of modules brings their syntax trees."""
MAX_DECISION = 4 * 1024 * 1024
MAX_QUESTION = 64 * 1024 * 1024
MOST_MODULES = 100

_QUERY = re.compile(r"data\.weighbridge\.([a-z][a-z0-9_]*)")
_WORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")
_ELSEWHERE = re.compile(r"(?<![\w.])data\b(?!\s*\.\s*(?:weighbridge|settings|weight_suffixes)\b)")
_PACKAGE = re.compile(r"^[ \t]*package[ \t]+weighbridge\.([a-z][a-z0-9_]*)[ \t]*$", re.MULTILINE)
_SYSTEM = re.compile(r"\A\s*package\s+system\b")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an OPA server is, and how it is spoken to. `seconds` bounds the whole of each request."""

    url: str
    token: str = ""
    tls: Tls = field(default_factory=Tls)
    seconds: float = 5.0
    offline: bool = False


class OpaEngine:
    """A policy engine behind `policy.contract.Engine`; a context manager, safe to share between threads."""

    def __init__(self, place: Place) -> None:
        """Check the address; raises BadSetting, or Unreachable when offline. OPA is not asked yet."""
        if not place.url:
            raise BadSetting("there is no OPA to ask", remedy="set opa_url, or policy_engine to regorus")
        self._seconds = place.seconds
        self._line = Line(
            place.url,
            offline=place.offline,
            what="OPA",
            setting="opa_url",
            most=MAX_ANSWER,
            token=place.token,
            tls=place.tls,
        )
        self._lock = threading.Lock()
        self._guard = Guard()
        self._digest = "opa"
        self._until = 0.0
        self._complaint = ""

    @property
    def digest(self) -> str:
        """Return `opa/` and the version that the last answer named; `opa` before the first."""
        return self._digest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._line.close()

    def health(self) -> str:
        """Return why OPA is not ready to answer; empty when it is."""
        try:
            answer = self._line.ask("/health?plugins&bundles", seconds=self._seconds)
        except WeighbridgeError as error:
            return f"{error.problem}: {error.cause}"
        return "" if answer.status == 200 else f"OPA says that it is not ready (status {answer.status})"

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> EngineAnswer:
        """Return the answer of `query`, a package below `data.weighbridge`; CANNOT_TELL whenever there is none."""
        return self.hear(modules, data, question, query).answer

    def answer(self, bundle: PolicyBundle, package: str, question: Mapping[str, JSON]) -> EngineAnswer:
        """Ask a policy about a model of class `package`; one that allows without evidence gets no say (`guard`)."""
        return self._guard.ask(self, bundle, package, question)

    def hear(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> Heard:
        """Return the answer of `query` as `evaluate` does, and whether OPA was well."""
        try:
            rules = Rules.of(modules, data, query)
            body = _body(question)
            with self._lock:
                self._until = monotonic() + self._seconds
                said, name = self._ask(rules, body)
        except Unreachable as error:
            cause = f": {error.cause}" if error.cause else ""
            return Heard(no_answer(f"{error.problem}{cause}", engine=self._digest), well=False)
        except CannotTell as error:
            return Heard(
                no_answer(error.problem, engine=self._digest), well=not isinstance(error, OutOfBudget)
            )
        except WeighbridgeError as error:  # a redirect to another scheme, a compressed answer
            return Heard(no_answer(f"{error.problem}: {error.cause}", engine=self._digest), well=False)
        return Heard(read_answer(said, engine=name), well=True)

    def _ask(self, rules: Rules, body: bytes) -> tuple[Any, str]:
        """Return the answer and what gave it; OPA is given the rules once when it does not hold exactly them."""
        for again in (False, True):
            answer = self._post(rules, body)
            foreign, stale, missing = self._differences(rules)
            if foreign:
                raise Unreachable(
                    "this OPA holds other policies, so it cannot be told which of them answered",
                    cause=f"modules that are not ours: {printable(', '.join(foreign[:5]))}",
                )
            if not stale and not missing:
                return self._read(rules, answer)
            if not again:
                self._push(rules, stale, missing)
        raise Unreachable(
            "OPA does not keep the policy that it was given", cause="does somebody else write to it?"
        )

    def _post(self, rules: Rules, body: bytes) -> Answer:
        path = f"/v1/data/{ASKED}/{rules.name}/{rules.package}?strict-builtin-errors=true&provenance=true"
        return self._send(path, method="POST", body=body, kind="application/json")

    def _read(self, rules: Rules, answer: Answer) -> tuple[Any, str]:
        """Return the decision in an answer, once it is known that OPA held exactly our rules."""
        if len(answer.body) > MAX_DECISION:
            raise OutOfBudget(f"OPA's answer is longer than {MAX_DECISION} bytes")
        document = _document(answer)
        if answer.status != 200:
            self._refused(answer.status, document)
        name = self._named(document)
        if "result" not in document:
            raise CannotTell(f"data.weighbridge.{rules.package} is undefined in this policy")
        result = document["result"]
        if not isinstance(result, dict) or set(result) != {"answer", *rules.data}:
            raise Unreachable("OPA gave no answer", cause="it answered in another shape than was asked for")
        if any(canonical(result[key]) != canonical(value) for key, value in rules.data.items()):
            raise Unreachable("OPA gave no answer", cause="it judged by other settings than the policy's")
        return result["answer"], name

    def _named(self, document: Mapping[str, Any]) -> str:
        """Return version and decision id as they stand in an answer."""
        provenance = document.get("provenance")
        version = provenance.get("version") if isinstance(provenance, dict) else None
        known = isinstance(version, str) and _WORD.fullmatch(version)
        self._digest = f"opa/{version}" if known else "opa/unknown"
        decision = document.get("decision_id")
        if isinstance(decision, str) and _WORD.fullmatch(decision):
            return f"{self._digest} decision {decision}"
        return self._digest

    def _refused(self, status: int, document: Mapping[str, Any]) -> None:
        """Tell an error of the policy, which OPA reports in a shape of its own, from every other."""
        said = "; ".join(_complaints(document))
        if status == 500 and document.get("code") == "internal_error":
            raise CannotTell(f"OPA refused: {said}")
        raise Unreachable("OPA gave no answer", cause=f"status {status}{f': {said}' if said else ''}")

    def _differences(self, rules: Rules) -> tuple[list[str], list[str], list[str]]:
        """Return ids of modules that are not ours, ids of ours that should not be there, and ids that are missing."""
        answer = self._send("/v1/policies")
        document = _document(answer)
        if answer.status != 200:
            raise Unreachable("OPA does not list its policies", cause=f"status {answer.status}")
        there: dict[str, str] = {}
        try:
            for row in document["result"]:
                if not _SYSTEM.match(bare(row["raw"])):
                    there[row["id"]] = row["raw"]
            foreign = sorted(name for name in there if not name.startswith(PREFIX))
        except (TypeError, KeyError, AttributeError) as error:
            raise Unreachable(
                "OPA does not list its policies", cause="in another shape than it documents"
            ) from error
        wanted = rules.modules
        stale = sorted(name for name in there if name not in wanted)
        missing = sorted(name for name, text in wanted.items() if there.get(name) != text)
        return foreign, stale, missing

    def _push(self, rules: Rules, stale: Sequence[str], missing: Sequence[str]) -> None:
        """Give OPA the rules: first what must go, then what must come, each as soon as the others let it.

        OPA compiles after each module, so a module can come only when those are there whose functions it calls.
        """
        for key, value in rules.data.items():
            self._write(f"/v1/data/{quote(key)}", "PUT", canonical(value), "application/json")
        marker = rules.marker
        self._each([marker, *stale], "DELETE", {})
        old = [name for name in missing if name != marker]
        if self._each([*old, marker], "PUT", rules.modules):
            return
        # What is there may not go with what must come: take everything of ours away, and put it there anew.
        self._each(sorted({*self._differences(rules)[1], *rules.modules}), "DELETE", {})
        if not self._each(list(rules.modules), "PUT", rules.modules):
            raise CannotTell(f"OPA refused the policy: {self._complaint}")

    def _each(self, names: Sequence[str], method: str, texts: Mapping[str, str]) -> bool:
        """Write each module; those that OPA refuses again as long as others succeed. Tell whether all did."""
        left = list(names)
        while left:
            refused = [
                name
                for name in left
                if not self._write(
                    f"/v1/policies/{quote(name)}", method, texts.get(name, "").encode(), "text/plain"
                )
            ]
            if len(refused) == len(left):
                return False
            left = refused
        return True

    def _write(self, path: str, method: str, body: bytes, kind: str) -> bool:
        """Write once; False when OPA refuses for what the others are. Raises Unreachable for every other answer."""
        answer = self._send(path, method=method, body=body, kind=kind)
        if answer.status in (200, 204) or (method == "DELETE" and answer.status == 404):
            return True
        document = _document(answer)
        self._complaint = "; ".join(_complaints(document))
        if answer.status == 400 and document.get("code") == "invalid_parameter":
            return False
        raise Unreachable(
            "OPA does not let itself be given the policy",
            cause=f"status {answer.status}{f': {self._complaint}' if self._complaint else ''}",
        )

    def _send(self, path: str, *, method: str = "GET", body: bytes = b"", kind: str = "") -> Answer:
        """Send one request; what is left of the time is for all that one question needs."""
        left = self._until - monotonic()
        if left <= 0:
            raise Unreachable("OPA gave no answer", cause=f"not within {self._seconds:g} seconds")
        return self._line.ask(path, method=method, body=body, kind=kind, seconds=left)


@dataclass(frozen=True, slots=True)
class Rules:
    """A policy as OPA is given it."""

    name: str
    """A Rego name made of the digest of modules and data."""
    package: str
    modules: Mapping[str, str]
    """Texts by id, the one that is asked included."""
    data: Mapping[str, JSON]

    @property
    def marker(self) -> str:
        """Return the id of the module that is asked."""
        return f"{PREFIX}{self.name}"

    @classmethod
    def of(cls, modules: Mapping[str, str], data: Mapping[str, JSON], query: str) -> Rules:
        """Make the module that is asked; raises CannotTell for what OPA cannot be asked unmistakably."""
        asked = _QUERY.fullmatch(query)
        if asked is None:
            raise CannotTell(f"OPA is asked for a package of this policy, not for {printable(query)}")
        for file, text in modules.items():
            if _ELSEWHERE.search(bare(text)):
                raise CannotTell(
                    f"{printable(file)} refers to data beside its own: only data.weighbridge, data.settings and data.weight_suffixes"
                )
        if not set(data) <= {"settings", "weight_suffixes"} or len(modules) > MOST_MODULES:
            raise CannotTell("this is more than a policy has")
        try:
            digest = hashlib.sha256(canonical({"modules": dict(modules), "data": dict(data)})).hexdigest()
        except ValueError as error:
            raise CannotTell(f"the policy cannot be written as JSON: {error}") from error
        name = f"p{digest}"
        texts = {f"{PREFIX}{file}": text for file, text in modules.items()}
        texts[f"{PREFIX}{name}"] = _asking(name, modules, data)
        return cls(name, asked[1], texts, data)


def _asking(name: str, modules: Mapping[str, str], data: Mapping[str, JSON]) -> str:
    """Write the module that is asked: for each package its decision, and the data that it saw."""
    found = {match[1] for text in modules.values() for match in _PACKAGE.finditer(bare(text))}
    seen = "".join(f', "{key}": data.{key}' for key in sorted(data))
    rules = "".join(
        f'\n{package} := {{"answer": data.weighbridge.{package}{seen}}}\n' for package in sorted(found)
    )
    return f"package {ASKED}.{name}\n{rules}"


def _body(question: Mapping[str, JSON]) -> bytes:
    try:
        body = json.dumps({"input": question}, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise CannotTell(f"the question cannot be written as JSON: {error}") from error
    if len(body) > MAX_QUESTION:
        raise OutOfBudget(f"the question is larger than {MAX_QUESTION} bytes")
    return body


def _document(answer: Answer) -> Mapping[str, Any]:
    """Return an answer's JSON object; strictly: a name that stands in it twice is no answer."""
    try:
        document = parse(answer.body)
    except ValueError as error:
        raise Unreachable(
            "OPA gave no answer", cause=f"status {answer.status}, and no JSON: {error}"
        ) from error
    if not isinstance(document, dict):
        raise Unreachable("OPA gave no answer", cause=f"status {answer.status}, and no JSON object")
    return document


def _complaints(document: Mapping[str, Any]) -> list[str]:
    """Return what OPA says is wrong: the errors, else the message."""
    rows = document.get("errors")
    said = [row.get("message") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    texts = [text for text in said if isinstance(text, str)]
    if not texts and isinstance(document.get("message"), str):
        texts = [document["message"]]
    return [printable(text)[:500] for text in texts[:3]]
