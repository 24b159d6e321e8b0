"""Names that configurations may carry although a library imports them: listed exactly, nothing by prefix."""

from __future__ import annotations

import re

_MODELS = "sentence_transformers.models."
_SPARSE = "sentence_transformers.sparse_encoder.models."
_BASE = "sentence_transformers.base.modules."

SENTENCE_MODULES = frozenset(
    {_MODELS + name for name in (
        "ALBERT", "Asym", "BERT", "BoW", "CLIPModel", "CNN", "CamemBERT", "Dense", "DistilBERT", "Dropout", "LSTM",
        "LayerNorm", "Normalize", "Pooling", "RoBERTa", "Router", "StaticEmbedding", "T5", "Transformer",
        "WKPooling", "WeightedLayerPooling", "WordEmbeddings", "WordWeights", "XLMRoBERTa", "XLNet",
    )}
    | {_SPARSE + name for name in ("MLMTransformer", "SparseAutoEncoder", "SparseStaticEmbedding", "SpladePooling")}
    | {_BASE + name for name in ("dense.Dense", "normalize.Normalize", "router.Router", "transformer.Transformer")}
)  # fmt: skip
"""Classes a sentence-transformers `modules.json` may name."""

CLASS_KEYS = frozenset({"_target_", "py/object", "py/type", "py/function", "py/reduce"})
"""Keys whose value hydra or jsonpickle would import and call: no value is listed."""

PARENT_LIBRARY = re.compile(
    r"(transformers|diffusers)(\.models\.[a-z0-9_]+(\.(modeling|configuration)_[a-z0-9_]+)?)?"
)
"""What PEFT's `auto_mapping` may import."""

ACTIVATION = re.compile(r"torch\.nn\.(modules\.(activation|linear)\.)?[A-Z][A-Za-z0-9]*")
"""What a sentence-transformers Dense module may use as activation."""

MLFLOW_LOADERS = re.compile(
    r"mlflow\.(catboost|diviner|fastai|gluon|h2o|keras|lightgbm|onnx|paddle|pmdarima|prophet|pytorch|sentence_transformers"
    r"|shap|sklearn|spacy|spark|statsmodels|tensorflow|transformers|xgboost)"
)
"""Loaders of MLflow itself; `mlflow.pyfunc.model` unpickles and stays unlisted."""

DIFFUSERS_LIBRARIES = frozenset({
    None, "deepfloyd_if", "diffusers", "flax", "onnxruntime", "paint_by_example", "stable_diffusion",
    "stable_diffusion_xl", "transformers",
})  # fmt: skip
"""Libraries the parts of a diffusers `model_index.json` may come from."""
