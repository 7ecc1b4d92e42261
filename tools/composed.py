"""composed.py - the table of functions that are made of others, src/op/functions.def.

gen.py reads it with this. A row:

    FUNCTION(class, c_name, python_name, traits, "signature", "result",
             dtypes, "shapes", "cost", derivative, "manual")

class        which part of the reference: a key of CLASSES
c_name       fr_<c_name>; "-" where C has no function of its own for it
traits       0; METHOD: arrays have it as a method too; OVERLOADED: several forms, whose types
             stand in core.pyi.in
signature    Python's parameters with types and defaults, as a stub has them
result       the type of what comes out
dtypes       a rule of ops.def, or a string
shapes       what shape comes out, and what is wanted of the operands'
cost         in passes over memory, or as the reader counts
derivative   COMPOSED: by those of what it is made of; NONE: it has none
manual       one sentence
"""

import ast
import re

CLASSES = {
    "elementwise": "Element by element, made of others",
    "reduce": "Over axes, made of others",
    "shape": "Shape",
    "parts": "Parts put together and taken apart",
    "create": "Creation",
    "matrix": "Diagonals and triangles",
    "product": "Products",
    "linalg": "Linear algebra: `linalg.NAME`",
    "conv": "Convolutions",
}
MODULES = {"linalg"}  # classes whose functions are in a module of that name
COLUMNS = [
    "kind",
    "c",
    "python",
    "traits",
    "signature",
    "result",
    "dtypes",
    "shapes",
    "cost",
    "derivative",
    "manual",
]
TEXTS = ["signature", "result", "shapes", "cost", "manual"]
TRAITS = {"0", "METHOD", "OVERLOADED"}
DERIVATIVES = {"COMPOSED": "composed", "NONE": "-"}


class Function:
    """A row: the columns by name, and its parameters as Python reads them."""

    def __init__(self, line, values):
        self.line = line
        for name, value in zip(COLUMNS, values):
            setattr(self, name, value)

    @property
    def module(self):
        return self.kind if self.kind in MODULES else "core"

    def has(self, trait):
        return trait in [t.strip() for t in self.traits.split("|")]

    def arguments(self, typed=False, method=False):
        """The parameters as text; of a method without the first, which is self."""
        args = ast.parse(f"def f({self.signature}): ...").body[0].args

        def shown(arg, default=None, stars=""):
            text = stars + arg.arg
            if typed and arg.annotation:
                text += ": " + ast.unparse(arg.annotation)
            if default:
                text += (" = " if typed else "=") + ast.unparse(default)
            return text

        positional = args.posonlyargs + args.args
        defaults = [None] * (len(positional) - len(args.defaults)) + args.defaults
        out = [shown(arg, default) for arg, default in zip(positional, defaults)]
        if args.posonlyargs:
            out.insert(len(args.posonlyargs), "/")
        if method:
            out.pop(0)
            if out[:1] == ["/"]:
                out.pop(0)
        if args.vararg:
            out.append(shown(args.vararg, stars="*"))
        elif args.kwonlyargs:
            out.append("*")
        out += [shown(arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults)]
        return ", ".join(out)

    @property
    def slots(self):
        """What the binding's parser wants: names, and how many of them are required, may be
        positional, and can't be keywords. *arrays is read by hand."""
        args = ast.parse(f"def f({self.signature}): ...").body[0].args
        positional = args.posonlyargs + args.args
        names = [a.arg for a in positional + args.kwonlyargs]
        needed = [d is None for d in args.kw_defaults]
        required = len(positional) - len(args.defaults)
        if all(needed) and len(positional) == required:
            required += len(needed)
        return names, required, len(positional), len(args.posonlyargs)


def check(row, where, seen, string_value, dtypes, error):
    if row.kind not in CLASSES:
        raise error(f"{where}: class {row.kind!r} is none of {', '.join(CLASSES)}")
    for column in ("c", "python"):
        name = getattr(row, column)
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", name) and not (column == "c" and name == "-"):
            raise error(f"{where}: {column} name {name!r} is not a lower-case identifier")
    if row.python in seen:
        raise error(f"{where}: '{row.python}' stands already in line {seen[row.python]}")
    seen[row.python] = row.line
    for trait in row.traits.split("|"):
        if trait.strip() not in TRAITS:
            raise error(f"{where}: trait {trait.strip()!r} is none of {', '.join(sorted(TRAITS))}")
    if row.derivative not in DERIVATIVES:
        raise error(f"{where}: derivative {row.derivative!r} is none of COMPOSED, NONE")
    for column in TEXTS + ["dtypes"] * (row.dtypes not in dtypes):
        text = string_value(getattr(row, column))
        if not text:
            raise error(f"{where}: column '{column}' must be a string with something in it")
        setattr(row, column, text)
    try:
        names = row.slots[0]
    except SyntaxError as wrong:
        raise error(f"{where}: the signature is not Python's: {wrong.msg}") from None
    if names[-1:] != ["stream"] and "stream" in names:
        raise error(f"{where}: stream must be the last parameter")


def binding(rows, c_string):
    """Rows PY_FUNCTION(name, required, positional, positional_only, parameters...), then
    PY_FUNCTION_IN_<module>(name, doc) and PY_FUNCTION_METHOD(name, doc)."""
    out = []
    for row in rows:
        names, required, positional, positional_only = row.slots
        quoted = ", ".join(c_string(name) for name in names) or "NULL"
        numbers = f"{required}, {positional}, {positional_only}"
        out.append(f"PY_FUNCTION({row.python}, {numbers}, {quoted})\n")
    for row in rows:
        doc = c_string(f"{row.python}({row.arguments()})\n--\n\n{row.manual}")
        out.append(f"PY_FUNCTION_IN_{row.module}({row.python}, {doc})\n")
    for row in rows:
        if row.has("METHOD"):
            rest = row.arguments(method=True)
            doc = c_string(f"{row.python}($self{', ' if rest else ''}{rest})\n--\n\n{row.manual}")
            out.append(f"PY_FUNCTION_METHOD({row.python}, {doc})\n")
    return "".join(out)


def stubs(rows, doc):
    """The functions, the methods, and of each module its functions."""
    functions = []
    methods = []
    modules = {module: [] for module in MODULES}
    for row in rows:
        if row.has("OVERLOADED"):
            continue
        if row.module in modules:
            modules[row.module].append(
                f"    @staticmethod\n    def {row.python}({row.signature}) -> {row.result}:\n"
                f"{doc(row, '    ')}"
            )
            continue
        functions.append(f"def {row.python}({row.signature}) -> {row.result}:\n{doc(row, '')}")
        if row.has("METHOD"):
            rest = row.arguments(typed=True, method=True)
            methods.append(
                f"    def {row.python}(self{', ' if rest else ''}{rest}) -> {row.result}:\n"
                f"{doc(row, '    ')}"
            )
    return functions, methods, modules


def reference(rows, dtypes):
    out = []
    for kind, title in CLASSES.items():
        of_kind = [row for row in rows if row.kind == kind]
        if not of_kind:
            continue
        out.append(f"\n## {title}\n\n")
        out.append("| Python | C | what it gives | dtypes | shapes | cost | derivative |\n")
        out.append("| --- | --- | --- | --- | --- | --- | --- |\n")
        for row in of_kind:
            arguments = re.sub(r"(, )?(\*, )?\bstream=None", "", row.arguments())
            cells = [
                f"`{row.python}({arguments})`" + (", method" if row.has("METHOD") else ""),
                "-" if row.c == "-" else f"`fr_{row.c}`",
                row.manual,
                dtypes.get(row.dtypes, row.dtypes),
                row.shapes,
                row.cost,
                DERIVATIVES[row.derivative],
            ]
            out.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(out)
