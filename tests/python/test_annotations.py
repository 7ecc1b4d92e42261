"""The packages in Python carry their types with them (py.typed): every public function and method of
nn, optimizers and utils says what it takes and gives, in a form that type checkers read."""

import ast
import importlib
import os

import ferrule
import pytest

ROOT = os.path.dirname(ferrule.__file__)
FILES = [
    os.path.join(folder, name)
    for part in ("nn", "optimizers")
    for folder, _, names in os.walk(os.path.join(ROOT, part))
    for name in sorted(names)
    if name.endswith(".py")
] + [os.path.join(ROOT, "utils.py")]


def public(name):
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def functions(body, prefix=""):
    """(name, node) of the functions of a file and of its classes, private classes included: their
    methods are inherited."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from functions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and public(node.name):
            yield prefix + node.name, node


def missing(node):
    a = node.args
    rest = [x for x in (a.vararg, a.kwarg) if x]
    names = [
        x.arg
        for x in a.posonlyargs + a.args + a.kwonlyargs + rest
        if x.annotation is None and x.arg not in ("self", "cls")
    ]
    return names + (["its result"] if node.returns is None else [])


@pytest.mark.parametrize("path", FILES, ids=lambda p: os.path.relpath(p, ROOT))
def test_every_public_function_is_annotated(path):
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    bare = {name: missing(node) for name, node in functions(tree.body) if missing(node)}
    assert not bare


def test_the_package_says_that_it_is_typed():
    assert os.path.exists(os.path.join(ROOT, "py.typed"))
    assert os.path.exists(os.path.join(ROOT, "core.pyi"))


@pytest.mark.parametrize("name", ["nn", "nn.layers", "optimizers"])
def test_names_are_exported_so_that_checkers_see_them(name):
    """Checkers know names by import statements and by __all__ as a list of texts, not as an
    expression: a name that is only in an expression must come by a star import of its file."""
    module = importlib.import_module(f"ferrule.{name}")
    with open(module.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    seen = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.names[0].name == "*":
                seen |= listed(importlib.import_module(node.module))
            else:
                seen |= {a.asname or a.name for a in node.names}
    assert set(module.__all__) <= seen


def listed(module):
    """The texts in the list that a module's __all__ begins with."""
    with open(module.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return {e.value for e in node.value.elts if isinstance(e, ast.Constant)}
    return set()
