"""Rules on what does not belong into a model: source code, scripts, native programs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.json_text import read_json, walk
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of

RULES = (
    RuleInfo("repository-code", "Python source inside a model", Verdict.UNLISTED),
    RuleInfo("repository-import", "Python source that acts as soon as it is imported", Verdict.DANGEROUS),
    RuleInfo("repository-script", "A script or notebook inside a model", Verdict.UNLISTED),
    RuleInfo("repository-program", "A native program or library inside a model", Verdict.UNLISTED),
)
EXPLAINS = frozenset({"python", "text"})

SOURCE_SUFFIXES = (".py", ".pyi", ".pyx", ".pyw")
SCRIPT_SUFFIXES = (
    ".applescript", ".awk", ".bash", ".bat", ".cjs", ".cmd", ".command", ".csh", ".desktop", ".fish", ".hta", ".jl", ".js", ".jse", ".jsx",
    ".ksh", ".lua", ".mjs", ".php", ".pl", ".ps1", ".psd1", ".psm1", ".r", ".rb", ".reg", ".scpt", ".service", ".sh", ".tcl",
    ".ts", ".tsx", ".vb", ".vbe", ".vbs", ".workflow", ".wsf", ".zsh",
)  # fmt: skip
SCRIPT_NAMES = frozenset({
    ".bash_profile", ".bashrc", ".envrc", ".gitmodules", ".npmrc", ".profile", ".zshrc", "containerfile", "devcontainer.json",
    "dockerfile", "gnumakefile", "jenkinsfile", "justfile", "makefile", "procfile", "rakefile", "tasks.json", "vagrantfile",
})  # fmt: skip
"""Files that a program runs, or fetches code by, for no other reason than their name."""
PAGE_SUFFIXES = (".htm", ".html", ".svg", ".xhtml", ".xml")
PROGRAM_SUFFIXES = (".class", ".dll", ".dylib", ".egg", ".exe", ".jar", ".msi", ".pyc", ".pyd", ".pyo", ".so", ".wasm",
                    ".whl")  # fmt: skip
MACH_O = (
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
)
MAX_ACTS = 20

MODULE_FILES = {
    "pickle_module_info.txt": frozenset({"cloudpickle", "dill", "mlflow.pytorch.pickle_module", "pickle"}),
    "keras_module.txt": frozenset(
        {
            "keras",
            "keras.api._v2.keras",
            "tensorflow.keras",
            "tensorflow.python.keras.api._v2.keras",
            "tf_keras",
        }
    ),
}
"""Files whose whole text MLflow imports as the name of a module, and the names it writes there itself."""
_ACTIVE = re.compile(
    r"<\s*script\b|\bon(?:load|error|click|begin|mouseover)\s*=|javascript:|<!ENTITY\b", re.IGNORECASE
)
_IMPORT_LINE = re.compile(r"^import[ \t;]", re.MULTILINE)
_PLAIN_MAGICS = "autoreload|capture|cd|config|debug|env|dirs|load_ext[ \\t]+(?:autoreload|tensorboard)|ls|matplotlib|memit|mkdir|notebook|precision|prun|pwd|pylab|reload_ext|tb|tensorboard|time|timeit|who|whos|xmode"
_SHELL_LINE = re.compile(
    rf"^[ \t]*(?:!|%%!|%%?(?!(?:{_PLAIN_MAGICS})\b)\w)|^[^#\n'\"]{{0,200}}=[ \t]*(?:!|%(?!(?:{_PLAIN_MAGICS})\b)\w)",
    re.MULTILINE,
)
"""Lines of a notebook that start programs, and magics that are not known to do nothing of the kind."""
_PLAIN_LINE = re.compile(r"^[ \t]*%.*", re.MULTILINE)


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge a file by its first bytes, its name, and what its source would do."""
    program = _program(file)
    if program:
        yield _finding(
            file, "repository-program", Verdict.UNLISTED, f"the file is {program}", subject=program
        )
    text = file.text
    if text is None:
        return
    if file.kind == "python" or file.name.endswith(SOURCE_SUFFIXES):
        yield from _source(file, text, "Python source")
    elif file.name.endswith(".ipynb"):
        yield from _notebook(file, text)
    elif _is_script(file, text):
        yield _finding(file, "repository-script", Verdict.UNLISTED, "the file is a script", subject="script")
    elif file.name.endswith(PAGE_SUFFIXES) and _ACTIVE.search(text):
        message = "the file is a page that runs a script when it is shown"
        yield _finding(file, "repository-script", Verdict.UNLISTED, message, subject="page")
    elif file.name in MODULE_FILES and text.strip() not in MODULE_FILES[file.name]:
        message = f"MLflow would import {printable(text.strip(), 80)!r} to load the model"
        yield _finding(
            file, "repository-import", Verdict.UNLISTED, message, subject=printable(text.strip(), 80)
        )


def _is_script(file: ScannedFile, text: str) -> bool:
    name = file.name
    if name in SCRIPT_NAMES:
        return name not in ("tasks.json", "devcontainer.json") or "/." in f"/{file.path.lower()}"
    # A `.pth` file that is text is no checkpoint: Python runs its import lines when it finds it on its path.
    on_path = name.endswith(".pth") and _IMPORT_LINE.search(text) is not None
    return (
        name.endswith(SCRIPT_SUFFIXES)
        or name.startswith("dockerfile.")
        or text.startswith(("#!", "\ufeff#!"))
        or on_path
    )


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


def _source(file: ScannedFile, text: str, what: str) -> Iterator[Finding]:
    """Report source once for being there, and once more when a mere import would act."""
    try:
        from weighbridge.formats.python_source import read_python

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
        code = _code_of(text)
    except (ValueError, TypeError, RecursionError, Refused, OutOfBudget):
        yield _finding(
            file, "repository-script", Verdict.UNLISTED, "the notebook cannot be read", subject="notebook"
        )
        return
    shell = tuple(
        printable(match.string[match.start() :].split("\n", 1)[0]) for match in _SHELL_LINE.finditer(code)
    )
    try:
        plain = _PLAIN_LINE.sub("#", _SHELL_LINE.sub("#", code))
        from weighbridge.formats.python_plain import strange
        from weighbridge.formats.python_source import read_python

        acts = tuple(dict.fromkeys([*(act.name for act in read_python(plain).acts), *strange(plain)]))
    except (Refused, OutOfBudget, SyntaxError):
        acts = ("code that cannot be read",)
    verdict = Verdict.UNLISTED if shell or acts else Verdict.NOTES
    shown = (*shell, *acts)[:MAX_ACTS] or (("an output that holds a script",) if "<script" in text else ())
    yield _finding(
        file, "repository-script", verdict, "the file is a notebook", subject="notebook", evidence=shown
    )


def _code_of(text: str) -> str:
    """Return the code of every code cell, wherever the version of the format keeps it; raises when it is no notebook."""
    cells = [
        place.value
        for place in walk(read_json(text))
        if isinstance(place.value, dict) and place.value.get("cell_type") == "code"
    ]
    if not cells and '"cell_type"' not in text and '"cells"' not in text:
        raise ValueError
    sources = [cell["source"] if "source" in cell else cell.get("input") for cell in cells]
    return "\n".join(source if isinstance(source, str) else "".join(source or ()) for source in sources)


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
