"""Attach to a training by Hugging Face's Trainer: its arguments, its metrics, and the files that its data came from.

    with weighbridge.record("fine-tune", inputs=[data], models=[base], outputs=[out]) as run:
        trainer = Trainer(…, callbacks=[RecorderCallback(run)])
        trainer.train()
        trainer.model.save_pretrained(out)

The only module here that imports transformers, and only whoever uses it imports this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from weighbridge.recorder.record import Recording

NAME = "trainer"
MAX_FILES = 100
_PLACES = ("output_dir", "logging_dir", "run_name", "hub_model_id", "deepspeed_plugin", "local_rank")
"""Arguments that say where on somebody's machine, or as whom, a training ran; nothing depends on them."""


class RecorderCallback(TrainerCallback):  # type: ignore[misc] # (untyped where types are checked)
    """Tells a recording what a Trainer does; the block of the recording decides when that is claimed."""

    def __init__(self, run: Recording) -> None:
        self.run = run
        self._facts: dict[str, Any] = {}
        run.attach(NAME, lambda: self._facts)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note arguments, the model's own configuration, and which files the training data lies in."""
        del control
        said = args.to_sanitized_dict() if hasattr(args, "to_sanitized_dict") else {}
        arguments = {name: value for name, value in said.items() if name not in _PLACES and value is not None}
        self._facts["arguments"] = arguments
        self._facts["world_size"] = int(getattr(args, "world_size", 1))
        self._facts["max_steps"] = int(state.max_steps)
        model = kwargs.get("model")
        self._facts["model"] = type(model).__name__ if model is not None else ""
        self._facts["parameters"] = _count(model)
        self._facts |= self._data(kwargs.get("train_dataloader"))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Note measured values; the last of each name counts."""
        del args, state, control, kwargs
        for name, value in (logs or {}).items():
            if isinstance(value, (int, float)) and value == value and abs(value) != float("inf"):  # noqa: PLR0124 (what is not itself is no number)
                self.run.metric(str(name), value)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note how far the training came."""
        del args, control, kwargs
        self._facts["steps"] = int(state.global_step)
        self._facts["epochs"] = float(state.epoch or 0)
        self._facts["flos"] = float(state.total_flos or 0)

    def _data(self, loader: Any) -> dict[str, Any]:
        """Say how many rows were trained on, and which of the files they lie in were not among the run's inputs.

        A dataset that was loaded through a cache lies elsewhere than where it was read from: it is then named here, for
        its files were not hashed by this run.
        """
        data = getattr(loader, "dataset", None)
        try:
            rows: int | None = len(data) if data is not None else None
        except TypeError:  # it streams
            rows = None
        files = [Path(str(row["filename"])) for row in _cache_files(data)]
        inputs = [read.input.path.resolve() for read in self.run.inputs]
        outside = [path for path in files if not any(_inside(path.resolve(), one) for one in inputs)]
        return {
            "rows": rows,
            "fingerprint": str(getattr(data, "_fingerprint", "")),
            "files_outside_inputs": [path.name for path in outside[:MAX_FILES]],
        }


def _count(model: Any) -> int | None:
    try:
        return sum(int(one.numel()) for one in model.parameters())
    except (AttributeError, TypeError):
        return None


def _cache_files(data: Any) -> Iterable[Mapping[str, Any]]:
    found = getattr(data, "cache_files", None)
    return (
        [row for row in found if isinstance(row, Mapping) and "filename" in row]
        if isinstance(found, list)
        else []
    )


def _inside(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents
