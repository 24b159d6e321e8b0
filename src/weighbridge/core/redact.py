"""Strikes out of text what looks like a secret: by the name before it, by its shape, or because the environment has it."""

from __future__ import annotations

import re
from collections.abc import Mapping

SECRET_NAMES = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_?KEY|CREDENTIAL|PRIVATE|AUTHORI[SZ]ATION|CONN(?:ECTION)?_?STR",
    re.IGNORECASE,
)
PATTERNS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL),
    re.compile(r"\bhf_[A-Za-z0-9]{8,}"),
    re.compile(r"\bwb_[0-9a-f]{16}_[A-Za-z0-9]{8,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"\b(?:gh[opsru]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|npm_[A-Za-z0-9]{16,})"),
    re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}|\bxox[abeprs]-[A-Za-z0-9-]{8,}|\bAIza[\w-]{30,}"),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"(?<=://)[^/\s@'\"]+(?=@)"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"),
    re.compile(
        r"(?i)(?<=[?&;])(?:sig|signature|x-amz-signature|x-amz-credential|x-goog-signature)=[^&\s'\"]+"
    ),
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
