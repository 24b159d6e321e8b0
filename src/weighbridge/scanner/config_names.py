"""Names that configurations may carry although a library imports them: listed exactly, nothing by prefix."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

_MODELS = "sentence_transformers.models."
_SPARSE = "sentence_transformers.sparse_encoder.models."

SENTENCE_MODULES = frozenset(
    {_MODELS + name for name in (
        "ALBERT", "Asym", "BERT", "BoW", "CLIPModel", "CNN", "CamemBERT", "Dense", "DistilBERT", "Dropout", "LSTM",
        "LayerNorm", "Normalize", "Pooling", "RoBERTa", "Router", "StaticEmbedding", "T5", "Transformer",
        "WKPooling", "WeightedLayerPooling", "WordEmbeddings", "WordWeights", "XLMRoBERTa", "XLNet",
    )}
    | {_SPARSE + name for name in ("MLMTransformer", "SparseAutoEncoder", "SparseStaticEmbedding", "SpladePooling")}
    | {"sentence_transformers." + name for name in (  # where version 6 has them
        "base.modules.dense.Dense",
        "base.modules.normalize.Normalize",
        "base.modules.router.Asym",
        "base.modules.router.Router",
        "base.modules.transformer.Transformer",
        "cross_encoder.modules.logit_score.LogitScore",
        "multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask",
        "multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling",
        "sentence_transformer.modules.bow.BoW",
        "sentence_transformer.modules.clip_model.CLIPModel",
        "sentence_transformer.modules.cnn.CNN",
        "sentence_transformer.modules.dropout.Dropout",
        "sentence_transformer.modules.layer_norm.LayerNorm",
        "sentence_transformer.modules.lstm.LSTM",
        "sentence_transformer.modules.pooling.Pooling",
        "sentence_transformer.modules.static_embedding.StaticEmbedding",
        "sentence_transformer.modules.weighted_layer_pooling.WeightedLayerPooling",
        "sentence_transformer.modules.word_embeddings.WordEmbeddings",
        "sentence_transformer.modules.word_weights.WordWeights",
        "sparse_encoder.modules.mlm_transformer.MLMTransformer",
        "sparse_encoder.modules.sparse_auto_encoder.SparseAutoEncoder",
        "sparse_encoder.modules.sparse_static_embedding.SparseStaticEmbedding",
        "sparse_encoder.modules.splade_pooling.SpladePooling",
    )}
)  # fmt: skip
"""Classes a sentence-transformers `modules.json` may name."""

CALLED_KEYS = frozenset({"_component_", "_target_", "class_path", "object_constructor"})
"""Keys whose value hydra, Lightning, torchtune or MLflow (for LlamaIndex) import and call; `target` beside `params` is one more."""

OBJECT_KEYS = frozenset({"py/function", "py/mod", "py/object", "py/reduce", "py/repr", "py/type"})
"""Keys whose value jsonpickle would import and call: no value is listed."""

_OPTIMIZERS = (
    "ASGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "SparseAdam",
)
_SCHEDULERS = (
    "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR", "LinearLR", "MultiStepLR",
    "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "StepLR",
)  # fmt: skip
_MODULES = (
    "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "Conv1d", "Conv2d", "CrossEntropyLoss", "Dropout", "ELU", "GELU",
    "Hardswish", "HuberLoss", "Identity", "KLDivLoss", "L1Loss", "LayerNorm", "LeakyReLU", "Linear", "MSELoss", "Mish", "NLLLoss", "PReLU",
    "ReLU", "SELU", "SiLU", "Sigmoid", "SmoothL1Loss", "Softmax", "Softplus", "Tanh",
)  # fmt: skip
_LATENT_DIFFUSION = (
    "cldm.cldm.ControlLDM", "cldm.cldm.ControlNet", "cldm.cldm.ControlledUnetModel", "ldm.lr_scheduler.LambdaLinearScheduler",
    "ldm.models.autoencoder.AutoencoderKL", "ldm.models.diffusion.ddpm.LatentDepth2ImageDiffusion", "ldm.models.diffusion.ddpm.LatentDiffusion",
    "ldm.models.diffusion.ddpm.LatentInpaintDiffusion", "ldm.models.diffusion.ddpm.LatentUpscaleDiffusion",
    "ldm.modules.diffusionmodules.openaimodel.UNetModel", "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
    "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder", "sgm.models.autoencoder.AutoencoderKL", "sgm.models.autoencoder.AutoencoderKLInferenceWrapper",
    "sgm.models.diffusion.DiffusionEngine", "sgm.modules.GeneralConditioner", "sgm.modules.diffusionmodules.denoiser.DiscreteDenoiser",
    "sgm.modules.diffusionmodules.denoiser_scaling.EpsScaling", "sgm.modules.diffusionmodules.discretizer.LegacyDDPMDiscretization",
    "sgm.modules.diffusionmodules.openaimodel.UNetModel", "sgm.modules.encoders.modules.ConcatTimestepEmbedderND",
    "sgm.modules.encoders.modules.FrozenCLIPEmbedder", "sgm.modules.encoders.modules.FrozenOpenCLIPEmbedder2",
)  # fmt: skip
_NEMO_ASR = "nemo.collections.asr."
_NEMO = (
    "models.EncDecCTCModel", "models.EncDecCTCModelBPE", "models.EncDecHybridRNNTCTCBPEModel", "models.EncDecMultiTaskModel", "models.EncDecRNNTBPEModel",
    "models.EncDecRNNTModel", "models.EncDecSpeakerLabelModel", "models.EncDecClassificationModel",
    "models.ctc_bpe_models.EncDecCTCModelBPE", "models.ctc_models.EncDecCTCModel", "models.rnnt_bpe_models.EncDecRNNTBPEModel",
    "models.hybrid_rnnt_ctc_bpe_models.EncDecHybridRNNTCTCBPEModel", "models.aed_multitask_models.EncDecMultiTaskModel",
    "models.label_models.EncDecSpeakerLabelModel", "models.classification_models.EncDecClassificationModel",
    "modules.ConvASRDecoder", "modules.SqueezeformerEncoder",
)  # fmt: skip
"""NeMo's models, which `target` names, and modules that `data/nemo_names.json` does not have."""

CLASSES = frozenset(
    {f"torch.optim.{name}" for name in _OPTIMIZERS}
    | {f"torch.optim.lr_scheduler.{name}" for name in _SCHEDULERS}
    | {f"torch.nn.{name}" for name in _MODULES}
    | {_NEMO_ASR + name for name in _NEMO}
    | set(_LATENT_DIFFUSION)
)
"""Classes a configuration may have built: they make tensors and modules out of numbers, and fetch nothing."""


@cache
def nemo_classes() -> frozenset[str]:
    """Return NeMo's modules and losses, as `tools/nemo_names.py` read them from its source."""
    document: Any = json.loads((Path(__file__).parent / "data" / "nemo_names.json").read_bytes())
    return frozenset(document["classes"])


KERAS_MODULES = re.compile(r"keras|tf_keras|tensorflow\.keras")
"""What MLflow imports as Keras."""

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
