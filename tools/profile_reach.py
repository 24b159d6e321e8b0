"""Say which classes reach outside by their own source: files, the network, other programs, other code.

Once a model is loaded, its objects call each other, and a hostile pickle chooses which objects those are.
So no class is granted, however harmless its loading, whose methods (or the functions of the same wheel
that they call by name) open files, start programs, speak to the network, import by computed name, run
text as code or read another pickle. Methods that only a person calls by name to save, load or show
something (`save_model`, `from_pretrained`, …) are left out, unless another method of the class calls them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from profile_source import FUNCTIONS, Module, World, dotted

_OUTSIDE = (
    "builtins.open", "builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__", "builtins.input",
    "builtins.breakpoint", "io.open", "codecs.open", "gzip.open", "bz2.open", "lzma.open", "zipfile", "tarfile",
    "os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "os.remove", "os.unlink", "os.rmdir",
    "os.removedirs", "os.rename", "os.replace", "os.makedirs", "os.mkdir", "os.chmod", "os.chown", "os.link",
    "os.symlink", "os.kill", "os.putenv", "os.open", "os.startfile", "os.walk", "os.listdir", "os.scandir",
    "subprocess", "multiprocessing", "importlib.import_module", "importlib.util", "importlib.reload", "pkgutil",
    "runpy", "pickle.load", "pickle.loads", "pickle.Unpickler", "pickle.dump", "cloudpickle", "dill", "marshal",
    "shelve", "joblib.load", "joblib.dump", "joblib.numpy_pickle.load", "joblib.numpy_pickle.dump", "torch.load",
    "torch.save", "torch.serialization.load", "torch.serialization.save", "torch.hub", "torch.jit.load",
    "torch.utils.cpp_extension", "numpy.load", "numpy.save", "numpy.fromfile", "numpy.loadtxt",
    "numpy.genfromtxt", "numpy.memmap", "pandas.read_", "pandas.eval", "shutil", "socket", "ssl", "urllib",
    "requests", "http", "ftplib", "smtplib", "tempfile", "ctypes", "cffi", "huggingface_hub", "fsspec",
    "webbrowser", "sqlite3", "yaml.load", "yaml.unsafe_load", "smart_open", "atexit", "signal.signal",
    "code.interact", "pdb", "timeit.timeit", "timeit.repeat", "timeit.Timer", "types.FunctionType", "types.CodeType", "inspect.getsource", "glob",
)  # fmt: skip
_FRONTS = tuple(
    name if name.endswith(("_", "os.exec", "os.spawn")) else f"{name}."
    for name in _OUTSIDE
    if not name.startswith("builtins.")
)
_CALLS = frozenset(
    {"write_text", "write_bytes", "read_text", "read_bytes", "unlink", "rmdir", "mkdir", "read_pickle"}
)
_BY_HAND = re.compile(
    r"^_?_?(save|load|dump|read|write|export|import|push|pull|download|upload|plot|draw|show|print|from_|fetch|"
    r"to_(csv|json|hdf|disk|file|parquet|excel|pickle|onnx|html|graphviz)|serialize|deserialize|visuali[sz]e|get_config_dict$)"
    r"|_from_(file|pretrained|disk|hub|url)$|_to_file$|^(trees_to_dataframe|model_to_string|push_to_hub|compile)$"
)
_DEEP = 6


class Reach:
    """Answers, for one world, which functions and classes reach outside; remembers what it found."""

    def __init__(self, world: World, harmless: frozenset[str] = frozenset()) -> None:
        self.world = world
        self.known: dict[str, str] = dict.fromkeys(harmless, "")
        self.classes: dict[str, str] = {}

    def of_function(self, full: str, depth: int = 0) -> str:
        """Return what a function of the world reaches, or an empty text."""
        if full not in self.known and depth < _DEEP:
            self.known[full] = ""
            found = self.world.definitions(full, "functions")
            self.known[full] = self.of_nodes(found[0], found[1], depth + 1) if found else ""
        return self.known.get(full, "")

    def of_class(self, module: Module, node: ast.ClassDef) -> str:
        """Return what the methods of one class body reach, `method: what`, or an empty text."""
        key = f"{module.name}.{node.name}:{node.lineno}"
        if key not in self.classes:
            self.classes[key] = self._of_class(module, node)
        return self.classes[key]

    def _of_class(self, module: Module, node: ast.ClassDef) -> str:
        methods = {item.name: item for item in ast.walk(node) if isinstance(item, FUNCTIONS)}
        wanted = [name for name in methods if not _BY_HAND.search(name)]
        seen: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name in seen:
                continue
            seen.add(name)
            found = self.of_nodes(module, [methods[name]], 0)
            if found:
                return f"{name}: {found}"
            wanted.extend(own for own in _own_calls(methods[name]) if own in methods)
        return ""

    def of_nodes(self, module: Module, nodes: Iterable[ast.stmt], depth: int) -> str:
        """Return the first thing outside that these statements call, or an empty text."""
        local = _local_imports(module, nodes)
        for call in _calls(nodes):
            name = dotted(call.func)
            if isinstance(call.func, ast.Attribute) and call.func.attr in _CALLS:
                return f".{call.func.attr}()"
            if not name:
                continue
            head, dot, rest = name.partition(".")
            full = (
                self.world.canonical(f"{local[head]}{dot}{rest}")
                if head in local
                else self.world.qualify(module, name)
            )
            if full == name and head not in module.imports and head not in local:
                continue  # a local name, whatever it is called
            if is_outside(full):
                return full
            found = self.of_function(full, depth)
            if found:
                return f"{full.rpartition('.')[2]}: {found}"[:120]
        return ""

    def of_import(self, module: Module) -> str:
        """Return what importing the module itself reaches."""
        return self.of_nodes(module, module.loose, _DEEP)


def is_outside(full: str) -> bool:
    """Tell whether a full name is, or begins with, one of the names that reach outside."""
    if full.startswith("builtins."):
        return full in _OUTSIDE
    return full in _OUTSIDE or full.startswith(_FRONTS)


def _calls(nodes: Iterable[ast.stmt]) -> Iterator[ast.Call]:
    for node in nodes:
        for item in ast.walk(node):
            if isinstance(item, ast.Call):
                yield item


def _own_calls(node: ast.stmt) -> Iterator[str]:
    for call in _calls([node]):
        if isinstance(call.func, ast.Attribute):
            yield call.func.attr


def _local_imports(module: Module, nodes: Iterable[ast.stmt]) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in nodes:
        for item in ast.walk(node):
            if isinstance(item, ast.Import):
                for alias in item.names:
                    found[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(item, ast.ImportFrom):
                parts = module.around.split(".")
                front = ".".join(parts[: len(parts) - item.level + 1]) + "." if item.level else ""
                for alias in item.names:
                    found[alias.asname or alias.name] = (
                        f"{front}{item.module or ''}".rstrip(".") + f".{alias.name}"
                    )
    return found
