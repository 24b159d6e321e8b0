"""Each module says what it is for, has a name that means something, and leaves nothing open."""

import ast
import re

import pytest
from house_tree import modules, package, texts

NO_NAME = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "base",
    "manager",
    "managers",
    "misc",
    "shared",
    "stuff",
}
TODO = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\(#\d+\)|: #\d+)")  # a number makes it findable
FRONT_DOORS = [
    module for module in package() if module.path.endswith("/__init__.py") and module.path.count("/") == 3
]


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.path)
def test_it_opens_with_one_sentence(module):
    docstring = ast.get_docstring(module.tree)
    assert docstring, "a module opens with one sentence that says what it is for"
    first = docstring.split("\n\n", maxsplit=1)[0]
    assert first[-1] in ".:", f"the first sentence has no end: {first!r}"
    assert len(first.splitlines()) <= 3, "the first sentence is a paragraph"


def test_no_module_has_a_name_that_says_nothing():
    names = {module.path: module.path.removesuffix(".py").split("/") for module in modules()}
    assert [path for path, parts in names.items() if NO_NAME & set(parts)] == []


@pytest.mark.parametrize("module", FRONT_DOORS, ids=lambda module: module.path)
def test_a_front_door_is_a_docstring_and_perhaps_a_table(module):
    """What comes in, what goes out, the rule the room keeps, where to start: 10 to 25 lines, no code."""
    docstring = module.tree.body[0]
    lines = docstring.end_lineno - docstring.lineno + 1
    assert 10 <= lines <= 25, f"{lines} lines"
    for node in module.tree.body[1:]:
        assert is_future(node) or is_table(node), f"line {node.lineno} is neither docstring nor table"


def is_future(node):
    return isinstance(node, ast.ImportFrom) and node.module in (
        "__future__",
        "typing",
        "types",
        "collections.abc",
    )


def is_table(node):
    """A table is a literal bound to a name, a docstring of it, or `__all__`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if value is None:
        return False
    allowed = (ast.Dict, ast.Tuple, ast.List, ast.Set, ast.Constant, ast.Load)
    return all(isinstance(part, allowed) for part in ast.walk(value))


def test_every_room_has_a_front_door():
    rooms = {module.room for module in package() if "." not in module.room}
    assert rooms == {module.room for module in FRONT_DOORS}


def test_nothing_is_left_open_without_a_number():
    skip = "tests/house/test_house_modules.py"
    open_ends = [
        f"{path}: {match[0]}" for path, text in texts() if path != skip for match in TODO.finditer(text)
    ]
    assert open_ends == []
