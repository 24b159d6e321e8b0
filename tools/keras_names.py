"""Write the list of the layers, optimizers, losses and the like of Keras and KerasHub, read from their wheels without importing them.

    python tools/keras_names.py WHEEL... > src/weighbridge/scanner/data/keras_names.json

A class is listed when Keras exports it under a module that models are made of, or when it derives from one
of the bases below; a function when it is exported as an activation, loss, metric or operation on tensors.
A class whose own source opens files, imports by name, or loads other models is left out and printed.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

BASES = frozenset({
    "Layer", "Operation", "Optimizer", "BaseOptimizer", "Loss", "Metric", "Initializer", "Regularizer", "Constraint",
    "LearningRateSchedule", "DTypePolicy", "QuantizedDTypePolicy", "Quantizer", "Model", "PipelineModel", "Wrapper", "RNN",
})  # fmt: skip
CLASS_MODULES = frozenset({
    "keras", "keras.layers", "keras.models", "keras.optimizers", "keras.optimizers.schedules", "keras.losses",
    "keras.metrics", "keras.initializers", "keras.regularizers", "keras.constraints", "keras.dtype_policies",
    "keras.mixed_precision", "keras.quantizers", "keras.random", "keras.optimizers.legacy", "keras.ops",
    "keras.optimizers.experimental", "keras.layers.experimental", "keras.layers.experimental.preprocessing",
    "keras.experimental", "keras.utils.FeatureSpace", "keras.src.utils.FeatureSpace",
})  # fmt: skip
FUNCTION_MODULES = frozenset({
    "keras.activations", "keras.losses", "keras.metrics", "keras.initializers", "keras.regularizers", "keras.constraints",
    "keras.ops", "keras.ops.nn", "keras.ops.numpy", "keras.ops.image", "keras.ops.linalg",
})  # fmt: skip
CALLS_BACK = frozenset({
    "cond", "custom_gradient", "fori_loop", "map", "scan", "associative_scan", "switch", "while_loop", "vectorized_map",
    "vectorize", "fused_loop", "get", "serialize", "deserialize",
})  # fmt: skip
"""Functions that call what they are given, or look names up."""
ACTS = frozenset({
    "open", "exec", "eval", "compile", "import_module", "__import__", "func_load", "load_model", "load", "loads",
    "get_file", "gfile", "GFile", "py_function", "numpy_function", "load_op_library", "urlopen", "system", "popen",
    "saved_model", "TFSMLayer", "load_vocabulary", "get_vocabulary_from_file", "pickle", "marshal", "subprocess", "exists", "loadtxt", "genfromtxt",
})  # fmt: skip
OUTSIDE = ("_test.py", "/testing/", "/tests/", "/callbacks/", "/applications/", "/datasets/", "/export/", "/saving/", "/legacy/",
           "/legacy_tf_layers/", "/wrappers/", "/distribute/", "/testing_infra/", "/api/", "/integration_test", "/mixed_precision/test", "/visualization/",
           "/benchmarks/", "/premade_models/", "/feature_column/", "_saved_model", "/utils/")  # fmt: skip
KEPT = ("/utils/feature_space.py", "/legacy/layers.py", "/optimizers/legacy/")


LOADING = ("from_config", "__init__", "build", "build_from_config", "compile_from_config", "call", "__call__")
READ_BY_HAND = frozenset({"Model", "Optimizer", "_BaseOptimizer"})
"""`Model.from_config` hands over to Functional, whose parts are judged where they stand; the others ask for the platform's name."""
BY_KEY = frozenset({"set_proto", "set_vocabulary", "set_vocabulary_and_merges"})
"""Methods that open a file when they are given a text: the scanner refuses texts under the keys that lead to them."""


def main(paths: list[str]) -> None:
    """Read the wheels and print the list."""
    classes: dict[str, set[str]] = defaultdict(set)
    functions: dict[str, set[str]] = defaultdict(set)
    left_out: set[str] = set()
    sources = {}
    for path in map(Path, paths):
        sources[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        read_wheel(path, classes, functions, left_out)
    document = {
        "schema": "weighbridge.keras-names/1",
        "made": "tools/keras_names.py, from the wheels' source, nothing imported",
        "sources": sources,
        "classes": {
            key: sorted(value - left_out) for key, value in sorted(classes.items()) if value - left_out
        },
        "functions": {key: sorted(value - CALLS_BACK) for key, value in sorted(functions.items()) if value},
        "left_out": sorted(left_out),
    }
    print(
        json.dumps(document, indent=1, separators=(",", ": ")).replace(",\n   ", ", ").replace("[\n   ", "[")
    )
    print("left out:", *sorted(left_out), file=sys.stderr)


def read_wheel(
    path: Path, classes: dict[str, set[str]], functions: dict[str, set[str]], left_out: set[str]
) -> None:
    """Add what one wheel exports and derives."""
    trees: dict[str, ast.Module] = {}
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            if name.endswith(".py") and (
                not any(part in name for part in OUTSIDE) or any(part in name for part in KEPT)
            ):
                trees[name.removesuffix(".py").replace("/", ".")] = ast.parse(wheel.read(name))
    known = {
        node.name: node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    bases = {name: {last(base) for base in node.bases} for name, node in known.items()}
    for module, tree in trees.items():
        for node in tree.body:
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                continue
            exported = {name for item in node.decorator_list for name in _exports(item)}
            if isinstance(node, ast.FunctionDef):
                for full in exported:
                    where, _, short = full.rpartition(".")
                    if where in FUNCTION_MODULES:
                        functions[where].add(short)
                        functions[module].add(node.name)
                continue
            if acts(node, known) and node.name not in READ_BY_HAND:
                left_out.update({node.name, *(full.rpartition(".")[2] for full in exported)})
                continue
            if derives(node.name, bases):
                classes[module].add(node.name)
            for full in exported:
                where, _, short = full.rpartition(".")
                if where in CLASS_MODULES or (where == "keras.utils" and short == "FeatureSpace"):
                    classes[where].add(short)
                    classes[module].add(node.name)


def last(node: ast.expr) -> str:
    """Return the last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def derives(name: str, bases: dict[str, set[str]]) -> bool:
    """Tell whether a class descends from one of BASES, by the names its source gives."""
    seen: set[str] = set()
    work = [name]
    while work:
        here = work.pop()
        if here in BASES:
            return True
        if here not in seen:
            seen.add(here)
            work.extend(bases.get(here, ()))
    return False


def _exports(node: ast.expr) -> list[str]:
    if not isinstance(node, ast.Call) or last(node.func) not in ("keras_export", "tf_export"):
        return []
    return [
        item.value
        for argument in [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "v1")]
        for item in ast.walk(argument)
        if isinstance(item, ast.Constant) and isinstance(item.value, str)
    ]


def acts(node: ast.ClassDef, known: dict[str, ast.ClassDef]) -> bool:
    """Whether making an object of the class from a configuration may do more than compute.

    Followed are the methods that loading calls, and from there every method of the class or of its bases that is
    named as an attribute of `self`, `cls` or `super()`.
    """
    methods: dict[str, list[ast.FunctionDef]] = defaultdict(list)
    work, seen = [node.name], set()
    first = node
    while work:
        here = work.pop()
        if here in seen or (here not in known and here != first.name):
            continue
        seen.add(here)
        body = first if here == first.name else known[here]
        for item in body.body:
            if isinstance(item, ast.FunctionDef):
                methods[item.name].append(item)
        work.extend(last(base) for base in body.bases)
    reached: set[str] = set()
    todo = list(LOADING)
    while todo:
        name = todo.pop()
        if name in reached:
            continue
        reached.add(name)
        for method in methods.get(name, ()):
            for item in ast.walk(method):
                if _named(item, {row.arg for row in (*method.args.args, *method.args.kwonlyargs)}):
                    return True
                if isinstance(item, ast.Attribute) and _of_self(item.value) and item.attr not in BY_KEY:
                    todo.append(item.attr)
    return False


def _named(node: ast.AST, parameters: set[str]) -> bool:
    """Whether a name or attribute is one that acts; a method may be called `compile` or `open` by its own right."""
    if isinstance(node, ast.Name):
        return node.id in ACTS - parameters
    return isinstance(node, ast.Attribute) and node.attr in ACTS - {"compile", "eval", "exists", "open"}


def _of_self(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


if __name__ == "__main__":
    main(sys.argv[1:])
