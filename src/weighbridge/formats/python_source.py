"""Read Python source as a syntax tree and name what running it, or merely importing it, would do.

Nothing is compiled or imported. The list of names below decides wording and severity only: any Python
file in a model blocks until somebody accepts it, listed or not.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from weighbridge.core.errors import OutOfBudget, Refused

MAX_SOURCE = 4 * 1024 * 1024
"""Characters of one source file."""
MAX_NODES = 1_000_000

EXACT = frozenset({
    "builtins.eval", "builtins.exec", "builtins.__import__", "builtins.compile", "os.system", "os.popen", "os.fork",
    "os.forkpty", "os.kill", "os.remove", "os.unlink", "os.rmdir", "os.removedirs", "os.putenv", "os.startfile",
    "shutil.rmtree", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "dill.load",
    "dill.loads", "cloudpickle.load", "cloudpickle.loads", "joblib.load", "torch.load", "torch.hub.load",
    "shelve.open", "importlib.import_module", "importlib.reload",
    "importlib.util.spec_from_file_location", "importlib.util.module_from_spec", "webbrowser.open", "types.CodeType", "types.FunctionType", "sys.settrace",
})  # fmt: skip
PREFIXES = (
    "os.exec", "os.spawn", "os.posix_spawn", "subprocess.", "pty.", "socket.", "ctypes.", "cffi.", "runpy.", "code.",
    "codeop.", "urllib.request.", "requests.", "httpx.", "http.client.", "aiohttp.", "ftplib.", "smtplib.",
    "telnetlib.", "paramiko.", "pexpect.", "multiprocessing.", "asyncio.create_subprocess", "asyncio.open_connection",
    "posix.", "nt.", "_posixsubprocess.", "pip.", "ensurepip.",
)  # fmt: skip
_BUILTINS = frozenset({"eval", "exec", "compile", "__import__", "getattr"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Act:
    """One call of a listed name: the line, the full name, and whether a mere import already reaches it."""

    line: int
    name: str
    at_import: bool


@dataclass(frozen=True, slots=True)
class PythonSource:
    """What a source file imports and which listed names it calls, in the order of its lines."""

    imports: tuple[str, ...]
    acts: tuple[Act, ...]

    @property
    def at_import(self) -> tuple[Act, ...]:
        """The acts that a mere import reaches."""
        return tuple(act for act in self.acts if act.at_import)


def read_python(source: str) -> PythonSource:
    """Describe Python source; Refused(python.syntax) when it does not parse, OutOfBudget(python.budget)."""
    if len(source) > MAX_SOURCE:
        raise _spent(f"the source is longer than {MAX_SOURCE} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        return _Reading(tree).describe()
    except (SyntaxError, ValueError) as error:
        raise Refused(
            "this is not Python that can be read",
            cause=str(error)[:200],
            remedy="look at the file by hand, or remove it",
            check="python.syntax",
        ) from error
    except (RecursionError, MemoryError) as error:
        raise _spent("the source is nested too deeply to be read") from error


class _Reading:
    """One pass over one module."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.count = 0
        self.aliases: dict[str, str] = {}
        self.imports: set[str] = set()
        self.stars: list[str] = []
        self.definitions: dict[str, list[ast.AST]] = {}
        for node in self._walk(tree, into_functions=True):
            self._learn(node)

    def describe(self) -> PythonSource:
        """Collect the acts, those reached by importing first marked as such."""
        reached = self._reached_by_import()
        acts = {
            Act(getattr(node, "lineno", 0), name, id(node) in reached)
            for node in self._walk(self.tree, into_functions=True)
            if (name := self._act(node))
        }
        ordered = sorted(acts, key=lambda act: (act.line, act.name, not act.at_import))
        return PythonSource(tuple(sorted(self.imports)), tuple(ordered))

    def _walk(self, tree: ast.AST, *, into_functions: bool) -> Iterator[ast.AST]:
        work = [tree]
        while work:
            node = work.pop()
            self.count += 1
            if self.count > MAX_NODES:
                raise _spent(f"the source has more than {MAX_NODES} parts")
            yield node
            if into_functions or node is tree or not isinstance(node, _FUNCTIONS):
                work.extend(ast.iter_child_nodes(node))
            else:
                # Decorators and default values run where the function is defined.
                work.extend([*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)])

    def _learn(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for name in node.names:
                self.imports.add(name.name)
                self.aliases[name.asname or name.name.split(".")[0]] = (
                    name.name if name.asname else name.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            self.imports.add(module)
            for name in node.names:
                if name.name == "*":
                    self.stars.append(module)
                self.aliases[name.asname or name.name] = f"{module}.{name.name}"
        elif isinstance(node, ast.Assign) and isinstance(node.value, (ast.Name, ast.Attribute, ast.Call)):
            qualified = self._qualified(node.value)
            for target in node.targets:
                if qualified and isinstance(target, ast.Name):
                    self.aliases.setdefault(target.id, qualified)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self.definitions.setdefault(node.name, []).append(node)

    def _reached_by_import(self) -> set[int]:
        """Nodes that run on import: module level, class bodies, and local functions called from there."""
        reached: set[int] = set()
        work: list[ast.AST] = [self.tree]
        opened: set[str] = set()
        while work:
            skipped = _main_guards(work[-1])
            for node in self._walk(work.pop(), into_functions=False):
                if id(node) in skipped:
                    continue
                reached.add(id(node))
                called = self._local_name(node)
                if called and called not in opened:
                    opened.add(called)
                    for definition in self.definitions.get(called, []):
                        bodies = definition.body if isinstance(definition, ast.ClassDef) else [definition]
                        work.extend(bodies)
        return reached

    def _local_name(self, node: ast.AST) -> str:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return node.func.id
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return node.func.attr
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in self.definitions:
            return node.id  # handed over, for example as a decorator
        return ""

    def _act(self, node: ast.AST) -> str:
        if isinstance(node, ast.Call):
            name = self._qualified(node.func)
            if name in EXACT or name.startswith(PREFIXES):
                return name
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            name = self._qualified(node)
            return name if name in EXACT else ""
        return ""

    def _qualified(self, node: ast.AST, depth: int = 0) -> str:
        """Return the full name an expression stands for, or an empty string."""
        if depth > 50:
            return ""
        if isinstance(node, ast.Name):
            if node.id in self.aliases:
                return self.aliases[node.id]
            if node.id in _BUILTINS:
                return f"builtins.{node.id}"
            return next((full for star in self.stars if (full := f"{star}.{node.id}") in EXACT), "")
        if isinstance(node, ast.Attribute):
            inner = self._qualified(node.value, depth + 1)
            return f"{inner}.{node.attr}" if inner else ""
        if isinstance(node, ast.Call) and node.args:
            function = self._qualified(node.func, depth + 1)
            first = node.args[0]
            text = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
            if function in ("builtins.__import__", "importlib.import_module"):
                return text
            if function == "builtins.getattr" and len(node.args) > 1:
                attribute = node.args[1].value if isinstance(node.args[1], ast.Constant) else None
                return (
                    f"{self._qualified(first, depth + 1)}.{attribute}" if isinstance(attribute, str) else ""
                )
        return ""


def _main_guards(tree: ast.AST) -> set[int]:
    """Nodes under `if __name__ == "__main__":`, which an import does not run."""
    skipped: set[int] = set()
    for node in getattr(tree, "body", []) if isinstance(tree, ast.Module) else []:
        if isinstance(node, ast.If) and ast.unparse(node.test) in (
            "__name__ == '__main__'",
            "'__main__' == __name__",
        ):
            skipped |= {id(inner) for statement in node.body for inner in ast.walk(statement)}
    return skipped


def _spent(problem: str) -> OutOfBudget:
    return OutOfBudget(
        problem,
        cause="it asks for more work than a scan spends on one source file",
        remedy="look at the file by hand, or remove it",
        check="python.budget",
    )
