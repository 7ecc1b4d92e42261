"""core.pyi names what ferrule.core has, and nothing else; likewise for the classes in it."""

import ast
import inspect
import os

import ferrule
import ferrule.core as mx
import pytest

STUBS = os.path.join(os.path.dirname(ferrule.__file__), "core.pyi")
# Names that the stubs need and the module does not have: kinds of arguments.
TYPES_ONLY = {"Scalar", "Operand", "Axis", "Shape", "StreamLike", "Function"}


def names_in(body):
    """name -> its node, for what a body of statements defines."""
    found = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = node
        elif isinstance(node, ast.Assign):
            found.update((target.id, node) for target in node.targets)
    return found


with open(STUBS, encoding="utf-8") as file:
    STUBBED = names_in(ast.parse(file.read()).body)


def public(names):
    return {name for name in names if not name.startswith("_")}


def test_every_public_name_has_a_stub():
    missing = public(vars(mx)) - STUBBED.keys()
    assert not missing, f"add to core.pyi.in: {sorted(missing)}"


def test_every_stub_has_a_name():
    extra = public(STUBBED) - vars(mx).keys() - TYPES_ONLY
    assert not extra, f"in core.pyi.in, but not in ferrule.core: {sorted(extra)}"


CLASSES = [name for name, node in STUBBED.items() if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("name", CLASSES)
def test_stubs_of_classes(name):
    real = getattr(mx, name)
    stubbed = names_in(STUBBED[name].body).keys()
    bare = real.__name__ == "module" if inspect.ismodule(real) else not isinstance(real, type)
    have = public(vars(real)) if bare or inspect.ismodule(real) else public(dir(real))
    have -= public(dir(Exception))
    assert have <= stubbed, f"{name}: add {sorted(have - stubbed)}"
    gone = {s for s in stubbed if not hasattr(real, s) and s not in ("__buffer__", "precision")}
    assert not gone, f"{name} has no {sorted(gone)}"


def parameters(node):
    a = node.args
    before = [p.arg for p in a.posonlyargs + a.args]
    return before, [p.arg for p in a.kwonlyargs], len(a.posonlyargs)


def test_signatures_are_the_stubs():
    """Where a function tells its signature, the stub has the same names in the same order."""
    wrong = []
    for name, node in STUBBED.items():
        if not isinstance(node, ast.FunctionDef) or any(
            isinstance(d, ast.Name) and d.id == "overload" for d in node.decorator_list
        ):
            continue
        try:
            real = inspect.signature(getattr(mx, name)).parameters.values()
        except (ValueError, TypeError, AttributeError, RuntimeError):  # RuntimeError: Python 3.9
            continue
        kinds = {p.kind for p in real}
        if inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.VAR_KEYWORD in kinds:
            continue
        before, keywords, _ = parameters(node)
        want = [p.name for p in real if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        only = [p.name for p in real if p.kind is inspect.Parameter.KEYWORD_ONLY]
        if [*before, *keywords] != [*want, *only]:
            wrong.append(f"{name}: stub {before} {keywords}, function {want} {only}")
    assert not wrong, "\n".join(wrong)


def test_all_functions_have_a_doc_string():
    bare = [
        name
        for name in public(vars(mx))
        if name != "ArrayIterator"
        and callable(getattr(mx, name))
        and not (getattr(mx, name).__doc__ or "").strip()
    ]
    assert not bare
