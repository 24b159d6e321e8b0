"""Rules on what does not belong into a model: source code, scripts, native programs, secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Confidence, Finding, Verdict
from weighbridge.formats.python_source import READER, read_python
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of

RULES = (
    RuleInfo("repository-code", "Python source inside a model", Verdict.UNLISTED),
    RuleInfo("repository-import", "Python source that acts as soon as it is imported", Verdict.DANGEROUS),
    RuleInfo("repository-script", "A script or notebook inside a model", Verdict.UNLISTED),
    RuleInfo("repository-program", "A native program or library inside a model", Verdict.UNLISTED),
    RuleInfo("repository-requirements", "Requirements that install from somewhere else", Verdict.UNLISTED),
    RuleInfo("repository-secret", "Something that looks like a secret", Verdict.NOTES),
)
EXPLAINS = frozenset({"python", "text"})
READERS = (READER,)
"""What counts into the ruleset digest beside the rules: readers and their versions."""

SOURCE_SUFFIXES = (".py", ".pyi", ".pyx", ".pyw")
SCRIPT_SUFFIXES = (".bash", ".bat", ".cmd", ".command", ".csh", ".fish", ".js", ".mjs", ".php", ".pl", ".ps1", ".rb",
                   ".sh", ".vbs", ".zsh")  # fmt: skip
PROGRAM_SUFFIXES = (".class", ".dll", ".dylib", ".egg", ".exe", ".jar", ".msi", ".pyc", ".pyd", ".pyo", ".so", ".wasm",
                    ".whl")  # fmt: skip
MACH_O = (
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
)
MAX_SECRETS = 4 * 1024 * 1024
MAX_ACTS = 20

_SECRETS = (
    ("a Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{34,}\b")),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    ("a GitHub token", re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}\b")),
    ("an OpenAI key", re.compile(r"\bsk-(?:proj-)?[A-Za-z0-9_-]{40,}\b")),
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")),
)
_SHELL_LINE = re.compile(r"^[ \t]*(?:!|%%?(?:bash|sh|sx|system|script|cmd)\b)", re.MULTILINE)
_FOREIGN_REQUIREMENT = re.compile(
    r"(?:-i\b|--index-url|--extra-index-url|-f\b|--find-links|--trusted-host|-e\b|--editable|[a-z+]{1,20}://|git\+)"
    r"|[A-Za-z0-9._\[\]-]{1,200}\s{0,9}@\s{0,9}\S"
)


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge a file by its first bytes, its name, and what its source would do."""
    program = _program(file)
    if program:
        yield _finding(
            file, "repository-program", Verdict.UNLISTED, f"the file is {program}", subject=program
        )
    text = file.text
    if text is None or _is_torchscript(file):
        return
    if file.kind == "python" or file.name.endswith(SOURCE_SUFFIXES):
        yield from _source(file, text, "Python source")
    elif file.name.endswith(".ipynb"):
        yield from _notebook(file, text)
    elif file.name.endswith(SCRIPT_SUFFIXES) or text.startswith("#!"):
        yield _finding(file, "repository-script", Verdict.UNLISTED, "the file is a script", subject="script")
    if re.fullmatch(r".*requirements.*\.(txt|in)", file.name):
        yield from _requirements(file, text)
    yield from _secrets(file, text)


def _program(file: ScannedFile) -> str:
    """Name the kind of program by its magic bytes, or by its name where the content tells nothing."""
    head = file.head
    if head.startswith(b"\x7fELF"):
        return "an ELF program or library"
    if head.startswith(MACH_O):
        return "a Mach-O program or a Java class"
    if head.startswith(b"\0asm"):
        return "a WebAssembly module"
    if head.startswith(b"MZ") and (
        b"PE\0\0" in head or b"This program" in head or head.startswith(b"MZqFpD")
    ):
        return "a Windows or portable program"
    if file.name.endswith(PROGRAM_SUFFIXES) or re.search(r"\.so\.\d", file.name):
        return "named like a program or library"
    return ""


def _is_torchscript(file: ScannedFile) -> bool:
    # TorchScript keeps its code as text beside the pickle; the interpreter of torch reads it, not Python.
    return bool(file.members) and "/code/" in f"/{file.members[-1]}" and file.kind != "python"


def _source(file: ScannedFile, text: str, what: str) -> Iterator[Finding]:
    """Report source once for being there, and once more when a mere import would act."""
    try:
        source = read_python(text)
    except (Refused, OutOfBudget) as error:
        yield _finding(file, "repository-code", Verdict.UNLISTED, f"the file is {what} that cannot be read: {error.cause}", subject="source")  # fmt: skip
        return
    later = tuple(f"line {act.line}: {act.name}" for act in source.acts if not act.at_import)
    yield _finding(
        file,
        "repository-code",
        Verdict.UNLISTED,
        f"the file is {what}",
        subject="source",
        evidence=later[:MAX_ACTS],
    )
    if source.at_import:
        names = ", ".join(dict.fromkeys(act.name.removeprefix("builtins.") for act in source.at_import))
        evidence = tuple(f"line {act.line}: {act.name}" for act in source.at_import)[:MAX_ACTS]
        yield _finding(
            file,
            "repository-import",
            Verdict.DANGEROUS,
            f"importing this file would call {names}",
            subject=names,
            evidence=evidence,
        )


def _notebook(file: ScannedFile, text: str) -> Iterator[Finding]:
    """Report a notebook: a note when it holds plain code, unlisted when it starts programs."""
    try:
        cells = json.loads(text).get("cells", [])
        sources = [cell["source"] for cell in cells if cell.get("cell_type") == "code"]
        code = "\n".join(source if isinstance(source, str) else "".join(source) for source in sources)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        yield _finding(
            file, "repository-script", Verdict.UNLISTED, "the notebook cannot be read", subject="notebook"
        )
        return
    shell = tuple(
        printable(match.string[match.start() :].split("\n", 1)[0]) for match in _SHELL_LINE.finditer(code)
    )
    try:
        acts = tuple(f"{act.name}" for act in read_python(_SHELL_LINE.sub("#", code)).acts)
    except (Refused, OutOfBudget):
        acts = ("code that cannot be read",)
    verdict = Verdict.UNLISTED if shell or acts else Verdict.NOTES
    yield _finding(
        file,
        "repository-script",
        verdict,
        "the file is a notebook",
        subject="notebook",
        evidence=(*shell, *acts)[:MAX_ACTS],
    )


def _requirements(file: ScannedFile, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        if _FOREIGN_REQUIREMENT.match(line.strip()):
            shown = printable(line.strip())
            yield _finding(
                file,
                "repository-requirements",
                Verdict.UNLISTED,
                f"line {number} installs {shown!r}",
                subject=shown,
            )


def _secrets(file: ScannedFile, text: str) -> Iterator[Finding]:
    """Note secrets without repeating them."""
    for what, pattern in _SECRETS:
        match = pattern.search(text, 0, MAX_SECRETS)
        if match:
            line = text.count("\n", 0, match.start()) + 1
            yield Finding(
                rule="repository-secret",
                verdict=Verdict.NOTES,
                severity=severity_of(Verdict.NOTES),
                location=file.at(match.start()),
                message=f"line {line} holds what looks like {what}",
                why="everybody who gets the model gets the secret",
                help="revoke the secret at its issuer, then remove it from the model",
                confidence=Confidence.MEDIUM,
                subject=what,
            )


def _finding(
    file: ScannedFile, rule: str, verdict: Verdict, message: str, *, subject: str, evidence: tuple[str, ...] = ()
) -> Finding:  # fmt: skip
    return Finding(
        rule=rule,
        verdict=verdict,
        severity=severity_of(verdict),
        location=file.at(),
        message=printable(message, 300),
        why="a model is data: code beside it runs when somebody loads, installs or opens it",
        help="remove the file, or read it and accept it with a reason",
        evidence=tuple(printable(line) for line in evidence),
        subject=printable(subject, 300),
    )
