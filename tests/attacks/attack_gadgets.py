"""What an attack makes a loader call or import: names drawn at random, each with the reason it is hostile.

The standard library is read as text (no module of it is imported for this): a function or class counts
when its own source reaches a process, a file, the network, an import, another loader or a dynamic
attribute, directly or through other functions of its module. Beside it: the native twins that have no
source, names of libraries people load models with, ways to reach one name through another, and invented
names (whatever bears them runs as soon as it is imported).
"""

import ast
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

STDLIB = Path(sysconfig.get_paths()["stdlib"])


@dataclass(frozen=True)
class Gadget:
    """A name and why fetching or calling it is hostile; `dotted` needs protocol 4, `kind` is how it was drawn."""

    module: str
    name: str
    why: str
    kind: str
    is_class: bool = False

    @property
    def dotted(self):
        return "." in self.name


_SINKS = {
    "eval": "runs text as code", "exec": "runs text as code", "compile": "makes code out of text",
    "__import__": "imports by name", "open": "opens files", "setattr": "sets any attribute",
    "getattr": "reaches any attribute", "input": "waits for input",
}  # fmt: skip
_SINK_ROOTS = {
    "subprocess": "starts processes", "socket": "opens connections", "ctypes": "calls native code",
    "shutil": "moves and removes files", "webbrowser": "opens a browser", "urllib": "fetches addresses",
    "importlib": "imports by name", "imp": "imports by name", "runpy": "runs modules", "pickle": "reads other pickles",
    "marshal": "reads code objects", "pty": "starts processes", "tempfile": "writes files",
    "multiprocessing": "starts processes", "http": "opens connections", "ftplib": "opens connections",
    "smtplib": "opens connections", "signal": "changes the process", "zipimport": "imports from archives",
}  # fmt: skip
_OS_SINKS = frozenset(
    [
        "system",
        "popen",
        "execv",
        "execve",
        "execl",
        "execvp",
        "spawnv",
        "spawnl",
        "spawnvp",
        "spawnve",
        "startfile",
        "fork",
        "forkpty",
        "kill",
        "killpg",
        "remove",
        "unlink",
        "rmdir",
        "rename",
        "replace",
        "mkdir",
        "makedirs",
        "removedirs",
        "chmod",
        "chown",
        "open",
        "write",
        "symlink",
        "link",
        "putenv",
        "unsetenv",
        "_exit",
        "abort",
        "truncate",
        "chdir",
        "chroot",
        "mkfifo",
        "utime",
        "listdir",
        "scandir",
        "walk",
    ]
)
_SKIP = ("test", "tests", "idle_test", "site-packages", "__pycache__", "turtledemo", "dist-packages")


@cache
def stdlib_modules():
    """Return (module name, path) of every module of the standard library that has a source, sorted."""
    found = []
    for path in STDLIB.rglob("*.py"):
        parts = path.relative_to(STDLIB).with_suffix("").parts
        if any(part in _SKIP or part.startswith(("config-", "test_")) for part in parts):
            continue
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name and name.split(".")[0] in sys.stdlib_module_names and parts[-1] != "__main__":
            found.append((name, path))
    return tuple(sorted(found))


def _dotted(node):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _direct(function, aliases):
    """Return (reason, names called) of one function's own body."""
    called = set()
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        spelled = _dotted(node.func)
        first, _, rest = spelled.partition(".")
        full = aliases.get(first, first) + ("." + rest if rest else "")
        root, _, last = full.partition(".")
        called.add(spelled)
        if full in _SINKS and not (full in ("getattr", "setattr") and _constant(node)):
            return _SINKS[full], called
        if root in _SINK_ROOTS and (last or full != first):
            return _SINK_ROOTS[root], called
        if root in ("os", "posix", "nt") and last in _OS_SINKS:
            return f"calls os.{last}", called
    return "", called


def _constant(node):
    return len(node.args) > 1 and isinstance(node.args[1], ast.Constant)


@cache
def harvest(module, path):
    """Return the gadgets of one module: functions, methods (dotted) and classes that reach a sink."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return ()
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {
                (a.asname or a.name.split(".")[0]): (a.name if a.asname else a.name.split(".")[0])
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and not node.level:
            aliases |= {(a.asname or a.name): f"{node.module}.{a.name}" for a in node.names}
    functions = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            functions[node.name] = _direct(node, aliases)
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    functions[f"{node.name}.{inner.name}"] = _direct(inner, aliases)
    reasons = {name: reason for name, (reason, _) in functions.items() if reason}
    for _ in range(3):
        for name, (_, called) in functions.items():
            owner = name.rpartition(".")[0]
            for spelled in sorted(called):
                other = spelled.replace("self.", owner + ".", 1) if owner else spelled
                if name not in reasons and other in reasons:
                    reasons[name] = f"{reasons[other]}, by way of {other}"
    return tuple(_gadgets(module, reasons))


def _gadgets(module, reasons):
    for name, reason in sorted(reasons.items()):
        owner, _, method = name.rpartition(".")
        if method in ("__init__", "__new__"):
            yield Gadget(module, owner, reason, "stdlib class", is_class=True)
        elif owner and method.startswith("__"):
            continue
        else:
            yield Gadget(module, name, reason, "stdlib method" if owner else "stdlib function")


def from_stdlib(rng):
    """Draw a module that has gadgets, then one of them."""
    while True:
        found = harvest(*rng.choice(stdlib_modules()))
        if found:
            return rng.choice(found)


_NATIVE = {
    "posix": "system popen execv execve fork kill remove unlink rename rmdir putenv open write posix_spawn posix_spawnp _exit abort",
    "nt": "system startfile execv spawnv remove unlink kill putenv",
    "os": "system popen execl execvp spawnlp removedirs kill _exit fdopen",
    "builtins": "eval exec compile __import__ open getattr globals input breakpoint",
    "__builtin__": "eval execfile apply reduce file __import__ getattr",
    "_io": "open FileIO open_code", "_posixsubprocess": "fork_exec", "_winapi": "CreateProcess", "marshal": "loads load",
    "_pickle": "loads load Unpickler", "pickle": "loads load _loads Unpickler", "_ctypes": "dlopen call_function",
    "ctypes": "CDLL PyDLL string_at memmove", "_imp": "create_dynamic exec_dynamic load_dynamic", "_socket": "socket fromfd getaddrinfo",
    "_sqlite3": "connect", "sqlite3": "connect", "sys": "exit settrace _getframe addaudithook", "_frozen_importlib": "__import__ _gcd_import",
    "_frozen_importlib_external": "SourceFileLoader ExtensionFileLoader", "types": "FunctionType CodeType",
    "_operator": "attrgetter methodcaller call", "operator": "attrgetter methodcaller call", "functools": "partial reduce",
    "_functools": "partial reduce", "itertools": "starmap", "code": "InteractiveInterpreter interact", "codeop": "compile_command",
    "pkgutil": "resolve_name get_data", "pydoc": "locate pipepager safeimport", "timeit": "timeit Timer main", "cProfile": "run runctx", "profile": "run",
    "bdb": "Bdb", "pdb": "run runeval", "trace": "Trace", "doctest": "debug_script", "logging.config": "fileConfig dictConfig listen", "venv": "create",
    "ensurepip": "bootstrap _run_pip", "pip": "main", "pip._internal": "main", "site": "addsitedir addpackage", "uuid": "_get_command_stdout _popen",
    "_osx_support": "_read_output _find_build_tool", "_aix_support": "_read_cmd_output", "_pyrepl.pager": "pipe_pager tempfile_pager",
    "imaplib": "IMAP4_stream", "idlelib.pyshell": "ModifiedInterpreter.runcode", "lib2to3.pgen2.grammar": "Grammar.loads", "asyncio.unix_events": "_UnixSubprocessTransport._start",
    "multiprocessing.util": "spawnv_passfds", "multiprocessing.connection": "Client", "commands": "getoutput", "popen2": "popen3", "nturl2path": "url2pathname",
    "ssl": "get_server_certificate", "smtpd": "SMTPServer", "crypt": "crypt", "dbm": "open", "shelve": "open", "linecache": "getlines updatecache",
}  # fmt: skip
_LIBRARIES = {
    "numpy": "load fromfile memmap save loadtxt", "numpy.f2py.crackfortran": "getlincoef myeval param_eval", "numpy.testing._private.utils": "runstring",
    "numpy.lib.npyio": "load NpzFile", "numpy.ctypeslib": "load_library", "numpy.distutils.exec_command": "exec_command", "numpy.core._internal": "_ctypes",
    "torch": "load hub.load ops.load_library compile save", "torch.hub": "load load_state_dict_from_url download_url_to_file", "torch.utils.cpp_extension": "load load_inline",
    "torch.utils.collect_env": "run run_and_read_all", "torch.jit": "load script CompilationUnit", "torch.package": "PackageImporter", "torch.serialization": "load _get_restore_location",
    "torch.utils._config_module": "load_config ConfigModule.load_config", "torch._dynamo.guards": "GuardBuilder.get", "torch._inductor.codecache": "compile_file PyCodeCache.load",
    "torch.fx.experimental.symbolic_shapes": "ShapeEnv.evaluate_guards_expression", "torch.distributed.rpc": "rpc_sync init_rpc", "torch.utils.data.datapipes.utils.decoder": "basichandlers",
    "torch.utils.bottleneck.__main__": "run_cprofile", "torch.fx._symbolic_trace": "Tracer", "torch.storage": "_load_from_bytes", "torch._utils_internal": "prepare_multiprocessing_environment",
    "pandas": "read_pickle read_csv eval read_sql", "pandas.core.computation.eval": "eval", "pandas.io.pickle": "read_pickle", "joblib": "load Parallel delayed", "joblib.numpy_pickle": "load _unpickle",
    "sklearn.datasets": "fetch_openml load_files", "sklearn.utils._estimator_html_repr": "_write_estimator_html", "sklearn.feature_extraction.text": "TfidfVectorizer.decode", "scipy.io": "loadmat", "scipy.weave": "inline",
    "dill": "loads load_session source.importable", "dill._dill": "_create_function _import_module _load_type _create_code", "cloudpickle": "loads", "cloudpickle.cloudpickle": "_make_function _builtin_type subimport _make_skeleton_class _function_setstate",
    "keras.models": "load_model", "keras.utils": "get_file", "keras.saving": "deserialize_keras_object", "tensorflow": "io.read_file py_function load_op_library", "tensorflow.python.framework.load_library": "load_op_library",
    "transformers": "pipeline AutoModel.from_pretrained", "transformers.dynamic_module_utils": "get_class_from_dynamic_module", "datasets": "load_dataset", "huggingface_hub": "snapshot_download upload_file", "peft": "PeftModel.from_pretrained",
    "yaml": "load unsafe_load full_load", "jinja2": "Template Environment.from_string", "requests": "get post", "urllib3": "PoolManager.request", "fsspec": "open", "smart_open": "open", "boto3": "client",
    "cffi": "FFI.dlopen", "numba": "jit", "cython": "inline", "sympy": "sympify", "pexpect": "run spawn", "sh": "Command", "invoke": "run", "fabric.operations": "local", "paramiko": "SSHClient.connect",
    "IPython.utils.process": "system", "IPython": "start_ipython", "ipykernel.kernelapp": "launch_new_instance", "setuptools.sandbox": "run_setup", "pkg_resources": "run_script EntryPoint.parse", "distutils.spawn": "spawn",
    "flask": "render_template_string", "mako.template": "Template", "django.core.management": "call_command", "celery.app.base": "Celery.autodiscover_tasks", "hydra.utils": "instantiate get_class", "hydra._internal.utils": "_locate",
    "ultralytics.utils.checks": "check_requirements", "fastai.learner": "load_learner", "flair.file_utils": "cached_path", "spacy": "load", "spacy.util": "import_file", "gensim.utils": "unpickle", "nltk.data": "load",
    "onnxruntime": "InferenceSession", "mlflow.pyfunc": "load_model", "bentoml": "load", "skops.io": "load", "wandb": "init login", "xgboost.core": "_load_lib", "lightgbm.basic": "_load_lib", "catboost": "CatBoost.load_model",
    "guarddog.analyzer": "run", "PIL.ImageMath": "eval", "PIL.Image": "open", "matplotlib.texmanager": "TexManager._run_checked_subprocess", "lightning.fabric.utilities.cloud_io": "_load", "nemo.utils.model_utils": "import_class_by_path",
}  # fmt: skip
_THROUGH = (
    ("torch._utils", "sys.modules.clear"), ("torch._utils", "torch.hub.load"), ("collections", "_sys.exit"), ("collections", "abc.sys.exit"), ("pathlib", "os.system"), ("argparse", "_os.remove"),
    ("datetime", "sys._getframe"), ("numpy", "f2py.crackfortran.myeval"), ("numpy", "ctypeslib.load_library"), ("uuid", "os.system"), ("builtins", "object.__subclasses__"), ("builtins", "list.__class__.mro"),
    ("builtins", "dict.fromkeys.__self__.__base__"), ("numpy", "ndarray.tofile"), ("numpy", "ndarray.dump"), ("numpy", "dtype.__class__"), ("collections", "OrderedDict.__init__.__globals__"), ("decimal", "Decimal.__reduce__"),
    ("fractions", "sys.modules"), ("fractions", "Fraction.__init_subclass__"), ("torch", "Size.__class__"), ("torch._utils", "_rebuild_tensor.__globals__.get"), ("numpy._core.multiarray", "_reconstruct.__call__"),
    ("collections", "_collections_abc.sys.modules.get"), ("pathlib", "Path.unlink"), ("pathlib", "Path.write_text"), ("pathlib", "PosixPath.rmdir"), ("argparse", "Namespace.__init__.__globals__"), ("builtins", "str.format"),
    ("numpy.random._pickle", "np.load"), ("torch.serialization", "os.system"), ("torch.storage", "io.open"), ("joblib.numpy_pickle", "Path.unlink"), ("sklearn.utils", "os.system"), ("builtins", "bytes.fromhex.__self__"),
)  # fmt: skip
_SYLLABLES = (
    "ka",
    "lo",
    "mi",
    "tor",
    "ch",
    "num",
    "py",
    "sk",
    "learn",
    "x",
    "os",
    "net",
    "zu",
    "ben",
    "ra",
    "data",
    "io",
    "sys",
    "re",
    "the",
)


def native(rng):
    """Draw a name of the interpreter or a private twin of one."""
    module = rng.choice(sorted(_NATIVE))
    return Gadget(
        module, rng.choice(_NATIVE[module].split()), "known to run, open, import or reach", "native"
    )


def of_library(rng):
    """Draw a name of a library that models are loaded with."""
    module = rng.choice(sorted(_LIBRARIES))
    return Gadget(
        module, rng.choice(_LIBRARIES[module].split()), "loads, fetches, imports or runs", "library"
    )


def through(rng):
    """Draw an attribute path that begins at a harmless name or module."""
    module, name = rng.choice(_THROUGH)
    return Gadget(module, name, "reaches through a harmless name to another", "dotted")


def invented(rng):
    """Make up a module nobody has seen: importing it runs whatever comes with the attack."""

    def word():
        return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(1, 3)))

    module = ".".join(word() for _ in range(rng.randint(1, 4)))
    twist = rng.randrange(6)
    if twist == 0:
        module = rng.choice(("torch", "numpy", "sklearn", "collections")) + "_" + word()
    elif twist == 1:
        module = rng.choice(("torch", "numpy", "sklearn.svm", "transformers", "__torch__")) + "." + word()
    elif twist == 2:
        module = module.replace("o", "\u043e").replace("a", "\u0430")
    name = word() if rng.random() < 0.5 else word().title() + rng.choice(("Model", "Encoder", "Layer", "_v2"))
    return Gadget(
        module,
        name,
        "a module that comes with the attack runs when it is imported",
        "invented",
        is_class=rng.random() < 0.3,
    )


def draw(rng):
    """Draw any gadget; half come from walking the standard library."""
    return rng.choice((from_stdlib, from_stdlib, from_stdlib, native, of_library, through, invented))(rng)


def plain(rng):
    """Draw a gadget whose name has no dot, for forms that cannot spell one."""
    while True:
        gadget = draw(rng)
        if not gadget.dotted:
            return gadget
