"""Write the list of NeMo's modules and losses that a configuration may have built, read from its wheel without importing it.

    python tools/nemo_names.py WHEEL > src/weighbridge/scanner/data/nemo_names.json

A class is listed when it lies among NeMo's modules or losses, derives from one of the bases below, and when
neither making it nor any method that leads to opens files, imports by name, or fetches another model.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path

import keras_names

BASES = frozenset({"NeuralModule", "Loss", "Module", "Exportable", "AccessMixin", "AdapterModuleMixin"})
ROOMS = re.compile(
    r"nemo/collections/(asr|tts|audio|common)/(modules|losses|parts/submodules)/.*\.py|nemo/(core|collections)/.*\.py"
)
LISTED = re.compile(r"nemo\.collections\.(asr|tts|audio|common)\.(modules|losses)(\.|$)")
ACTS = keras_names.ACTS | {
    "from_pretrained", "restore_from", "load_from_checkpoint", "hf_hub_download", "load_state_dict_from_url", "import_class_by_path",
    "hydra_instantiate", "Process", "Popen", "run", "check_output", "cpp_extension",
}  # fmt: skip


READ_BY_HAND = frozenset({"BeamSearchDecoderWithLM"})
"""Hands the name of a file to a native library."""


def main(path: Path) -> None:
    """Read the wheel and print the list."""
    keras_names.ACTS = ACTS
    keras_names.BASES = BASES
    keras_names.LOADING = ("__init__", "__new__", "from_config_dict", "__post_init__")
    trees: dict[str, ast.Module] = {}
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            if ROOMS.fullmatch(name):
                module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                trees[module] = ast.parse(wheel.read(name))
    known = {
        node.name: node for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef)
    }
    bases = {name: {keras_names.last(base) for base in node.bases} for name, node in known.items()}
    found: set[str] = set()
    left_out: set[str] = set()
    for module, tree in trees.items():
        for node in tree.body:
            if (
                not isinstance(node, ast.ClassDef)
                or not LISTED.match(module)
                or not keras_names.derives(node.name, bases)
            ):
                continue
            (left_out if node.name in READ_BY_HAND or keras_names.acts(node, known) else found).add(
                f"{module}.{node.name}"
            )
    for module, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and LISTED.match(module):
                found |= {
                    f"{module}.{row.name}" for row in node.names if f"{node.module}.{row.name}" in found
                }
    document = {
        "schema": "weighbridge.nemo-names/1",
        "made": "tools/nemo_names.py, from the wheel's source, nothing imported",
        "sources": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
        "classes": sorted(found),
        "left_out": sorted(left_out),
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
