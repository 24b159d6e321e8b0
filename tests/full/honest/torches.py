"""Files of torch: state dicts, modules, optimizers, checkpoints, TorchScript, packages and exported programs."""

import argparse
import collections
import io
import pickle
import random
import tarfile

import joblib
import numpy as np
import torch
import torch.nn.utils.prune
from honest.catalogue import SEED, Shelf
from torch import nn


def modules():
    """Return modules as people stack them: name → module."""
    return {
        "linear": nn.Linear(4, 3),
        "mlp": nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2), nn.Softmax(dim=-1)
        ),
        "conv": nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(36, 3),
        ),
        "deconv": nn.Sequential(
            nn.ConvTranspose2d(2, 3, 3), nn.InstanceNorm2d(3), nn.LeakyReLU(), nn.Upsample(scale_factor=2)
        ),
        "norms": nn.ModuleList([nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.RMSNorm(4), nn.LocalResponseNorm(2)]),
        "lstm": nn.LSTM(3, 4, num_layers=2, bidirectional=True),
        "gru": nn.GRU(3, 4),
        "rnn-cell": nn.LSTMCell(3, 4),
        "embedding": nn.Embedding(10, 4, padding_idx=0),
        "bag": nn.EmbeddingBag(10, 4),
        "encoder": nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        "transformer": nn.Transformer(8, 2, 1, 1, 16),
        "attention": nn.MultiheadAttention(8, 2),
        "bilinear": nn.Bilinear(2, 3, 4),
        "dict": nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Identity()}),
        "parameters": nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(3))]),
        "parameter-dict": nn.ParameterDict({"a": nn.Parameter(torch.ones(2))}),
        "activations": nn.Sequential(
            nn.GELU(), nn.SiLU(), nn.Mish(), nn.PReLU(), nn.ELU(), nn.Hardswish(), nn.Tanh(), nn.GLU()
        ),
        "normed-weight": torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
        "old-weight-norm": torch.nn.utils.weight_norm(nn.Linear(3, 3)),
        "spectral": torch.nn.utils.spectral_norm(nn.Linear(3, 3)),
        "adaptive": nn.Sequential(
            nn.AdaptiveAvgPool2d((1, 1)), nn.PixelShuffle(2), nn.ZeroPad2d(1), nn.Unfold(2)
        ),
        "losses": nn.ModuleList(
            [nn.CrossEntropyLoss(weight=torch.ones(3)), nn.MSELoss(), nn.BCEWithLogitsLoss(), nn.CTCLoss()]
        ),
        "half": nn.Linear(4, 3).half(),
        "bfloat16": nn.Linear(4, 3).bfloat16(),
    }


def saved(thing, *, legacy=False, protocol=2):
    """Return a writer that calls torch.save."""
    kind = {"_use_new_zipfile_serialization": not legacy, "pickle_protocol": protocol}
    return lambda path: torch.save(thing, path, **kind)


def tensors():
    """Return tensors of every dtype and layout that torch can save: name → tensor or container of tensors."""
    base = torch.arange(48.0).reshape(6, 8)
    names = (
        "float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128 uint16 uint32 uint64 "
        "float8_e4m3fn float8_e5m2"
    )
    shared = torch.ones(3)
    return {
        "dtypes": {name: base.abs().to(getattr(torch, name)) for name in names.split()},
        "views": [base.t(), base[::2, 1::3], base[:, 3], torch.ones(1).expand(4, 5), base.diagonal()],
        "tied": {"a": shared, "b": shared, "part": shared[1:]},
        "shapes": [torch.tensor(1.5), torch.empty(0), torch.empty(0, 3), torch.ones(1, 1, 1)],
        "sparse-coo": torch.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], (2, 2)),
        "sparse-csr": base.to_sparse_csr(),
        "quantized": torch.quantize_per_tensor(base, 0.1, 0, torch.quint8),
        "quantized-channel": torch.quantize_per_channel(base, torch.ones(6), torch.zeros(6), 0, torch.qint8),
        "meta": torch.empty(2, 2, device="meta"),
        "gradient": torch.ones(3, requires_grad=True),
        "buffer": nn.Parameter(torch.ones(2), requires_grad=False),
        "storage": base.untyped_storage(),
        "conjugate": torch.ones(2, dtype=torch.complex64).conj(),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "generator-state": {"cpu": torch.get_rng_state(), "seed": torch.initial_seed()},
        "odds": {
            "size": torch.Size([2, 3]),
            "dtype": torch.float32,
            "device": torch.device("cpu"),
            "layout": torch.strided,
        },
    }


def plain(folder):
    """Write state dicts and tensors, in the zip form and in the form before it."""
    shelf = Shelf(folder, "torch")
    for index, (name, module) in enumerate(modules().items()):
        state = module.state_dict()
        shelf.add(f"state/{name}.pt", f"state dict of {name}", saved(state))
        shelf.add(f"state/{name}.pth", f"state dict of {name}, legacy form", saved(state, legacy=True))
        if index % 3 == 0:
            shelf.add(f"state/{name}.bin", f"state dict of {name}, protocol 4", saved(state, protocol=4))
    for name, thing in tensors().items():
        shelf.add(f"tensors/{name}.pt", f"{name}", saved(thing))
        if name not in ("nested", "meta", "storage"):
            shelf.add(f"tensors/{name}.legacy.pt", f"{name}, legacy form", saved(thing, legacy=True))
    shelf.add(
        "tensors/pickled.pkl",
        "tensors through pickle itself",
        lambda p: p.write_bytes(pickle.dumps(tensors()["tied"])),
    )
    shelf.add(
        "tensors/joblib.joblib",
        "a state dict through joblib",
        lambda p: joblib.dump(modules()["mlp"].state_dict(), p),
    )
    whole_modules(shelf)
    training(shelf)
    beside(shelf)
    return shelf


def whole_modules(shelf):
    """Write modules whole, which pickles their classes."""
    for index, (name, module) in enumerate(modules().items()):
        if name == "normed-weight":  # torch refuses to pickle parametrised modules
            continue
        shelf.add(f"whole/{name}.pt", f"{name} as a whole module", saved(module, legacy=index % 4 == 3))
    model = modules()["mlp"]
    shelf.add(
        "whole/mlp.pkl",
        "a whole module through pickle",
        lambda p: p.write_bytes(pickle.dumps(model, protocol=4)),
    )
    shelf.add("whole/mlp.joblib", "a whole module through joblib", lambda p: joblib.dump(model, p))


def stepped(model, optimizer):
    """Make one step so that the optimizer has a state."""
    torch.manual_seed(SEED)
    loss = model(torch.randn(5, 4)).square().mean()
    loss.backward()
    optimizer.step()
    return optimizer


def training(shelf):
    """Write optimizers, schedulers and checkpoints as training loops write them."""
    made = {
        "Adam": {}, "AdamW": {"amsgrad": True}, "SGD": {"momentum": 0.9, "lr": 0.1}, "RMSprop": {}, "Adagrad": {},
        "Adadelta": {}, "Adamax": {}, "NAdam": {}, "RAdam": {}, "Rprop": {}, "ASGD": {},
    }  # fmt: skip
    for name, settings in made.items():
        model = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
        optimizer = stepped(model, getattr(torch.optim, name)(model.parameters(), **settings))
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        scheduler.step()
        shelf.add(f"training/{name}.pt", f"state of {name}", saved(optimizer.state_dict()))
        kept = {
            "epoch": 3, "step": 120, "loss": 0.25, "best": float("inf"), "model": model.state_dict(),
            "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "rng": torch.get_rng_state(),
        }  # fmt: skip
        shelf.add(
            f"training/checkpoint-{name}.ckpt", f"checkpoint with {name}", saved(kept, legacy=name == "SGD")
        )
    model = nn.Linear(4, 2)
    optimizer = stepped(model, torch.optim.AdamW(model.parameters()))
    shelf.add("training/optimizer-whole.pt", "an optimizer as a whole", saved(optimizer))
    schedules = torch.optim.lr_scheduler
    for name, scheduler in {
        "StepLR": schedules.StepLR(optimizer, 5),
        "OneCycleLR": schedules.OneCycleLR(optimizer, 0.1, total_steps=10),
        "ReduceLROnPlateau": schedules.ReduceLROnPlateau(optimizer),
        "CosineAnnealingWarmRestarts": schedules.CosineAnnealingWarmRestarts(optimizer, 3),
    }.items():
        shelf.add(f"training/{name}.pt", f"state of {name}", saved(scheduler.state_dict()))
    args = argparse.Namespace(lr=0.1, layers=[3, 4], name="run", device="cpu")
    history = collections.defaultdict(
        list, {"loss": [1.0, 0.5], "accuracy": [np.float64(0.5), np.float64(0.75)]}
    )
    shelf.add(
        "training/args.pt",
        "checkpoint with argparse settings",
        saved({"args": args, "model": model.state_dict()}),
    )
    shelf.add(
        "training/history.pt",
        "checkpoint with a history",
        saved({"history": history, "state_dict": model.state_dict()}),
    )
    arrays = {
        "mean": np.zeros(3, "f4"),
        "names": ["a", "b"],
        "model": model.state_dict(),
        "classes": {0: "cat"},
    }
    shelf.add("training/arrays.pt", "checkpoint with numpy arrays", saved(arrays))
    rng = {
        "python": random.Random(3).getstate(),
        "numpy": np.random.RandomState(3).get_state(),
        "torch": torch.get_rng_state(),
    }
    shelf.add("training/rng_state.pth", "random states as transformers' Trainer keeps them", saved(rng))
    averaged = torch.optim.swa_utils.AveragedModel(nn.Linear(2, 2))
    shelf.add("training/averaged.pt", "state of an averaged model", saved(averaged.state_dict()))
    scaler = torch.amp.GradScaler("cpu")
    shelf.add("training/scaler.pt", "state of a gradient scaler", saved(scaler.state_dict()))


def beside(shelf):
    """Write what else of torch people save: data sets, distributions, pruned, parallel and averaged models."""
    rows = torch.utils.data.TensorDataset(torch.ones(4, 3), torch.zeros(4))
    one, two = torch.utils.data.random_split(rows, [3, 1], generator=torch.Generator().manual_seed(3))
    pruned = torch.nn.utils.prune.l1_unstructured(nn.Linear(4, 3), "weight", 0.5)
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(3), torch.ones(2)])
    made = {
        "dataset": rows,
        "split": {"train": one, "test": two.indices},
        "distribution": torch.distributions.Normal(torch.zeros(2), torch.ones(2)),
        "pruned": pruned.state_dict(),
        "parallel": nn.DataParallel(nn.Linear(2, 2)).state_dict(),
        "packed": packed,
        "nested-dicts": {"a": {"b": [torch.ones(1), (torch.zeros(2), None)]}, "set": {1, 2}, "when": "2026"},
        "numbers": {
            "int": 3,
            "big": 2**80,
            "float": 1e-9,
            "complex": 1j,
            "bytes": b"x",
            "none": None,
            "range": range(3),
        },
        "scalars": {
            "f": np.float32(1.5),
            "i": np.int64(3),
            "a": np.arange(3),
            "s": np.str_("x"),
            "b": np.bool_(True),
        },
        "counter": collections.Counter({"a": 3}),
        "named": torch.return_types.max((torch.ones(2), torch.zeros(2, dtype=torch.long))),
    }
    for name, thing in made.items():
        shelf.add(f"beside/{name}.pt", name, saved(thing))
        shelf.add(f"beside/{name}.legacy.pth", f"{name}, legacy form", saved(thing, legacy=True))


class Gated(nn.Module):
    """A module of our own for TorchScript and export; its class is never pickled."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.register_buffer("scale", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale what the inner module says when the input is positive in sum."""
        if x.sum() > 0:
            return self.inner(x) * self.scale
        return x


def compiled(folder):
    """Write TorchScript, torch.package, exported programs and the oldest form."""
    shelf = Shelf(folder, "torch-script")
    example = torch.randn(2, 4, generator=torch.Generator().manual_seed(3))
    shelf.add("scripted.pt", "TorchScript, scripted", lambda p: torch.jit.script(Gated()).save(str(p)))
    for name in ("mlp", "linear"):
        traced = torch.jit.trace(modules()[name].eval(), example)
        shelf.add(f"traced-{name}.pt", f"TorchScript, traced {name}", lambda p, t=traced: t.save(str(p)))
    traced = torch.jit.trace(modules()["conv"].eval(), torch.zeros(1, 1, 8, 8))
    shelf.add("traced-conv.pt", "TorchScript, traced convolutions", lambda p: traced.save(str(p)))
    extra = {"config.json": '{"a": 1}'}
    scripted = torch.jit.script(nn.LSTM(3, 4).eval())
    shelf.add(
        "lstm.jit",
        "TorchScript with an extra file",
        lambda p: torch.jit.save(scripted, str(p), _extra_files=extra),
    )
    frozen = torch.jit.freeze(torch.jit.script(modules()["mlp"].eval()))
    shelf.add("frozen.ts", "TorchScript, frozen", lambda p: torch.jit.save(frozen, str(p)))
    lite = torch.jit.script(Gated())
    shelf.add(
        "lite.ptl", "TorchScript for the lite interpreter", lambda p: lite._save_for_lite_interpreter(str(p))
    )
    for name in ("mlp", "conv", "attention-free"):
        module = nn.Sequential(nn.Linear(4, 2)) if name == "attention-free" else modules()[name].eval()
        given = torch.zeros(1, 1, 8, 8) if name == "conv" else example
        program = torch.export.export(module, (given,))
        shelf.add(f"{name}.pt2", f"exported program, {name}", lambda p, e=program: torch.export.save(e, p))
    packages(shelf)
    return shelf


def packages(shelf):
    """Write torch.package archives."""
    from torch.package import PackageExporter

    def tensors_only(path):
        with PackageExporter(str(path)) as package:
            package.save_pickle("model", "weights.pkl", modules()["mlp"].state_dict())
            package.save_text("notes", "readme.txt", "some words")

    shelf.add("weights.package.pt", "torch.package with a state dict and a text", tensors_only)


def unusual(folder):
    """Write torch files in the wrappings they travel in."""
    shelf = Shelf(folder, "torch-wrapped")
    held = io.BytesIO()
    torch.save(modules()["mlp"].state_dict(), held)

    def packed(path):
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
            member = tarfile.TarInfo("model/pytorch_model.bin")
            member.size = len(held.getvalue())
            archive.addfile(member, io.BytesIO(held.getvalue()))
            text = b'{"model_type": "bert"}'
            member = tarfile.TarInfo("model/config.json")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))

    shelf.add("model.tar.gz", "a model in tar.gz", packed)
    shelf.add("model.tar", "a model in tar", packed)
    shelf.add(
        "inside.pkl",
        "bytes of a torch file in a pickle",
        lambda p: p.write_bytes(pickle.dumps({"weights": held.getvalue()})),
    )
    return shelf


def make(folder):
    """Write the family and return its shelves."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    return [plain(folder), compiled(folder), unusual(folder)]
