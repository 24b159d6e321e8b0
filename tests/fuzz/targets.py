"""What is fuzzed: one row a target, each scanning bytes as a model of one file.

A row is a name, the file name the bytes are given (a hint to the scanner at most), the seconds of a long
run, the seeds, and the ways of changing them that know the format (`mutate`). A module `seeds_<name>.py`
beside this one with a function `<target>_seeds()` or `seeds()` adds to the seeds of every row that lists it.
"""

import importlib
import importlib.util
import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import mutate
import seeds_honest

from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner.engine import scan_files

LONG, SHORT = 600, 60
ATTACKS = 24
_NUMBERS = re.compile(r"\d+|'[^']*'|\"[^\"]*\"")


class Fault(Exception):
    """The scanner broke one of its promises: `kind` says which."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Target:
    """One row."""

    name: str
    path: str
    seconds: int
    families: tuple = ()
    modules: tuple = ()
    honest: tuple = ()
    changes: tuple[Callable, ...] = mutate.PLAIN

    def run(self, data):
        """Scan `data`; return what the report is about, as a set of words; raise Fault."""
        return scan(self.path, data)

    def seeds(self):
        """Return the seeds: honest files, attacks of the families, and those of the modules, without doubles."""
        return _seeds(self)


def scan(path, data):
    """Scan one file and check the promises that hold for any bytes whatever."""
    manifest = Manifest.of([FileEntry(path, len(data), Digest.of(data))])
    try:
        report = scan_files("fuzz", manifest, lambda _: data)
    except Exception as error:
        raise Fault("crash", f"scan_files raised {type(error).__name__}: {error}") from error
    for finding in report.findings:
        if "reading it ended in" in finding.message:
            raise Fault("crash", finding.message)
    if report.verdict.passes and not report.coverage.complete:
        raise Fault("coverage", f"{report.verdict.value} although {report.coverage} is not complete")
    if zlib.crc32(data) % 16 == 0:
        again = scan_files("fuzz", manifest, lambda _: data)
        if canonical(report.to_json()) != canonical(again.to_json()):
            raise Fault("unstable", "two scans of the same bytes differ")
    words = {f"{finding.rule} {_NUMBERS.sub('#', finding.message)[:80]}" for finding in report.findings}
    return frozenset(words | set(report.formats.values()) | {report.verdict.value})


@cache
def _seeds(target):
    import generate

    found = [data for name in target.honest for data in getattr(seeds_honest, name)()]
    for module in target.modules:
        if importlib.util.find_spec(module):
            loaded = importlib.import_module(module)
            found += getattr(loaded, f"{target.name}_seeds", getattr(loaded, "seeds", list))()
    for number in range(len(generate.FAMILIES)):
        maker = generate.FAMILIES[number][0]
        if maker.__name__ in target.families:
            for index in range(ATTACKS):
                files, _ = maker(random.Random(f"fuzz {number} {index}"))
                found += files.values()
    return tuple(dict.fromkeys(bytes(data) for data in found if len(data) <= mutate.LARGEST))


PICKLES = (*mutate.PLAIN, mutate.opcodes, mutate.opcodes, mutate.splice_opcodes)
ZIPS = (*mutate.PLAIN, mutate.member, mutate.member, mutate.zip_fields)
TEXTS = (*mutate.PLAIN, mutate.words, mutate.words, mutate.json_value)

TARGETS = {
    row.name: row
    for row in (
        Target("pickle", "model.pkl", LONG, ("bare", "bare_text"), ("seeds_pickle", "seeds_profiles"), ("pickles",), PICKLES),
        Target("zip", "model.zip", LONG, ("hidden_pickle", "wrong_twin", "nest", "npz", "zip_polyglot", "slip"), ("seeds_zip", "seeds_archives"), ("zips",), ZIPS),
        Target("torch", "model.pt", LONG, ("torch_zip", "torch_extra", "torch_package", "torch_pt2", "torch_legacy", "torch_tar", "persistent"), ("seeds_torch",), ("checkpoints",), (*ZIPS, *PICKLES)),
        Target("safetensors", "model.safetensors", LONG, ("safetensors", "safetensors_polyglot"), ("seeds_safetensors",), ("tensors",), (*mutate.PLAIN, mutate.header, mutate.header)),
        Target("gguf", "model.gguf", LONG, ("gguf",), ("seeds_gguf", "seeds_graphs"), ("ggufs",), mutate.PLAIN),
        Target("joblib", "model.joblib", LONG, ("joblib_raw", "joblib_packed"), ("seeds_joblib", "seeds_compressed"), ("joblibs",), (*PICKLES, mutate.unpacked)),
        Target("npy", "array.npy", SHORT, ("npy", "npy_renamed"), ("seeds_npy",), ("arrays",), PICKLES),
        Target("npz", "arrays.npz", SHORT, ("npz",), (), ("arrays",), ZIPS),
        Target("tar", "model.tar", SHORT, ("nemo", "slip", "torch_tar"), ("seeds_tar",), ("tars",), mutate.PLAIN),
        Target("7z", "model.7z", SHORT, (), ("seeds_7z", "seeds_seven_zip"), ("seven_zips",), mutate.PLAIN),
        Target("compressed", "model.pkl.gz", SHORT, ("joblib_packed",), ("seeds_compressed",), ("packed_texts",), (*mutate.PLAIN, mutate.unpacked)),
        Target("keras", "model.keras", SHORT, ("keras",), ("seeds_keras", "seeds_hdf5"), (), (*ZIPS, mutate.member_json)),
        Target("hdf5", "model.h5", SHORT, ("hdf5",), ("seeds_hdf5", "seeds_keras"), (), mutate.PLAIN),
        Target("onnx", "model.onnx", SHORT, ("onnx",), ("seeds_onnx", "seeds_graphs"), (), mutate.PLAIN),
        Target("savedmodel", "saved_model.pb", SHORT, ("saved_model",), ("seeds_savedmodel", "seeds_graphs"), (), mutate.PLAIN),
        Target("tflite", "model.tflite", SHORT, ("tflite",), ("seeds_tflite", "seeds_graphs"), (), mutate.PLAIN),
        Target("media", "picture.png", SHORT, (), ("seeds_graphs",), (), mutate.PLAIN),
        Target("sentencepiece", "tokenizer.model", SHORT, (), ("seeds_graphs",), (), mutate.PLAIN),
        Target("ubjson", "model.ubj", SHORT, (), ("seeds_graphs",), (), mutate.PLAIN),
        Target("catboost", "model.cbm", SHORT, (), ("seeds_graphs",), (), mutate.PLAIN),
        Target("flax", "flax_model.msgpack", SHORT, (), ("seeds_graphs",), (), mutate.PLAIN),
        Target("checkpoint", "variables.index", SHORT, (), ("seeds_graphs",), (), mutate.PLAIN),
        Target("tfevents", "events.out.tfevents.1.host", SHORT, (), ("seeds_tfevents",), (), mutate.PLAIN),
        Target("skops", "model.skops", SHORT, ("skops",), ("seeds_skops",), (), (*ZIPS, mutate.member_json)),
        Target("mar", "model.mar", SHORT, ("mar",), (), (), ZIPS),
        Target("config", "config.json", SHORT, ("config",), ("seeds_config",), ("configs",), TEXTS),
        Target("template", "chat_template.jinja", SHORT, ("templates",), ("seeds_templates", "seeds_jinja"), ("jinjas",), TEXTS),
        Target("yaml", "config.yaml", SHORT, ("yaml",), ("seeds_yaml",), ("yamls",), TEXTS),
        Target("python", "modeling.py", SHORT, ("source",), ("seeds_python", "seeds_source"), ("sources",), TEXTS),
        Target("notebook", "demo.ipynb", SHORT, ("source",), ("seeds_notebooks",), (), TEXTS),
        Target("requirements", "requirements.txt", SHORT, ("source",), ("seeds_requirements",), ("requirements",), TEXTS),
        Target("program", "model.bin", SHORT, ("program", "no_reader"), ("seeds_programs",), (), mutate.PLAIN),
    )
}  # fmt: skip
