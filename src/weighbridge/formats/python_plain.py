"""Say what keeps Python source from being plain computation: imports, names and attributes that nobody listed.

Plain means: only listed libraries are imported, nothing is looked up by a name made at run time, no file is
opened, and no attribute bears the name of something that acts. Used where code is looked at by people (notebooks);
it decides between a note and a refusal, and refuses when in doubt.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.python_source import EXACT, MAX_NODES, MAX_SOURCE

LIBRARIES = frozenset({
    "__future__", "IPython.display", "PIL", "accelerate", "bitsandbytes", "bisect", "collections", "copy", "cv2", "dataclasses", "datasets",
    "datetime", "decimal", "diffusers", "einops", "enum", "evaluate", "faiss", "flax", "fractions", "functools", "gc", "heapq", "huggingface_hub", "itertools",
    "jax", "json", "keras", "librosa", "lightning", "math", "matplotlib", "numpy", "onnxruntime", "optax", "optimum", "pandas", "peft", "plotly", "pprint",
    "pytorch_lightning", "random", "re", "rouge_score", "sacrebleu", "safetensors", "scipy", "seaborn", "sentence_transformers", "sentencepiece", "sklearn", "soundfile",
    "statistics", "string", "tensorflow", "textwrap", "time", "timm", "tokenizers", "torch", "torchaudio", "torchmetrics", "torchvision", "tqdm", "transformers",
    "trl", "typing", "typing_extensions", "unicodedata", "uuid", "warnings",
})  # fmt: skip
"""Libraries whose import and ordinary use compute; their roots, or exact modules."""
_NAMES = frozenset({
    "breakpoint", "compile", "delattr", "eval", "exec", "get_ipython", "getattr", "globals", "input", "locals", "memoryview", "open",
    "quit", "setattr", "vars",
})  # fmt: skip
_MODULES = (
    "f2py",
    "cpp_extension",
    "ctypeslib",
    "hub",
    "package",
    "os",
    "sys",
    "subprocess",
    "builtins",
    "importlib",
    "shutil",
    "ctypes",
    "pickle",
    "distutils",
)
_HARMLESS = frozenset({"compile", "eval", "load", "loads", "open", "remove", "reload", "rmdir"})
_ATTRIBUTES = (
    frozenset(name.rpartition(".")[2] for name in EXACT) - _HARMLESS
    | {"Popen", "check_call", "check_output", "execv", "execve", "getoutput", "run_cell_magic", "run_line_magic", "spawnl", "spawnv",
       "load_library", "load_op_library", "load_inline", "read_pickle", "urlopen", "urlretrieve", "from_function", "trust_remote_code", "attrgetter", "methodcaller", "write_bytes", "write_text"}
    | set(_MODULES)
)  # fmt: skip


def strange(source: str) -> tuple[str, ...]:
    """Return what is not plain, each once, in the order of the source; OutOfBudget (python.budget), SyntaxError, ValueError."""
    if len(source) > MAX_SOURCE:
        raise _spent()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (RecursionError, MemoryError) as error:
        raise _spent() from error
    found: dict[str, None] = {}
    for count, node in enumerate(ast.walk(tree)):
        if count > MAX_NODES:
            raise _spent()
        for reason in _reasons(node):
            found.setdefault(f"line {getattr(node, 'lineno', 0)}: {reason}")
    return tuple(found)


def _reasons(node: ast.AST) -> Iterator[str]:
    """Say what is not plain about one node."""
    if isinstance(node, ast.Import):
        yield from (f"import {row.name}" for row in node.names if not _listed(row.name))
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        names = [row.name for row in node.names]
        if node.level or not _listed(module) or "*" in names or any(name in _ATTRIBUTES for name in names):
            yield f"from {'.' * node.level}{module} import {', '.join(names)}"
    elif isinstance(node, ast.Name) and (node.id in _NAMES or _inner(node.id)):
        yield node.id
    elif isinstance(node, ast.Attribute) and (node.attr in _ATTRIBUTES or _inner(node.attr)):
        yield f".{node.attr}"
    elif isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
        yield f"{node.arg}="
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _inner(node.value):
        yield "a text with a name of Python's internals"


def _listed(module: str) -> bool:
    parts = module.split(".")
    return (parts[0] in LIBRARIES or module in LIBRARIES) and not any(part in _MODULES for part in parts[1:])


def _inner(name: str) -> bool:
    start = name.find("__")
    return start >= 0 and name.find("__", start + 2) > start + 2 and name not in ("__main__", "__name__")


def _spent() -> OutOfBudget:
    return OutOfBudget(
        "the source asks for more work than a scan spends on it",
        cause="it is too long, or nested too deeply",
        remedy="look at the file by hand, or remove it",
        check="python.budget",
    )
