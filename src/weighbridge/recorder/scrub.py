"""What a claim may repeat of a command line, a configuration or a tracked run: everything that does not look secret.

A value is struck out because of its name (`--api-key`, `"password":`), its shape (tokens of known services, keys in
PEM, credentials in an address, long runs of letters and digits that no word has), or because a secret-looking variable
of the environment holds it. Striking out too much costs a word; too little cannot be taken back from a public log.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from weighbridge.core.canonical import JSON, MAX_SAFE_INTEGER
from weighbridge.core.redact import STRUCK, Redactor

MAX_READ = 65_536
MAX_TEXT = 2000
MAX_ENTRIES = 500
MAX_DEPTH = 6
CUT = "[cut off]"

_ALWAYS = (
    r"secret|passw(?:or)?d|passwd|passphrase|\bpwd\b|\bpass\b|api[._-]?key|access[._-]?key|account[._-]?key|sas[._-]?key"
    r"|credential|private[._-]?key|authori[sz]ation|conn(?:ection)?[._-]?str|cookie|\bauth\b|bearer|signing[._-]?key"
    r"|wandb[._-]?key|license[._-]?key|encryption[._-]?key"
)
_PERHAPS = (
    r"(?<!pad_)(?<!eos_)(?<!bos_)(?<!unk_)(?<!sep_)(?<!cls_)(?<!mask_)(?<!special_)(?<!stop_)token(?!i[sz])"
)
"""A token opens doors or is a piece of text: numbers under such a name are counts, and those of tokenizers are words."""
_SECRET = re.compile(_ALWAYS, re.IGNORECASE)
_TOKEN = re.compile(_PERHAPS, re.IGNORECASE)
_PAIR = re.compile(
    rf"([\w.-]{{0,64}}(?:{_ALWAYS}|{_PERHAPS})[\w.-]{{0,64}})([\"']?\s*(?:=>|[=:])\s*[\"']?)([^\s\"',;&}}\]]+)",
    re.IGNORECASE,
)
_RUN = re.compile(r"[A-Za-z0-9+]{20,}")
_OPEN = re.compile(
    r"(?i)(?:^|[._-])(?:revision|commit|sha\d*|digest|hash|fingerprint|(?:run|model|experiment|job|build|pipeline)_?id)$"
)
"""Under these names a long run of digits names something that anybody may know."""
_DIGESTS = re.compile(r"\b(?:sha256|sha384|sha512|sha1|wbw?1|blake3):[0-9a-f]{40,128}\b")
_NUMBER = re.compile(r"[+-]?[\d_]*\.?\d+(?:[eE][+-]?\d+)?")


class Scrub:
    """Strikes secrets out of texts, JSON and command lines; made once, with the environment as it was."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._redact = Redactor(environ)

    def text(self, text: str, *, name: str = "") -> str:
        """Return a text without secrets, printable, and cut at 2,000 characters; `name` is what it is called."""
        if _named_secret(name, text):
            return STRUCK
        text = self._redact(text[:MAX_READ])[: 2 * MAX_TEXT]
        if ("=" in text or ":" in text) and (_SECRET.search(text) or _TOKEN.search(text)):
            text = _PAIR.sub(_struck_pair, text)
        if not _OPEN.search(name):
            text = _strike_runs(text)
        text = "".join(char if char.isprintable() else " " for char in text)
        return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + CUT

    def value(self, value: Any, *, name: str = "", depth: int = 0) -> JSON:
        """Return any value as JSON without secrets: what is no JSON becomes text, what is too deep or long is cut."""
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            value = value.item()  # a number of numpy or torch
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return STRUCK if _SECRET.search(name) else _number(value)
        if isinstance(value, Mapping):
            if depth >= MAX_DEPTH:
                return CUT
            rows = list(value.items())[:MAX_ENTRIES]
            found: dict[str, JSON] = {}
            for key, item in rows:
                word = self.text(str(key))
                found[word] = self.value(item, name=f"{name}.{key}" if name else str(key), depth=depth + 1)
            return found | ({CUT: len(value) - MAX_ENTRIES} if len(value) > MAX_ENTRIES else {})
        if isinstance(value, (list, tuple, set, frozenset)):
            if depth >= MAX_DEPTH:
                return CUT
            items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else list(value)
            return [self.value(item, name=name, depth=depth + 1) for item in items[:MAX_ENTRIES]]
        return self.text(str(value), name=name)

    def arguments(self, arguments: Sequence[str]) -> list[str]:
        """Return a command line in which the values of secret-looking options are struck out."""
        found: list[str] = []
        name = ""
        for word in arguments[:MAX_ENTRIES]:
            if _named_secret(name, word):  # whatever it looks like, also like an option
                found.append(STRUCK)
                name = ""
                continue
            option, equals, value = word.partition("=")
            if equals and re.fullmatch(r"[+~\w.@/-]{1,128}", option):
                found.append(f"{self.text(option)}={self.text(value, name=option)}")
                name = ""
                continue
            found.append(self.text(word, name=name))
            name = word if word.startswith("-") else ""
        return found


def _named_secret(name: str, text: str) -> bool:
    """Tell whether a name says that its value is secret; a number under `token` is a count."""
    if not name:
        return False
    if _SECRET.search(name):
        return True
    return bool(_TOKEN.search(name)) and not _NUMBER.fullmatch(text.strip())


def _struck_pair(match: re.Match[str]) -> str:
    name, between, value = match.groups()
    return f"{name}{between}{STRUCK}" if _named_secret(name, value) else match[0]


def _strike_runs(text: str) -> str:
    kept = [match.span() for match in _DIGESTS.finditer(text)]

    def strike(match: re.Match[str]) -> str:
        inside = any(start <= match.start() and match.end() <= end for start, end in kept)
        return match[0] if inside or not _looks_random(match[0]) else STRUCK

    return _RUN.sub(strike, text)


def _looks_random(run: str) -> bool:
    """Tell a key from a word: digits among letters, several times, with more different characters than words have."""
    digits = sum(char.isdigit() for char in run)
    letters = sum(char.isalpha() for char in run)
    if not digits or not letters:
        return False
    changes = sum(a.isdigit() != b.isdigit() for a, b in pairwise(run))
    upper = sum(a.isupper() != b.isupper() for a, b in pairwise(run) if (a + b).isalpha())
    return changes + upper >= 4 and len(set(run)) >= 8


def _number(value: Any) -> JSON:
    """Return a number that canonical JSON can carry, else its text."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    return int(value) if abs(value) <= MAX_SAFE_INTEGER else str(value)
