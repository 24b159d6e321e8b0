"""JSON of models: configurations as several libraries write them, and what must be found in them."""

import json

_VALUES = (
    {"model_type": "bert", "architectures": ["BertModel"], "auto_map": {"AutoModel": "modeling_x.X"}},
    [{"idx": 0, "type": "sentence_transformers.models.Transformer", "path": ""}],
    {"_class_name": "P", "unet": ["diffusers", "UNet2DConditionModel"], "x": [None, None]},
    {
        "base_model_name_or_path": "org/base",
        "auto_mapping": {"parent_library": "transformers"},
        "revision": None,
    },
    {"weight_map": {"a": "model-00001-of-00002.safetensors"}, "metadata": {"total_size": 1}},
    {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": {"class_name": "__lambda__", "config": {}}},
    },
    {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {}},
    {"_target_": "os.system", "py/object": "x.Y", "trust_remote_code": True},
    {
        "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
        "x": {"template": "{{ x.__class__ }}"},
    },
)


def seeds():
    """Return good and bad files."""
    return [json.dumps(value).encode() for value in _VALUES]
