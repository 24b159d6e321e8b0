"""Code beside the weights, and configuration that asks for code: each has a bad and a good sample."""

import json

import pytest

from weighbridge.core.finding import Verdict
from weighbridge.scanner import config_rules, repository_rules, requirement_rules, secret_rules
from weighbridge.scanner.file import ScannedFile, from_bytes

UNLISTED, DANGEROUS, BROKEN, NOTES = Verdict.UNLISTED, Verdict.DANGEROUS, Verdict.BROKEN, Verdict.NOTES


def judge(module, path, value, kind=None):
    text = value if isinstance(value, str) else json.dumps(value)
    kind = kind or ("json" if path.endswith((".json", ".jsonl", ".ipynb")) else "text")
    return {(f.rule, f.verdict) for f in module.examine(from_bytes(path, text.encode(), kind, text=text))}


BAD_CONFIG = [
    ("config.json", {"auto_map": {"AutoModel": "modeling_x.X"}}, ("config-code", UNLISTED)),
    ("config.json", {"text_config": {"auto_map": {"AutoModel": "modeling_x.X"}}}, ("config-code", UNLISTED)),
    ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tok.Slow", None]}}, ("config-code", UNLISTED)),
    (
        "config.json",
        {"auto_map": {"AutoModel": "evil/repo--modeling_x.X"}},
        ("config-foreign-code", DANGEROUS),
    ),
    ("config.json", '{"auto\\u005fmap": {"AutoModel": "modeling_x.X"}}', ("config-code", UNLISTED)),
    ("config.json", {"custom_pipelines": {"p": {"impl": "p.P"}}}, ("config-code", UNLISTED)),
    ("config.json", {"trust_remote_code": True}, ("config-code", UNLISTED)),
    ("config.json", {"model_args": {"trust_remote_code": 1}}, ("config-code", UNLISTED)),
    ("modules.json", [{"type": ["a"], "path": ""}], ("config-class", UNLISTED)),
    ("model_index.json", {"unet": [["unet_custom"], "UNet"]}, ("config-class", UNLISTED)),
    ("config.json", {"attn_implementation": "someone/kernel"}, ("config-foreign-code", DANGEROUS)),
    ("adapter_config.json", {"auto_mapping": {"parent_library": "os"}}, ("config-class", UNLISTED)),
    (
        "adapter_config.json",
        {"auto_mapping": {"parent_library": "transformersx"}},
        ("config-class", UNLISTED),
    ),
    ("adapter_config.json", {"megatron_core": "evil.core"}, ("config-class", UNLISTED)),
    ("modules.json", [{"type": "os.system", "path": ""}], ("config-class", UNLISTED)),
    ("modules.json", [{"type": "sentence_transformers.models.Evil", "path": ""}], ("config-class", UNLISTED)),
    ("modules.json", [{"path": ""}], ("config-class", UNLISTED)),
    (
        "modules.json",
        [{"type": "sentence_transformers.models.Pooling", "path": "../x"}],
        ("config-path", DANGEROUS),
    ),
    ("2_Dense/config.json", {"activation_function": "os.system"}, ("config-object", DANGEROUS)),
    (
        "model.safetensors.index.json",
        {"weight_map": {"a": "../../x.safetensors"}},
        ("config-path", DANGEROUS),
    ),
    ("model.safetensors.index.json", {"weight_map": {"a": "/etc/passwd"}}, ("config-path", DANGEROUS)),
    ("model.safetensors.index.json", {"weight_map": {"a": "..\\x"}}, ("config-path", DANGEROUS)),
    ("model.safetensors.index.json", {"weight_map": {"a": "file:///x"}}, ("config-path", DANGEROUS)),
    ("model.safetensors.index.json", {"weight_map": {"a": ""}}, ("config-path", DANGEROUS)),
    ("model_index.json", {"unet": ["unet_custom", "UNet"]}, ("config-class", UNLISTED)),
    ("any.json", {"a": [{"_target_": "os.system"}]}, ("config-object", DANGEROUS)),
    ("any.txt", {"_target_": "os.system"}, ("config-object", DANGEROUS)),
    ("any.json", {"py/object": "posix.system"}, ("config-object", DANGEROUS)),
    ("any.json", {"py/reduce": "x"}, ("config-object", DANGEROUS)),
    ("config.json", '{"a": 1, "a": 2}', ("config-broken", BROKEN)),
    ("config.json", '{"a": ', ("config-broken", BROKEN)),
    ("config.json", "[" * 100_000, ("config-unread", Verdict.UNREAD)),
    ("conf.yaml", "a: !!python/object/apply:os.system ['x']", ("config-object", DANGEROUS)),
    (
        "conf.yaml",
        "%TAG ! tag:yaml.org,2002:python/\n---\na: !name:os.system ''",
        ("config-object", DANGEROUS),
    ),
    ("conf.yml", "a: !<tag:yaml.org,2002:python/object:x.Y> {}", ("config-object", DANGEROUS)),
    ("conf.yaml", "a: !custom x", ("config-class", UNLISTED)),
    ("conf.yaml", "model:\n  _target_: os.system", ("config-object", DANGEROUS)),
    ("conf.yaml", "k: &k _target_\nmodel:\n  *k : os.system", ("config-object", DANGEROUS)),
    ("conf.yaml", "a: [", ("config-broken", BROKEN)),
    ("MLmodel", "flavors:\n  python_function:\n    loader_module: evil", ("config-class", UNLISTED)),
    (
        "MLmodel",
        "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model",
        ("config-class", UNLISTED),
    ),
    ("README.md", "---\na: !!python/name:os.system ''\n---\ntext", ("config-object", DANGEROUS)),
    ("README.md", "\ufeff---\na: !!python/name:os.system ''\n---\ntext", ("config-object", DANGEROUS)),
    ("README.md", "---\na: [\n---\ntext", ("config-broken", NOTES)),
    ("arch.txt", '{"class_name": "Dense", "class_name": "Lambda"}', ("config-broken", BROKEN)),
    ("any.json", {"py/repr": "x"}, ("config-object", DANGEROUS)),
    ("modular_model_index.json", {"unet": ["my_lib", "UNet", {}]}, ("config-class", UNLISTED)),
    ("c.yaml", "_target_: nemo.collections.asr.modules.BeamSearchDecoderWithLM", ("config-class", UNLISTED)),
    ("c.yaml", "_target_: nemo.collections.asr.modules.os.system", ("config-class", UNLISTED)),
    ("hparams", "a: 1\nmodel:\n  - _target_: my.Model", ("config-class", UNLISTED)),
    ("hparams.txt", "a: !!python/object/apply:os.system [x]", ("config-object", DANGEROUS)),
    ("any.json", {"m": {"_target_": "my.Model"}}, ("config-class", UNLISTED)),
    ("any.json", {"_target_": "torch.optim.lr_scheduler.LambdaLR"}, ("config-class", UNLISTED)),
    ("any.json", {"target": "my.Model", "params": {}}, ("config-class", UNLISTED)),
    ("any.json", {"target": "os.system"}, ("config-object", DANGEROUS)),
    ("c.yaml", "a: {target: a.b.Model}", ("config-class", UNLISTED)),
    ("c.yaml", "x: &x my.model\na: {target: *x}\nb: {target: *x, params: {}}", ("config-class", UNLISTED)),
    ("c.yaml", "class_path: my.Model\ninit_args: {}", ("config-class", UNLISTED)),
    ("c.yaml", "model: {_component_: my.build}", ("config-class", UNLISTED)),
    ("config.json", {"sentence_transformers": {"activation_fn": "my.fn"}}, ("config-class", UNLISTED)),
    ("router_config.json", {"types": {"a": "my.Module"}}, ("config-class", UNLISTED)),
    ("config.json", {"types": {"a": "my.Module"}, "structure": {}}, ("config-class", UNLISTED)),
    (
        "router_config.json",
        {"types": {"../a": "sentence_transformers.models.Pooling"}},
        ("config-path", DANGEROUS),
    ),
    ("model_index.json", {"unet": ["diffusers", "loaders.unet"]}, ("config-class", UNLISTED)),
    ("model_index.json", {"unet": ["transformers", "pipeline"]}, ("config-class", UNLISTED)),
    (
        "adapter_config.json",
        {"base_model_name_or_path": "org/base", "revision": None},
        ("config-unpinned", NOTES),
    ),
    (
        "MLmodel",
        "flavors:\n  python_function:\n    code: code\n    loader_module: mlflow.sklearn",
        ("config-code", UNLISTED),
    ),
    ("MLmodel", "flavors:\n  sklearn:\n    code: src\n", ("config-code", UNLISTED)),
    ("x.json", {"object_constructor": "my.Thing", "object_kwargs": {}}, ("config-class", UNLISTED)),
    ("MLmodel", "flavors:\n  python_function:\n    model_code_path: m.py", ("config-code", UNLISTED)),
    ("MLmodel", "flavors:\n  sklearn:\n    pickled_model: ../../m.pkl", ("config-path", DANGEROUS)),
    ("MLmodel", "flavors:\n  keras:\n    data: /srv/x", ("config-path", DANGEROUS)),
    ("MLmodel", "flavors:\n  tensorflow:\n    keras_module: evil.keras", ("config-class", UNLISTED)),
    ("c.yaml", "[" * 3000, ("config-unread", Verdict.UNREAD)),
    ("c.yaml", "a: 1\n" * 300_000, ("config-unread", Verdict.UNREAD)),
]

GOOD_CONFIG = [
    (
        "config.json",
        {"model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu", "x": float("nan")},
    ),
    ("config.json", {"auto_map": {}, "trust_remote_code": False, "attn_implementation": "sdpa"}),
    ("config.json", {"auto_map": {"AutoTokenizer": [None, None]}, "custom_pipelines": {}}),
    ("adapter_config.json", {"auto_mapping": {"parent_library": "transformers.models.llama.modeling_llama"}}),
    ("adapter_config.json", {"auto_mapping": None, "megatron_core": "megatron.core"}),
    ("modules.json", [{"type": "sentence_transformers.models.Transformer", "path": ""}]),
    ("2_Dense/config.json", {"activation_function": "torch.nn.modules.activation.Tanh"}),
    ("config.json", {"activation_function": "gelu_new"}),
    ("model.safetensors.index.json", {"weight_map": {"a": "model-00001-of-00002.safetensors"}}),
    (
        "model_index.json",
        {"_class_name": "P", "unet": ["diffusers", "UNet2DConditionModel"], "x": [None, None]},
    ),
    ("data.jsonl", '{"a": 1}\n{"a": 2}\n'),
    ("conf.yaml", "a: &x {b: 1}\nc: *x\nd: <<\ne: 2026-01-01\nf: !!str 1\n"),
    ("MLmodel", "flavors:\n  python_function:\n    loader_module: mlflow.sklearn"),
    ("README.md", "---\nlicense: mit\n---\n# text with !!python/name:os.system in prose"),
    ("README.md", "no front matter"),
    ("README.md", "# Use\n```yaml\n_target_: my.Model\n```\n"),
    ("a.json", {"target": "model.layers.0", "x": {"target": "en"}, "y": {"target": "a.b.c"}}),
    (
        "a.yaml",
        "optim:\n  _target_: torch.optim.AdamW\n  lr: 0.1\nmodel: {target: ldm.models.diffusion.ddpm.LatentDiffusion, params: {}}",
    ),
    (
        "model_config.yaml",
        "encoder:\n  _target_: nemo.collections.asr.modules.ConformerEncoder\nloss:\n  _target_: nemo.collections.asr.losses.angularloss.AngularSoftmaxLoss\ndecoder:\n  _target_: nemo.collections.asr.modules.RNNTDecoder\n  n_layers: 17\n",
    ),
    ("config.json", {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}),
    (
        "router_config.json",
        {"types": {"query_0_Pooling": "sentence_transformers.models.Pooling"}, "structure": {}},
    ),
    ("adapter_config.json", {"base_model_name_or_path": "org/base", "revision": "0a1b"}),
    ("adapter_config.json", {"base_model_name_or_path": "/srv/base", "revision": None}),
    (
        "MLmodel",
        "artifact_path: mlflow-artifacts:/0/1/model\nflavors:\n  python_function:\n    env:\n      conda: conda.yaml\n      virtualenv: python_env.yaml\n    code: null\n    loader_module: mlflow.sklearn\n    model_path: model.pkl\n",
    ),
    ("notes", "[1] is broken {"),
]


@pytest.mark.parametrize(("path", "value", "expected"), BAD_CONFIG)
def test_configuration_that_asks_for_code_is_found(path, value, expected):
    assert judge(config_rules, path, value) == {expected}


@pytest.mark.parametrize(("path", "value"), GOOD_CONFIG)
def test_ordinary_configuration_says_nothing(path, value):
    assert judge(config_rules, path, value) == set()


def test_many_small_findings_never_hide_a_grave_one():
    value = {f"k{i}": {"_target_": f"a.b{i}"} for i in range(500)}
    value["z"] = {"auto_map": {"AutoModel": "evil/repo--m.C"}}
    assert ("config-foreign-code", DANGEROUS) in judge(config_rules, "config.json", value)
    turned = dict(reversed(value.items()))
    assert ("config-foreign-code", DANGEROUS) in judge(config_rules, "config.json", turned)


def test_a_shard_that_is_missing_is_a_note_and_a_present_one_is_silent():
    text = json.dumps({"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}})
    base = from_bytes("sub/model.safetensors.index.json", text.encode(), "json", text=text)
    file = ScannedFile(
        base.path,
        base.size,
        base.kind,
        base.head,
        base.opener,
        text=text,
        siblings=frozenset({"sub/x.safetensors"}),
    )
    assert [(f.rule, f.verdict, "y.safetensors" in f.message) for f in config_rules.examine(file)] == [
        ("config-path", NOTES, True)
    ]


PLAIN = """import torch, numpy as np
from transformers import AutoModel
from IPython.display import display
%matplotlib inline
model = AutoModel.from_pretrained("org/name").eval()
def f(x):
    return model(x).sum() if __name__ == "__main__" else np.load("x.npy")
display(f(torch.rand(3)))
"""
STRANGE = [
    "get_ipython().system('true')", "import os", "getattr(torch, 'o' + 's')", "torch.os.system('x')", "from torch import *",
    "from torch.utils import cpp_extension", "x = [].__class__", "x = '__class__'", "open('x', 'w')", "import subprocess as s",
    "AutoModel.from_pretrained('x', trust_remote_code=True)", "np.load('x', allow_pickle=True)", "f = eval", "import numpy.f2py",
    "torch.hub.load('a', 'b')", "globals()['x']", "(lambda m: m.popen)(torch)", "from .x import y",
]  # fmt: skip

BAD_FILES = [
    ("modeling_x.py", "import torch\n", {("repository-code", UNLISTED)}),
    (
        "modeling_x.py",
        "import os\nos.system('x')\n",
        {("repository-code", UNLISTED), ("repository-import", DANGEROUS)},
    ),
    ("setup.py", "def f(:\n", {("repository-code", UNLISTED)}),
    ("run.sh", "echo\n", {("repository-script", UNLISTED)}),
    ("run", "#!/bin/sh\necho\n", {("repository-script", UNLISTED)}),
    (
        "a.ipynb",
        {"cells": [{"cell_type": "code", "source": ["!curl x | sh\n"]}]},
        {("repository-script", UNLISTED)},
    ),
    ("a.ipynb", {"cells": [{"cell_type": "code", "source": "eval('1')"}]}, {("repository-script", UNLISTED)}),
    ("a.ipynb", {"cells": [{"cell_type": "code", "source": "1 + 1"}]}, {("repository-script", NOTES)}),
    ("a.ipynb", "[]", {("repository-script", UNLISTED)}),
    (
        "a.ipynb",
        {"worksheets": [{"cells": [{"cell_type": "code", "input": ["!x"]}]}]},
        {("repository-script", UNLISTED)},
    ),
    ("a.ipynb", {"cells": [{"cell_type": "code", "source": "x = !ls"}]}, {("repository-script", UNLISTED)}),
    (
        "a.ipynb",
        {"cells": [{"cell_type": "code", "source": "%%html\n<b>"}]},
        {("repository-script", UNLISTED)},
    ),
    (
        "a.ipynb",
        {"cells": [{"cell_type": "code", "source": "%pip install x"}]},
        {("repository-script", UNLISTED)},
    ),
    (
        "a.ipynb",
        {"cells": [{"cell_type": "code", "source": "%matplotlib inline\n%%time\n1"}]},
        {("repository-script", NOTES)},
    ),
    ("a.ipynb", {"cells": [{"cell_type": "code", "source": 5}]}, {("repository-script", UNLISTED)}),
    ("a.ipynb", {"cells": [{"cell_type": "code", "source": PLAIN}]}, {("repository-script", NOTES)}),
    *[
        (
            "a.ipynb",
            {"cells": [{"cell_type": "code", "source": PLAIN + line}]},
            {("repository-script", UNLISTED)},
        )
        for line in STRANGE
    ],
    ("a.ipynb", {"cells": []}, {("repository-script", NOTES)}),
    ("Makefile", "all:\n\tx\n", {("repository-script", UNLISTED)}),
    ("Dockerfile", "FROM x\n", {("repository-script", UNLISTED)}),
    ("run.lua", "os.execute('x')\n", {("repository-script", UNLISTED)}),
    (".vscode/tasks.json", "{}", {("repository-script", UNLISTED)}),
    ("model.pth", "import os; os.system('x')\n", {("repository-script", UNLISTED)}),
    ("index.html", "<p onload='x()'>", {("repository-script", UNLISTED)}),
    ("logo.svg", "<svg><script>x</script></svg>", {("repository-script", UNLISTED)}),
    ("data/keras_module.txt", "evil", {("repository-import", UNLISTED)}),
    ("data/pickle_module_info.txt", "evil", {("repository-import", UNLISTED)}),
]


@pytest.mark.parametrize(("path", "value", "expected"), BAD_FILES)
def test_code_beside_the_weights_is_found(path, value, expected):
    assert judge(repository_rules, path, value) == expected


BAD_REQUIREMENTS = [
    ("requirements.txt", "torch==2 --hash=sha256:0\n--index-url http://203.0.113.9/\n", UNLISTED),
    ("requirements.txt", "x @ git+https://203.0.113.9/x\n", UNLISTED),
    ("requirements.txt", "x \\\n @ https://203.0.113.9/x\n", UNLISTED),
    ("dev-requirements.in", "./local\n", UNLISTED),
    ("requirements.txt", "x.whl\n", UNLISTED),
    ("requirements.txt", "torch>=2\nnumpy==1.26.4 ; python_version > '3'\n# comment\n", NOTES),
    ("conda.yaml", "dependencies:\n- pip:\n  - git+https://203.0.113.9/x\n", UNLISTED),
    ("conda.yaml", "channels:\n- http://203.0.113.9/\n", UNLISTED),
    (
        "pyproject.toml",
        "[project]\nurl = 'http://x'\ndependencies = [\n 'x @ http://203.0.113.9/x',\n]",
        UNLISTED,
    ),
    ("Pipfile", "[[source]]\nurl = 'http://203.0.113.9/simple'\n", UNLISTED),
    ("Pipfile", "[packages]\nx = {git = 'http://203.0.113.9/x'}\n", UNLISTED),
    ("conda.yaml", "channels:\n- conda-forge\ndependencies:\n- python=3.11\n", NOTES),
    ("pyproject.toml", "[project.urls]\nhome = 'http://x.org'\n[project]\nname='x'\n", NOTES),
]


@pytest.mark.parametrize(("path", "text", "verdict"), BAD_REQUIREMENTS)
def test_what_is_to_be_installed_is_judged(path, text, verdict):
    found = list(requirement_rules.examine(from_bytes(path, text.encode(), "text", text=text)))
    assert {finding.rule for finding in found} == {"repository-requirements"}
    assert max((finding.verdict for finding in found), key=lambda verdict: verdict.rank) is verdict


def test_requirements_with_hashes_say_nothing():
    text = "torch==2.4.0 \\\n  --hash=sha256:00 \\\n  --hash=sha256:11\n-r other.txt\n"
    assert not list(
        requirement_rules.examine(from_bytes("requirements.txt", text.encode(), "text", text=text))
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("vocab.js.txt", "a"),
        ("page.html", "<p>text</p>"),
        ("weights.pth.txt", "import os"),
        (".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text"),
        ("data/pickle_module_info.txt", "mlflow.pytorch.pickle_module"),
        ("configs/tasks.json", "{}"),
        ("vocab.txt", "[PAD]\n!\n#\nhf_\n"),
        ("README.md", "# model\n```python\nimport os\nos.system('x')\n```\n"),
        ("LICENSE", "Apache"),
    ],
)
def test_ordinary_text_says_nothing(path, value):
    assert judge(repository_rules, path, value) == set()


@pytest.mark.parametrize(
    ("path", "head"),
    [
        ("model.bin", b"\x7fELF\x02\x01"),
        ("model.bin", b"\xcf\xfa\xed\xfe\x07"),
        ("model.bin", b"MZ" + bytes(62) + b"PE\0\0"),
        ("model.llamafile", b"MZqFpD='\n"),
        ("x.bin", b"\0asm\x01"),
        ("lib.so.1", b"anything"),
        ("x.DLL", b"anything"),
    ],
)
def test_programs_are_found_by_content_and_by_name(path, head):
    found = list(repository_rules.examine(from_bytes(path, head, "unknown")))
    assert [(f.rule, f.verdict) for f in found] == [("repository-program", UNLISTED)]


def test_weights_that_start_like_a_program_by_chance_are_left_to_their_reader():
    assert list(repository_rules.examine(from_bytes("a.bin", b"MZ" + bytes(4000), "unknown"))) == []


SECRETS = [
    "hf_" + "Zq" * 17, "AKIA" + "ABCD" * 4, "ghp_" + "a1" * 18, "github_pat_" + "a1_" * 20, "glpat-" + "a1" * 10, "AIza" + "b" * 35,
    "xoxb-" + "1234567890-" * 3, "sk-ant-" + "x" * 50, "sk-proj-" + "x" * 50, "npm_" + "a" * 36,
    "-----BEGIN RSA PRIVATE KEY-----", "sk_live_" + "4" * 24,
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_found_once_and_never_repeated(secret):
    text = f"a\ntoken = {secret}\n"
    (finding,) = secret_rules.examine(from_bytes("a.txt", text.encode(), "text", text=text))
    assert (finding.rule, finding.verdict) == ("repository-secret", NOTES)
    assert secret not in json.dumps(finding.to_json())
    (inside,) = secret_rules.examine(
        from_bytes("training_args.bin", b"\x80\x02X" + text.encode() + b".", "pickle")
    )
    assert secret not in json.dumps(inside.to_json())


def test_words_about_secrets_say_nothing():
    text = "export HF_TOKEN=hf_xxx; sk-learn AKIA ghp_ AIza -----BEGIN PUBLIC KEY-----"
    assert not list(secret_rules.examine(from_bytes("a.md", text.encode(), "text", text=text)))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from os import system as s\ns('x')", ["os.system"]),
        ("def f():\n    eval('1')\nf()", ["builtins.eval"]),
        ("__import__('os').popen('x')", ["builtins.__import__", "os.popen"]),
        ("class A:\n    def __init__(self): exec('')\nA()", ["builtins.exec"]),
        ("from subprocess import *\nrun = 1\nfrom os import *\nsystem('x')", ["os.system"]),
        ("import os\nlist(map(os.system, []))", ["os.system"]),
        ("@eval\ndef f(): pass", ["builtins.eval"]),
        ("def f(x=eval('1')): pass", ["builtins.eval"]),
        ("def f():\n    eval('1')", []),
        ("if __name__ == '__main__':\n    eval('1')", []),
        ("import re\nre.compile('x')\ncode = ''\ncode.strip()\nmodel.eval()", []),
    ],
)
def test_what_a_mere_import_would_do(source, names):
    from weighbridge.formats.python_source import read_python

    assert [act.name for act in read_python(source).at_import] == names


def test_the_rules_are_documented():
    from pathlib import Path

    from weighbridge.scanner import safetensors_rules, template_rules

    folder = Path(__file__).parents[2] / "docs" / "rules"
    for module in (
        safetensors_rules,
        template_rules,
        config_rules,
        repository_rules,
        requirement_rules,
        secret_rules,
    ):
        for rule in module.RULES:
            assert (folder / f"{rule.id}.md").read_text().startswith(f"# {rule.id}\n")
