"""Structured logs: JSON lines on standard error, asked for with -v, from which secrets are struck out."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping

SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL|PRIVATE", re.IGNORECASE)
PATTERNS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL),
    re.compile(r"\bhf_[A-Za-z0-9]{8,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"),
)
STRUCK = "[struck out]"
MIN_SECRET = 6


class Redactor:
    """Strikes out values of secret-looking environment variables and anything of a secret's shape."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        named = {value for name, value in environ.items() if SECRET_NAMES.search(name)}
        self._values = sorted((value for value in named if len(value) >= MIN_SECRET), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for value in self._values:
            text = text.replace(value, STRUCK)
        for pattern in PATTERNS:
            text = pattern.sub(STRUCK, text)
        return text


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, fields; redacted as a whole, last of all."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            line["fields"] = {
                str(key): STRUCK if SECRET_NAMES.search(str(key)) else self._redact(str(value))
                for key, value in fields.items()
            }
        if record.exc_info:
            line["exception"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def start(verbosity: int, environ: Mapping[str, str]) -> None:
    """Send the logs of weighbridge to standard error: warnings only, info with -v, everything with -vv."""
    logger = logging.getLogger("weighbridge")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(Redactor(environ)))
    logger.handlers[:] = [handler] if verbosity else [logging.NullHandler()]
    logger.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG))
    logger.propagate = False
