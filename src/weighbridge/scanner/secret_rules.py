"""Rules on secrets: tokens and keys that were published with a model, in texts and in small pickles."""

from __future__ import annotations

import re
from collections.abc import Iterable

from weighbridge.core.finding import Confidence, Finding, Verdict
from weighbridge.scanner.file import RuleInfo, ScannedFile, severity_of

RULES = (RuleInfo("repository-secret", "Something that looks like a secret", Verdict.NOTES),)
EXPLAINS: frozenset[str] = frozenset()
READERS: tuple[str, ...] = ("secret-patterns 2",)

MAX_SEARCHED = 4 * 1024 * 1024
"""Bytes or characters of one file that are searched, from its beginning."""

SECRETS: tuple[tuple[str, str], ...] = (
    ("a Hugging Face token", r"\b(?:hf|api_org)_[A-Za-z0-9]{34,}\b"),
    ("an AWS access key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})\b"),
    ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("an Anthropic key", r"\bsk-ant-[A-Za-z0-9_-]{40,}"),
    ("an OpenAI key", r"\bsk-(?!ant-)(?:proj-|svcacct-)?[A-Za-z0-9_-]{40,}"),
    ("a Google key", r"\bAIza[A-Za-z0-9_-]{35}\b|\bGOCSPX-[A-Za-z0-9_-]{20,}"),
    ("a Slack token", r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
    (
        "a Slack webhook",
        r"https://hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,}",
    ),
    ("a Stripe key", r"\b[rs]k_live_[A-Za-z0-9]{20,}\b"),
    ("an npm token", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("a PyPI token", r"\bpypi-AgEI[A-Za-z0-9_-]{50,}"),
    ("an Azure storage key", r"\bAccountKey=[A-Za-z0-9+/]{80,}={0,2}"),
    ("a private key", r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"),
)
_CHECKPOINTS = ("torch-zip", "torch-legacy")
_TEXT = tuple((what, re.compile(pattern)) for what, pattern in SECRETS)
_BYTES = tuple((what, re.compile(pattern.encode())) for what, pattern in SECRETS)


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Note secrets without repeating them; a saved training state is a pickle that may hold a hub token."""
    text = file.text
    if text is not None:
        for what, pattern in _TEXT:
            match = pattern.search(text, 0, MAX_SEARCHED)
            if match:
                line = text.count("\n", 0, match.start()) + 1
                yield _finding(file, what, match.start(), f"line {line} holds what looks like {what}")
    elif file.kind == "pickle" or (file.kind in _CHECKPOINTS and file.size <= MAX_SEARCHED):
        data = file.read(MAX_SEARCHED)
        for what, raw in _BYTES:
            found = raw.search(data)
            if found:
                yield _finding(file, what, found.start(), f"the file holds what looks like {what}")


def _finding(file: ScannedFile, what: str, offset: int, message: str) -> Finding:
    return Finding(
        rule="repository-secret",
        verdict=Verdict.NOTES,
        severity=severity_of(Verdict.NOTES),
        location=file.at(offset),
        message=message,
        why="everybody who gets the model gets the secret",
        help="revoke the secret at its issuer, then remove it from the model",
        confidence=Confidence.MEDIUM,
        subject=what,
    )
