"""Models for the tests of bills of materials: everything that is harvested, in one folder, and how to describe it."""

import io
import json
import struct
from datetime import UTC, datetime

from weighbridge.bom.attested import Input, VerifiedClaim
from weighbridge.bom.cyclonedx import build_bom
from weighbridge.bom.harvest import harvest
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.core.tier import Stage
from weighbridge.formats.safetensors import lay_out, write_header

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
SERIAL = "3e671687-395b-41f5-a30f-a58921a69b79"
COMMIT = "a" * 40
HASHES = ["1" * 64, "2" * 64]
DATASET = Digest("wb1", "d" * 64)
BASE = Digest("wb1", "b" * 64)

CARD = """---
license: other
license_name: my-licence
license_link: https://example.org/LICENSE
base_model:
- org/left
- org/right
base_model_relation: merge
datasets: [org/data, other]
language: no
tags: ["arxiv:1908.10084", "doi:10.1/x", plain]
pipeline_tag: image-text-to-text
library_name: transformers
metrics: [accuracy]
co2_eq_emissions:
  emissions: 12.5
  hardware_used: 8 GPUs
model-index:
- name: it
  results:
  - task: {type: text-generation}
    dataset: {name: HellaSwag, type: hellaswag, split: test}
    metrics:
    - {type: acc, value: 81.5}
    - {type: acc_norm, value: 0.5, name: Normalised}
---
# A model
## Direct Use
It writes
sentences.
## Out-of-Scope Use
[More Information Needed]
## Bias, Risks, and Limitations [optional]
<!-- a hint of the template -->
It invents facts.
```
# Limitations
```
## Anything else
Not quoted.
"""
MERGE = """merge_method: ties
base_model: org/base
models:
  - model: org/left+org/lora
    parameters: {weight: 0.5}
  - model: {model: {path: org/right}}
parameters: {normalize: true}
dtype: bfloat16
"""
UV = f"""version = 1
[[package]]
name = "my-project"
version = "0.1"
source = {{ virtual = "." }}
[[package]]
name = "Numpy"
version = "2.4.6"
source = {{ registry = "https://index.example/simple" }}
sdist = {{ url = "https://files.example/n.tar.gz", hash = "sha256:{HASHES[0]}" }}
wheels = [{{ url = "https://files.example/n.whl", hash = "sha256:{HASHES[1]}" }}]
"""


def weights(*rows, metadata=None):
    placed = lay_out(rows)
    return write_header(placed, metadata or {}) + bytes(max(t.end for t in placed))


def _text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf(texts=(), numbers=(), tensors=()):
    """Return a GGUF file of version 3: (key, text), (key, u32) and (name, shape, type, bytes)."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(texts) + len(numbers))
    for key, value in texts:
        out += _text(key) + struct.pack("<I", 8) + _text(value)
    for key, value in numbers:
        out += _text(key) + struct.pack("<II", 4, value)
    offset = 0
    for name, shape, kind, size in tensors:
        out += _text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", kind, offset)
        offset += size + -size % 32
    return out + bytes(-len(out) % 32) + bytes(offset)


QUANTIZED = gguf(
    texts=[
        ("general.architecture", "llama"), ("general.name", "It"), ("general.organization", "Org"),
        ("general.author", "A. Author"), ("general.description", "A small one"), ("general.license", "mit"),
        ("general.base_model.0.name", "Base"), ("general.base_model.0.organization", "Org"),
        ("general.base_model.0.repo_url", "https://huggingface.co/org/base"),
        ("tokenizer.ggml.model", "gpt2"), ("tokenizer.chat_template", "{{ g }}"),
    ],
    numbers=[("general.file_type", 15), ("llama.context_length", 4096), ("general.base_model.count", 1)],
    tensors=[("a", (256, 2), 12, 288), ("b", (8,), 0, 32)],
)  # fmt: skip


def js(value):
    return json.dumps(value).encode()


FILES = {
    "config.json": js({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4, "transformers_version": "5.1.0",
        "quantization_config": {"quant_method": "gptq", "bits": 4, "damp_percent": 0.1, "sym": True},
        "auto_map": {"AutoModel": "org/code--modeling_it.It", "AutoConfig": "configuration_it.ItConfig"},
    }),
    "README.md": CARD.encode(),
    "a.safetensors": weights(("x", "F32", (2, 3)), ("y", "I64", (1,)), metadata={"modelspec.title": "It"}),
    "it.Q4_K_M.gguf": QUANTIZED,
    "adapter_config.json": js({"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 8, "lora_alpha": 16}),
    "generation_config.json": js({"temperature": 0.7, "max_new_tokens": 20, "do_sample": True}),
    "tokenizer.json": b"{}",
    "tokenizer_config.json": js({
        "tokenizer_class": "LlamaTokenizer", "model_max_length": 10**30,
        "chat_template": [{"name": "default", "template": "{{ x }}"}],
    }),
    "chat_template.jinja": b"{{ y }}",
    "mergekit_config.yml": MERGE.encode(),
    "training_args.json": js({"learning_rate": 1e-05, "seed": 7, "hub_token": "hf_planted", "optim": "adamw_torch"}),
    "trainer_state.json": js({"epoch": 3.0, "global_step": 100, "log_history": [{"loss": 1}]}),
    "training_args.bin": b"\x80\x04N.",
    "modeling_it.py": b"import torch\n",
    "requirements.txt": f"torch==2.13.0 \\\n    --hash=sha256:{HASHES[0]}\nnumpy>=2\n".encode(),
    "uv.lock": UV.encode(),
    "conda.yaml": b"dependencies:\n- python=3.11\n- pip:\n  - mlflow==3.1\n",
    "LICENSE": b"text",
    "model_index.json": js({"_class_name": "ItPipeline", "_diffusers_version": "0.30.0", "unet": ["diffusers", "UNet"]}),
    "modules.json": js([{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}]),
    "config_sentence_transformers.json": js({"__version__": {"pytorch": "2.13.0"}, "similarity_fn_name": "cosine"}),
    "unet/config.json": js({"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.30.0"}),
    "unet/diffusion.safetensors": weights(("z", "F16", (4,))),
}  # fmt: skip

SOURCE = {"repository": "Org/Name", "commit": COMMIT, "endpoint": "https://hub.example"}
CLAIMS = (
    VerifiedClaim(
        Stage.TRAIN, Digest("sha256", "e" * 64), "trainer", method="fine-tune",
        inputs=(Input(BASE, Relation.FINE_TUNE, "org/base"), Input(DATASET, Relation.DATASET, "org/corpus")),
        parameters={"epochs": 3, "hardware": "8 GPUs"}, builder="https://ci.example/run", started=NOW, finished=NOW,
    ),
    VerifiedClaim(
        Stage.DATA, Digest("sha256", "f" * 64), "curator", about=DATASET, licence="CC-BY-4.0",
        origin="https://data.example/corpus", description="Sentences",
    ),
    VerifiedClaim(Stage.EVALUATE, Digest("sha256", "c" * 64), "judge", metrics={"f1": 0.9}, result="PASSED"),
)  # fmt: skip


def manifest_of(files):
    return Manifest.of(FileEntry(path, len(data), Digest.of(data)) for path, data in files.items())


def facts_of(files):
    return harvest(manifest_of(files), lambda entry: io.BytesIO(files[entry.path]))


def made(files=FILES, **changes):
    given = {"name": "m", "version": "1", "now": NOW, "serial": SERIAL, **changes}
    return build_bom(manifest_of(files), facts_of(files), **given)


def properties(component):
    """Return name to values of the properties of a component."""
    found = {}
    for row in component.get("properties", ()):
        found.setdefault(row["name"], []).append(row["value"])
    return found
