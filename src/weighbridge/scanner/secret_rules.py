"""Rules on secrets: tokens and keys that were published with a model, in texts and in small pickles."""

from __future__ import annotations

import re
from collections.abc import Iterable

from weighbridge.core.finding import Confidence, Finding, Verdict
from weighbridge.scanner.file import RuleInfo, ScannedFile, severity_of

RULES = (RuleInfo("repository-secret", "Something that looks like a secret", Verdict.NOTES),)
EXPLAINS: frozenset[str] = frozenset()

MAX_SEARCHED = 4 * 1024 * 1024
"""Bytes or characters of one file that are searched, from its beginning."""

SECRETS: tuple[tuple[str, str, str], ...] = (
    ("a Hugging Face token", "hf_ api_org_", r"\b(?:hf|api_org)_[A-Za-z0-9]{34,}\b"),
    ("an AWS access key", "AKIA ASIA", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    (
        "a GitHub token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})\b",
    ),
    ("a GitLab token", "glpat-", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("an Anthropic key", "sk-ant-", r"\bsk-ant-[A-Za-z0-9_-]{40,}"),
    ("an OpenAI key", "sk-", r"\bsk-(?!ant-)(?:proj-|svcacct-)?[A-Za-z0-9_-]{40,}"),
    ("a Google key", "AIza GOCSPX-", r"\bAIza[A-Za-z0-9_-]{35}\b|\bGOCSPX-[A-Za-z0-9_-]{20,}"),
    ("a Slack token", "xoxa- xoxb- xoxp- xoxr- xoxs-", r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
    (
        "a Slack webhook",
        "hooks.slack.com",
        r"https://hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,}",
    ),
    ("a Stripe key", "k_live_", r"\b[rs]k_live_[A-Za-z0-9]{20,}\b"),
    ("an npm token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("a PyPI token", "pypi-AgEI", r"\bpypi-AgEI[A-Za-z0-9_-]{50,}"),
    ("an Azure storage key", "AccountKey=", r"\bAccountKey=[A-Za-z0-9+/]{80,}={0,2}"),
    ("a private key", "-----BEGIN ", r"-----BEGIN (?:[A-Z]{1,20} ){0,3}PRIVATE KEY-----"),
)
"""What it is, the fixed texts one of which it begins with or holds, and its whole shape."""
_CHECKPOINTS = ("torch-zip", "torch-legacy")
_TEXT = tuple(
    (what, marks.split(" ") if what != "a private key" else [marks], re.compile(shape))
    for what, marks, shape in SECRETS
)
_BYTES = tuple(
    (what, [mark.encode() for mark in marks], re.compile(shape.pattern.encode()))
    for what, marks, shape in _TEXT
)


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Note secrets without repeating them; a saved training state is a pickle that may hold a hub token."""
    text = file.text
    if text is not None:
        searched = text[:MAX_SEARCHED]
        for what, marks, pattern in _TEXT:
            match = pattern.search(searched) if any(mark in searched for mark in marks) else None
            if match:
                line = text.count("\n", 0, match.start()) + 1
                yield _finding(file, what, match.start(), f"line {line} holds what looks like {what}")
    elif file.kind == "pickle" or (file.kind in _CHECKPOINTS and file.size <= MAX_SEARCHED):
        data = file.read(MAX_SEARCHED)
        for what, raw_marks, raw in _BYTES:
            found = raw.search(data) if any(mark in data for mark in raw_marks) else None
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
