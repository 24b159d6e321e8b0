"""Keras' own names: which (module, class) and (module, function) a saved model may have Keras look up.

Data, not code: `data/keras_names.json`, made by `tools/keras_names.py` from the source of Keras 2, Keras 3 and KerasHub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TENSORFLOW_OPS = frozenset({
    "__operators__.add", "__operators__.getitem", "__operators__.multiply", "abs", "add_n", "argmax", "argmin",
    "boolean_mask", "broadcast_to", "cast", "clip_by_value", "compat.v1.nn.softmax", "compat.v1.transpose", "concat",
    "convert_to_tensor", "cumsum", "einsum", "expand_dims", "fill", "gather", "identity", "image.resize",
    "compat.v1.shape", "compat.v1.squeeze", "compat.v1.gather", "compat.v1.image.resize_nearest_neighbor",
    "linalg.band_part", "linalg.matmul", "linalg.l2_normalize", "math.abs", "math.add", "math.argmax", "math.ceil", "math.cos", "math.cumsum",
    "math.divide", "math.divide_no_nan", "math.equal", "math.erf", "math.exp", "math.floor", "math.greater", "math.greater_equal",
    "math.l2_normalize", "math.less", "math.less_equal", "math.log", "math.log1p", "math.logical_and", "math.logical_not", "math.logical_or", "math.maximum",
    "math.minimum", "math.mod", "math.multiply", "math.negative", "math.not_equal", "math.pow", "math.reciprocal", "math.reduce_all", "math.reduce_any",
    "math.reduce_max", "math.reduce_mean", "math.reduce_min", "math.reduce_prod", "math.reduce_std", "math.reduce_sum",
    "math.reduce_variance", "math.round", "math.rsqrt", "math.sigmoid", "math.sign", "math.sin", "math.softplus", "math.sqrt",
    "math.square", "math.squared_difference", "math.subtract", "math.tan", "math.tanh", "math.truediv", "meshgrid", "nn.avg_pool", "nn.bias_add",
    "nn.conv2d", "nn.depth_to_space", "nn.dropout", "nn.elu", "nn.gelu", "nn.l2_normalize", "nn.leaky_relu", "nn.log_softmax", "nn.max_pool", "nn.moments", "nn.relu",
    "nn.relu6", "nn.selu", "nn.sigmoid", "nn.silu", "nn.softmax", "nn.softplus", "nn.softsign", "nn.space_to_depth", "nn.swish", "nn.tanh", "norm",
    "one_hot", "ones", "ones_like", "pad", "range", "repeat", "reshape", "reverse", "roll", "scatter_nd", "sequence_mask", "shape", "size", "slice",
    "sort", "split", "squeeze", "stack", "stop_gradient", "strided_slice", "tensordot", "tile", "transpose", "unstack", "where",
    "zeros", "zeros_like",
})  # fmt: skip
"""TensorFlow functions that a TFOpLambda of a Keras 2 model may name: arithmetic and the shape of tensors."""

TYPE_SPECS: Mapping[str, frozenset[str]] = {
    "TensorSpec": frozenset(
        {"tensorflow.python.framework.tensor_spec", "tensorflow.python.framework.tensor"}
    ),
    "SparseTensorSpec": frozenset({"tensorflow.python.framework.sparse_tensor"}),
    "RaggedTensorSpec": frozenset({"tensorflow.python.ops.ragged.ragged_tensor"}),
}

WITHOUT_EXPORT = frozenset({"softmax_v2", "sigmoid_v2", "relu_v2"})
"""Names that TensorFlow's own functions bear in the models of Keras 2."""


@dataclass(frozen=True, slots=True)
class Names:
    """The table: names by module, and all of them together for configurations that name no module."""

    classes: Mapping[str, frozenset[str]]
    functions: Mapping[str, frozenset[str]]
    any_class: frozenset[str]
    any_function: frozenset[str]

    def has_class(self, module: str | None, name: str) -> bool:
        """Tell whether Keras has this class there."""
        return name in self.any_class if not module else _listed(self.classes, module, name)

    def has_function(self, module: str | None, name: str) -> bool:
        """Tell whether Keras has this function there; `builtins` is how it writes "one of mine"."""
        if not module or module == "builtins":
            return name in self.any_function
        return _listed(self.functions, module, name)


def _listed(table: Mapping[str, frozenset[str]], module: str, name: str) -> bool:
    if name in table.get(module, ()):
        return True
    package, _, rest = module.partition(".")
    if package == "keras_nlp":
        return name in table.get(f"keras_hub.{rest}", ())  # the name KerasHub had before
    # Keras 2.12 and older had no `src`; nothing else can be found under that spelling.
    return package in ("keras", "tf_keras") and name in table.get(f"{package}.src.{rest}", ())


@cache
def names() -> Names:
    """Return the table."""
    document: Any = json.loads((Path(__file__).parent / "data" / "keras_names.json").read_bytes())
    classes = {module: frozenset(found) for module, found in document["classes"].items()}
    functions = {module: frozenset(found) for module, found in document["functions"].items()}
    return Names(
        classes,
        functions,
        frozenset(name for found in classes.values() for name in found),
        frozenset(name for found in functions.values() for name in found) | WITHOUT_EXPORT,
    )
