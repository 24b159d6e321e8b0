"""The surroundings of a run as the machine reports them: distributions, frameworks, hardware, a few named variables.

Everything here is a report of the machine that ran, signed by whoever ran there: it is believed as far as they are. No
library is imported for it; what torch knows of graphics cards is asked only when the script has imported torch itself.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError
from weighbridge.core.redact import SECRET_NAMES
from weighbridge.recorder.scrub import Scrub

VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "LOCAL_WORLD_SIZE", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS",
    "PYTHONHASHSEED", "WORLD_SIZE",
)  # fmt: skip
"""The only variables of the environment that are written down unasked: they change what a training computes."""
FRAMEWORKS = (
    "accelerate", "bitsandbytes", "catboost", "datasets", "deepspeed", "diffusers", "flash-attn", "flax", "jax", "jaxlib",
    "keras", "lightgbm", "lightning", "llama-cpp-python", "mergekit", "mlflow", "mlflow-skinny", "numpy", "onnx",
    "optimum", "peft", "pyarrow", "pytorch-lightning", "safetensors", "scikit-learn", "sentence-transformers",
    "tensorflow", "timm", "tokenizers", "torch", "torchvision", "transformers", "triton", "trl", "unsloth", "vllm",
    "weighbridge", "xformers", "xgboost",
)  # fmt: skip
MAX_DISTRIBUTIONS = 2000


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed distribution: name, version, and the SHA-256 of the RECORD that lists its files with digests."""

    name: str
    version: str
    record: Digest | None

    def to_json(self) -> dict[str, JSON]:
        """Return the row as it stands in a claim."""
        return {
            "name": self.name,
            "version": self.version,
            "record": str(self.record) if self.record else None,
        }


def distributions() -> tuple[Distribution, ...]:
    """Return what is installed in this interpreter, sorted by name; the first of a name is the one that is imported."""
    found: dict[str, Distribution] = {}
    for one in metadata.distributions():
        said: Any = one  # a damaged installation has neither name nor version, whatever the types say
        try:
            name, version = said.metadata["Name"], said.version
        except (KeyError, OSError, ValueError, TypeError, AttributeError):
            continue
        if not isinstance(name, str) or not isinstance(version, str):
            continue
        key = name.lower().replace("_", "-").replace(".", "-")
        if key in found or len(found) >= MAX_DISTRIBUTIONS:
            continue
        found[key] = Distribution(key[:128], version[:64], _record(one))
    return tuple(found[key] for key in sorted(found))


def _record(one: metadata.Distribution) -> Digest | None:
    """Hash the RECORD as it lies there; what an editable or foreign installation lacks is None."""
    try:
        text = one.read_text("RECORD")
    except (OSError, UnicodeDecodeError):
        return None
    return Digest("sha256", hashlib.sha256(text.encode()).hexdigest()) if text else None


def frameworks(installed: Sequence[Distribution]) -> dict[str, JSON]:
    """Return the versions of Python and of the libraries that models are made with, as far as they are installed."""
    found: dict[str, JSON] = {one.name: one.version for one in installed if one.name in FRAMEWORKS}
    return {"python": f"{platform.python_implementation()} {platform.python_version()}", **found}


def hardware() -> dict[str, JSON]:
    """Return processor, memory and graphics cards as they are reported; no name of the machine or its user."""
    memory: int | None = None
    with suppress(OSError, ValueError, AttributeError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found: dict[str, JSON] = {
        "system": f"{platform.system()} {platform.release()}"[:128],
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": memory,
    }
    return found | _cards()


def _processor() -> str:
    with suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
        for line in file:
            name, colon, value = line.partition(":")
            if colon and name.strip() in ("model name", "Model", "Processor"):
                return value.strip()[:128]
    return platform.processor()[:128]


def _cards() -> dict[str, JSON]:
    """Ask torch for graphics cards, when the script has imported it; `accelerators` is missing where nobody was asked."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return {}
    cards: list[JSON] = []
    try:
        for number in range(min(int(torch.cuda.device_count()), 64)):
            row = torch.cuda.get_device_properties(number)
            cards.append({"name": str(row.name)[:128], "memory": int(row.total_memory)})
        versions = {"cuda": torch.version.cuda, "hip": getattr(torch.version, "hip", None)}
    except Exception as error:  # noqa: BLE001 (drivers raise anything; a report that fails stops no training)
        return {"accelerators_problem": type(error).__name__}
    return {"accelerators": cards, **{name: str(v)[:32] for name, v in versions.items() if v}}


def variables(environ: Mapping[str, str], more: Iterable[str], scrub: Scrub) -> dict[str, JSON]:
    """Return the few variables that may be written down; `more` are names that the caller adds.

    Raises UsageError for a name that looks like a secret's.
    """
    wanted = dict.fromkeys((*VARIABLES, *more))
    for name in wanted:
        if SECRET_NAMES.search(name):
            raise UsageError(
                f"the variable {name} looks like a secret and is not written down",
                cause="a claim is read by everybody",
                remedy="leave it out of environment=",
                check="recorder.secret",
            )
    return {name: scrub.text(environ[name]) for name in sorted(wanted) if name in environ}
