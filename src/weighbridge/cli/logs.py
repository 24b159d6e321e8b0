"""Structured logs: JSON lines on standard error, asked for with -v, from which secrets are struck out."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping

from weighbridge.core.redact import SECRET_NAMES, STRUCK, Redactor


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
