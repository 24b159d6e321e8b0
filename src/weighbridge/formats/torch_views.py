"""Hold every tensor of a pickled checkpoint against the storage it shows, without reading the storages.

A view that reaches outside of its storage makes a loader read or write past a buffer. torch checks most of them
today; older versions and other loaders do not. Everything but storages and views stays a label here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weighbridge.core.errors import ConversionRefused, Unreadable
from weighbridge.formats.pickle_graph import Call, Global, GraphLimits, Opaque, Value, read_graph

_VIEWS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
_OUTSIDE = "torch.outside"
_HIGHEST = 2**63


class _Run:
    """A storage as a persistent id declares it: its number of elements."""

    def __init__(self, numel: int) -> None:
        self.numel = numel


class _Calls(Mapping[tuple[str, str], Call]):
    """Every name may be called; views are checked, and everything else stays a label."""

    def __getitem__(self, key: tuple[str, str]) -> Call:
        label = Global(*key)
        if key[0] == "torch._utils" and key[1] in _VIEWS:
            return lambda args, at: _view(label, args, at)
        return lambda args, at: Opaque(label, args, at)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(())  # nothing lists the names

    def __len__(self) -> int:
        return 1


def view_outside(data: bytes, start: int = 0, limits: GraphLimits | None = None) -> str:
    """Say which tensor of the pickle at `start` reaches outside of its storage, or return an empty text.

    Raises Unreadable for a pickle that cannot be followed to its end (what torch writes can be), and OutOfBudget.
    """
    try:
        read_graph(
            data, start, calls=_Calls(), persistent=_persistent, limits=limits, built=lambda node, _: node
        )
    except ConversionRefused as error:
        if error.check == _OUTSIDE:
            return error.problem
        raise Unreadable(
            "the tensors of the pickle cannot be held against their storages",
            cause=error.problem,
            remedy="save the checkpoint again with torch.save",
            check="torch.views",
        ) from error
    return ""


def _persistent(args: tuple[Value, ...], at: int) -> Value:
    if len(args) >= 5 and args[0] == "storage" and isinstance(args[1], Global) and type(args[4]) is int:
        return _Run(args[4])
    return args[1] if len(args) == 4 and isinstance(args[1], Global) else Opaque(Global("", "id"), args, at)


def _view(label: Global, args: tuple[Value, ...], at: int) -> Value:
    if len(args) >= 4 and isinstance(args[0], _Run):
        first, shape, stride = _numbers((args[1],)), _numbers(args[2]), _numbers(args[3])
        if first is not None and shape is not None and stride is not None:
            need = _need(first[0], shape, stride)
            # A storage of bytes is seen as another type, whose width is at least one byte.
            if need is None or need > args[0].numel:
                raise ConversionRefused(
                    f"a tensor needs {'impossible' if need is None else need} elements of a storage of {args[0].numel}"
                    f" (offset {at})",
                    check=_OUTSIDE,
                )
    return Opaque(label, (), at)


def _numbers(value: Value) -> tuple[int, ...] | None:
    items = value if isinstance(value, (tuple, list)) else None
    if items is None or any(type(item) is not int for item in items):
        return None
    return tuple(item for item in items if isinstance(item, int))


def _need(first: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> int | None:
    """Return how many elements the view reaches into its storage, None when it is impossible."""
    if (
        first < 0
        or len(shape) != len(stride)
        or any(side < 0 for side in shape)
        or any(step < 0 for step in stride)
    ):
        return None
    count = 1
    for side in shape:
        count *= side
        if count > _HIGHEST:
            return None
    if not count:
        return 0
    return first + sum((side - 1) * step for side, step in zip(shape, stride, strict=True)) + 1
