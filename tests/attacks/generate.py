"""Make hostile model files from primitives combined at random: gadget, opcode form, container, corruption.

Nothing here is ever loaded; what a payload would call is inert all the same. Sample number N of seed S is
always the same on one version of Python (the gadgets are read out of its standard library), so one
number finds it again: `python tests/attacks/generate.py --seed S --only N --out FOLDER`.
"""

import argparse
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("attacks", "fuzz", "")]
import attack_containers as containers  # noqa: E402  the path comes first
import attack_formats as formats  # noqa: E402  the path comes first
import attack_listed as listed  # noqa: E402  the path comes first
import attack_texts as texts  # noqa: E402  the path comes first
import attack_twists as twists  # noqa: E402  the path comes first

FAMILIES = (
    *[(containers.bare, "ABCDG")] * 8, (containers.bare_text, "AF"), *[(containers.torch_zip, "ABCDG")] * 2, (containers.torch_extra, "AE"), (containers.torch_package, "AI"), (containers.torch_pt2, "AE"), *[(containers.torch_legacy, "AE")] * 2,
    (containers.torch_tar, "AE"), *[(containers.joblib_raw, "AE")] * 2, *[(containers.joblib_packed, "AE")] * 2, (containers.npy, "AE"), (containers.npy_renamed, "AF"), (containers.npz, "AE"), *[(containers.nest, "AEF")] * 2,
    (containers.mar, "AI"), (containers.nemo, "AI"), (containers.safetensors_polyglot, "EF"), (containers.zip_polyglot, "EF"), *[(containers.hidden_pickle, "E")] * 2, *[(containers.wrong_twin, "E")] * 2, (containers.persistent, "CE"),
    *[(formats.safetensors, "E")] * 2, (formats.gguf, "HI"), (formats.keras, "I"), (formats.onnx, "I"), (formats.saved_model, "I"), (formats.tflite, "I"), (formats.skops, "GI"), (formats.no_reader, "FI"), *[(formats.slip, "EH")] * 2,
    *[(listed.misuse, "BDG")] * 3, *[(listed.addresses, "G")] * 2, (listed.short_lists, "G"), (listed.joblib_objects, "AE"), (listed.joblib_lengths, "E"), (listed.numpy_pickled_raw, "AD"), (listed.sizes, "EG"),
    *[(twists.packing, "EH")] * 2, *[(twists.tapes, "E")] * 2, *[(twists.directories, "E")] * 2, (twists.npy_header, "EI"), (twists.keras_deep, "I"), (twists.hdf5, "EI"), (twists.onnx_deep, "I"), (twists.disguised, "EF"),
    *[(texts.templates, "I")] * 3, (texts.config, "I"), (texts.yaml, "I"), (texts.source, "I"), (texts.program, "FI"),
)  # fmt: skip
"""Each family with the classes of bypass it stands for (A missing name, B dotted, C computed, D hidden call,
E two readers, F name or magic, G listed class as gadget, H exhaustion, I execution outside of pickles)."""


@dataclass(frozen=True)
class Sample:
    """One attack: files by path, how it was made, and why it is one."""

    seed: int
    number: int
    family: str
    classes: str
    files: dict
    recipe: tuple

    @property
    def label(self):
        return (
            f"{self.seed}-{self.number:05d} {self.family}: {'; '.join(word for word in self.recipe if word)}"
        )


def sample(seed, number):
    """Make sample `number` of `seed`."""
    rng = random.Random(f"{seed} {number}")
    maker, classes = FAMILIES[number % len(FAMILIES)]
    files, recipe = maker(rng)
    return Sample(
        seed,
        number,
        f"{maker.__module__.removeprefix('attack_')}.{maker.__name__}",
        classes,
        files,
        tuple(recipe),
    )


def samples(seed, count):
    """Make `count` samples; families take turns."""
    return (sample(seed, number) for number in range(count))


def main():
    """Write samples into a folder, one folder each, with a list of what they are."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--count", type=int, default=len(FAMILIES) * 20)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--only", type=int, help="write only this sample")
    words.add_argument("--out", type=Path, required=True)
    chosen = words.parse_args()
    rows = []
    for number in range(chosen.count) if chosen.only is None else (chosen.only,):
        one = sample(chosen.seed, number)
        folder = chosen.out / f"{one.seed}-{number:05d}"
        for path, data in one.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        rows.append(
            {"folder": folder.name, "family": one.family, "classes": one.classes, "recipe": one.recipe}
        )
    (chosen.out / "samples.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    sys.stdout.write(f"{len(rows)} samples in {chosen.out}\n")


if __name__ == "__main__":
    main()
