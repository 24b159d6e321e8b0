"""Files, functions and parameter lists stay small enough to be held in the head."""

import ast

from house_tree import functions, modules

FILE_HARD, FILE_AIM = 600, 400
FUNCTION_HARD, FUNCTION_AIM = 60, 40
POSITIONAL = 5


def length(node):
    """Return the lines of a function without its docstring: explaining is not growing."""
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        lines -= node.body[0].end_lineno - node.body[0].lineno + 1
    return lines


def test_no_file_is_too_long():
    sizes = {module.path: module.text.count("\n") for module in modules()}
    assert [f"{path}: {size} lines" for path, size in sizes.items() if size > FILE_HARD] == []
    long = [f"{path}: {size} lines" for path, size in sizes.items() if size > FILE_AIM]
    assert len(long) <= len(sizes) // 20, "more than one file in twenty is over the aim: " + ", ".join(long)


def test_no_function_is_too_long():
    sizes = {f"{m.path}:{f.lineno} {f.name}": length(f) for m in modules() for f in functions(m.tree)}
    assert [f"{place}: {size} lines" for place, size in sizes.items() if size > FUNCTION_HARD] == []
    long = [f"{place}: {size} lines" for place, size in sizes.items() if size > FUNCTION_AIM]
    assert len(long) <= len(sizes) // 20, "more than one function in twenty is over the aim: " + ", ".join(
        long
    )


def positional(node):
    """Count what can be passed by position, without self and cls."""
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_no_parameter_list_needs_counting():
    wide = [
        f"{module.path}:{node.lineno} {node.name} takes {positional(node)}"
        for module in modules()
        for node in functions(module.tree)
        if positional(node) > POSITIONAL
    ]
    assert wide == []


def test_the_length_leaves_the_docstring_out():
    (node,) = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    x = 1\n    return x\n').body
    assert length(node) == 3
