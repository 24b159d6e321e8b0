"""skops files: a schema beside arrays."""

import io
import json
import zipfile


def _node(module, name, loader, **more):
    return {"__module__": module, "__class__": name, "__loader__": loader, **more}


def _pack(schema):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("12.bin", bytes(range(200)))
        file.writestr("schema.json", json.dumps(schema))
    return out.getvalue()


def seeds():
    """Return good and bad files."""
    text = _node("builtins", "str", "JsonNode", content='"x"', is_json=True)
    plain = _node(
        "builtins",
        "dict",
        "DictNode",
        content={"a": text},
        key_types=_node("builtins", "list", "ListNode", content=[]),
    )
    model = _node("sklearn.svm._classes", "SVC", "ObjectNode", content=plain, protocol=2)
    return [
        _pack(plain),
        _pack(model),
        _pack(_node("os", "system", "FunctionNode")),
        _pack(_node("builtins", "dict", "MethodNode", content={"func": "update", "obj": plain})),
    ]
