"""Rules on what a model asks to be installed: requirements, conda environments, project files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from weighbridge.core.finding import Finding, Verdict
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of

RULES = (
    RuleInfo("repository-requirements", "Requirements that install from somewhere else", Verdict.UNLISTED),
)
EXPLAINS: frozenset[str] = frozenset()

MAX_TEXT = 1024 * 1024
MAX_FINDINGS = 50
LISTS = re.compile(r".*(requirements|constraints).*\.(txt|in|pip)|requirements")
ENVIRONMENTS = frozenset({
    "conda.yaml", "conda.yml", "environment.yaml", "environment.yml", "pipfile", "poetry.lock", "pyproject.toml",
    "python_env.yaml", "setup.cfg", "uv.lock", "pdm.lock",
})  # fmt: skip

_FOREIGN = re.compile(
    r"(?:-i\b|--index-url|--extra-index-url|-f\b|--find-links|--trusted-host|-e\b|--editable|[a-z+]{1,20}://|git\+"
    r"|\.{0,2}/|[\w.-]{1,200}\.(?:whl|zip|tar\.gz)\b)"
    r"|[A-Za-z0-9._\[\], -]{1,200}\s{0,9}@\s{0,9}\S"
)
_URL = re.compile(
    r"(?:git|hg|svn|bzr)\+[a-z+]{2,10}:|\b(?:https?|ftp|file|git|ssh)://[^\s\"',\]}]{1,300}|--(?:extra-)?index-url\S{0,200}"
)
_KNOWN_HOSTS = re.compile(
    r"https?://(?:files\.pythonhosted\.org|pypi\.org|pypi\.python\.org|download\.pytorch\.org/whl|conda\.anaconda\.org"
    r"|repo\.anaconda\.com)(?:[/\s\"']|$)"
)
_SECTION = re.compile(r"\s*\[{1,2}([^\[\]]{1,200})\]{1,2}\s*(#.*)?")
_DESCRIBED = frozenset({"metadata", "project", "tool.poetry"})
_PAGE = re.compile(r"\s*(home-?page|url|repository|documentation|download[-_]url)\s*=", re.IGNORECASE)
_NAMED = re.compile(r"[A-Za-z0-9]")


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge lists of requirements line by line, other project files by the addresses they install from."""
    text = file.text
    if text is None:
        return
    if LISTS.fullmatch(file.name):
        yield from _list(file, text[:MAX_TEXT])
    elif file.name in ENVIRONMENTS:
        yield from _environment(file, text[:MAX_TEXT])


def _list(file: ScannedFile, text: str) -> Iterator[Finding]:
    """Judge a pip requirements file; a backslash joins lines."""
    unpinned = count = found = 0
    for number, line in _joined(text):
        if not line or line.startswith("#"):
            continue
        if _FOREIGN.match(line):
            found += 1
            if found <= MAX_FINDINGS:
                yield _foreign(file, number, line)
        elif _NAMED.match(line):
            count += 1
            unpinned += "--hash=" not in line
    if unpinned:
        yield _finding(
            file,
            Verdict.NOTES,
            f"{unpinned} of {count} requirements are not pinned by hash",
            subject="hashes",
        )


def _joined(text: str) -> Iterator[tuple[int, str]]:
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        start = start if pending else number
        pending += line.strip()
        if pending.endswith("\\"):
            pending = pending[:-1] + " "
            continue
        yield start, pending
        pending = ""
    if pending:
        yield start, pending


def _environment(file: ScannedFile, text: str) -> Iterator[Finding]:
    """Judge the addresses in a project file, but for the pages it describes itself with."""
    found = 0
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = _SECTION.fullmatch(line)
        section = header[1].strip() if header else section
        page = section.endswith("urls") or (section in _DESCRIBED and _PAGE.match(line))
        if page or line.lstrip().startswith("#"):
            continue
        for match in _URL.finditer(line):
            if not _KNOWN_HOSTS.match(match[0]) and found < MAX_FINDINGS:
                found += 1
                yield _foreign(file, number, match[0])
    yield _finding(file, Verdict.NOTES, "the model describes what to install", subject="environment")


def _foreign(file: ScannedFile, number: int, line: str) -> Finding:
    shown = printable(line)
    return _finding(file, Verdict.UNLISTED, f"line {number} installs {shown!r}", subject=shown)


def _finding(file: ScannedFile, verdict: Verdict, message: str, *, subject: str) -> Finding:
    return Finding(
        rule="repository-requirements",
        verdict=verdict,
        severity=severity_of(verdict),
        location=file.at(),
        message=printable(message, 300),
        why="installing a package runs its code",
        help="install from a lock file of your own with hashes; the loader needs none of the model's requirements",
        subject=printable(subject, 300),
    )
