#!/usr/bin/env python3
"""gen.py - makes everything that follows from the table of operations, src/op/ops.def.

    python3 tools/gen.py KIND src/op/ops.def OUTPUT [src/op/functions.def [TEMPLATE]]

KIND        what comes out
  header      ferrule/ops.h: a declaration for every row but REDUCE (ferrule.h has those)
  sugar       ferrule/sugar.h: numbers as operands of rows with two or more of them
  python      ops_py.inc: the rows of the Python extension's tables
  stubs       core.pyi: TEMPLATE (python/ferrule/core.pyi.in) with its markers filled
  reference   docs/reference.md
  functions   functions_py.inc: the composed functions for the Python extension, from
              functions.def alone (which stands in the place of ops.def)

Needs Python 3.9 and nothing else. OUTPUT is written only when its content changes, and whole or
not at all; "-" is standard output. An error names the file and the line, and exits with 1.
"""

import os
import re
import sys

import composed

# Columns of each class of row: (number of operands, names of the columns).
CLASSES = {
    "UNARY": (1, ["c", "python", "dtypes", "traits", "form", "da", "manual"]),
    "BINARY": (2, ["c", "python", "dtypes", "traits", "form", "da", "db", "manual"]),
    "TERNARY": (3, ["c", "python", "dtypes", "traits", "form", "da", "db", "dc", "manual"]),
    "REDUCE": (1, ["c", "python", "dtypes", "traits", "form", "da", "manual"]),
}
DTYPES = {
    "SAME": "any; the result is the same",
    "NUMBER": "any but bool; the result is the same",
    "FLOAT": "floats; integers and bool become float32; the result is the same",
    "COMPARE": "any; the result is bool",
    "LOGICAL": "any, taken as bool; the result is bool",
    "SELECT": "x is taken as bool; the result is what y and z promote to",
    "BITS": "integers and bool; the result has the promoted dtype",
    "SHIFT": "integers, bool becomes uint8; the result has the promoted dtype",
    "PART": "complex64 gives float32; any other type itself",
    "PAIR": "any but complex64, taken as float32; the result is complex64",
    "SUM": "any; bool, 8 and 16-bit integers become int32 or uint32; the result is the same",
}
TRAITS = {"0", "COMMUTES", "ASSOCIATES", "CHEAP", "COSTLY", "ODD", "EVEN"}
OPERANDS = ["x", "y", "z"]


class TableError(Exception):
    pass


class Row:
    """One row: the columns by name, with its class, line and number of operands."""

    def __init__(self, kind, line, values):
        self.kind = kind
        self.line = line
        self.operands = CLASSES[kind][0]
        for name, value in zip(CLASSES[kind][1], values):
            setattr(self, name, value)

    @property
    def derivatives(self):
        return [getattr(self, name) for name in ("da", "db", "dc")[: self.operands]]


# ---- reading the table ---------------------------------------------------------------------


def without_comments(text, path):
    """The text with comments blanked out, lines and columns kept."""
    out = []
    i = 0
    while i < len(text):
        if text[i] == '"':
            end = string_end(text, i, path)
            out.append(text[i:end])
            i = end
        elif text.startswith("/*", i):
            end = text.find("*/", i + 2)
            if end < 0:
                raise TableError(f"{path}:{line_of(text, i)}: comment is not closed")
            out.append(re.sub(r"[^\n]", " ", text[i : end + 2]))
            i = end + 2
        elif text.startswith("//", i):
            end = text.find("\n", i)
            end = len(text) if end < 0 else end
            out.append(" " * (end - i))
            i = end
        else:
            out.append(text[i])
            i += 1
    return "".join(out)


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def string_end(text, start, path):
    i = start + 1
    while i < len(text) and text[i] != '"':
        if text[i] == "\n":
            break
        i += 2 if text[i] == "\\" else 1
    if i >= len(text) or text[i] != '"':
        raise TableError(f"{path}:{line_of(text, start)}: string is not closed")
    return i + 1


def columns_of(text, start, path):
    """The top-level, comma-separated pieces between the parenthesis at `start` and its partner,
    and the position behind that."""
    pieces = []
    piece = start + 1
    depth = 0
    i = start
    while i < len(text):
        c = text[i]
        if c == '"':
            i = string_end(text, i, path)
            continue
        if c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
            if depth == 0:
                pieces.append(text[piece:i].strip())
                return pieces, i + 1
        elif c == "," and depth == 1:
            pieces.append(text[piece:i].strip())
            piece = i + 1
        i += 1
    raise TableError(f"{path}:{line_of(text, start)}: parenthesis is not closed")


def string_value(text):
    """The value of one or more adjacent C string literals; None if it isn't that."""
    if not re.fullmatch(r'(\s*"(?:[^"\\\n]|\\.)*"\s*)+', text):
        return None
    parts = re.findall(r'"((?:[^"\\\n]|\\.)*)"', text)
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), "".join(parts))


def check_row(row, where, seen):
    for column in ("c", "python"):
        name = getattr(row, column)
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
            raise TableError(f"{where}: {column} name {name!r} is not a lower-case identifier")
        if (column, name) in seen:
            raise TableError(
                f"{where}: {column} name '{name}' stands already in line {seen[column, name]}"
            )
        seen[column, name] = row.line
    if row.dtypes not in DTYPES:
        raise TableError(f"{where}: dtypes {row.dtypes!r} is none of {', '.join(DTYPES)}")
    for trait in row.traits.split("|"):
        if trait.strip() not in TRAITS:
            raise TableError(
                f"{where}: trait {trait.strip()!r} is none of {', '.join(sorted(TRAITS))}"
            )
    for column in ["form"] + ["da", "db", "dc"][: row.operands]:
        if not getattr(row, column):
            raise TableError(f"{where}: column '{column}' is empty")
    manual = string_value(row.manual)
    if manual is None:
        raise TableError(f"{where}: the manual must be a string, but is {row.manual!r}")
    if not manual.strip():
        raise TableError(f"{where}: the manual is empty")
    row.manual = manual


def raw_rows(path, classes):
    """(class, line, columns) of every row; classes: the names of their columns."""
    with open(path, encoding="utf-8") as file:
        text = without_comments(file.read(), path)
    rows = []
    i = 0
    while True:
        match = re.compile(r"\s*").match(text, i)
        i = match.end()
        if i == len(text):
            return rows
        where = f"{path}:{line_of(text, i)}"
        match = re.compile(r"([A-Za-z_]\w*)\s*").match(text, i)
        if not match:
            raise TableError(f"{where}: expected a row, found {text[i : i + 20].split()[0]!r}")
        kind = match[1]
        if kind not in classes:
            raise TableError(f"{where}: class {kind!r} is none of {', '.join(classes)}")
        if text[match.end() : match.end() + 1] != "(":
            raise TableError(f"{where}: {kind} is not followed by a parenthesis")
        values, end = columns_of(text, match.end(), path)
        names = classes[kind]
        if len(values) != len(names):
            raise TableError(
                f"{where}: {kind}({values[0]}, ...) has {len(values)} columns, "
                f"wanted {len(names)}: {', '.join(names)}"
            )
        rows.append((kind, line_of(text, i), values))
        i = end


def read_table(path):
    rows = []
    seen = {}
    for kind, line, values in raw_rows(path, {k: names for k, (_, names) in CLASSES.items()}):
        row = Row(kind, line, values)
        check_row(row, f"{path}:{line}", seen)
        rows.append(row)
    return rows


def read_functions(path):
    rows = []
    seen = {}
    for _, line, values in raw_rows(path, {"FUNCTION": composed.COLUMNS}):
        row = composed.Function(line, values)
        composed.check(row, f"{path}:{line}", seen, string_value, DTYPES, TableError)
        rows.append(row)
    return rows


# ---- derivatives as people write them -----------------------------------------------------


INFIX = {"ADD": ("+", 1), "SUB": ("-", 1), "MUL": ("*", 2), "DIV": ("/", 2)}
COMPARISONS = {"GT": ">", "LT": "<", "GE": ">=", "LE": "<=", "EQ": "==", "NE": "!="}


def infix(form, operands):
    """MUL(g, SUB(1, SQUARE(y))) -> g * (1 - square(result)), operands under their names."""
    names = {"g": "g", "y": "result"}
    names.update(zip("abc", operands))

    def walk(text):
        text = text.strip()
        match = re.match(r"([A-Za-z_]\w*)\s*\(", text)
        if not match:
            return names.get(text, text), 9
        pieces, _ = columns_of(text, match.end() - 1, form)
        name, parts = match[1], [walk(piece) for piece in pieces]
        if (name in INFIX or name in COMPARISONS) and len(parts) == 2:
            sign, level = INFIX.get(name) or (COMPARISONS[name], 0)
            left = parts[0][0] if parts[0][1] >= level else f"({parts[0][0]})"
            right = parts[1][0] if parts[1][1] > level else f"({parts[1][0]})"
            return f"{left} {sign} {right}", level
        if name == "NEG" and len(parts) == 1:
            return "-" + (parts[0][0] if parts[0][1] >= 2 else f"({parts[0][0]})"), 3
        return f"{name.lower()}({', '.join(part[0] for part in parts)})", 9

    return walk(form)[0]


def derivative_text(row):
    """One line, or None where there is no derivative."""
    operands = OPERANDS[: row.operands]
    lines = []
    for name, form in zip(operands, row.derivatives):
        if form != "NONE":
            text = "0" if form == "ZERO" else infix(form, operands)
            lines.append(text if row.operands == 1 else f"{name}: {text}")
    return "; ".join(lines) or None


# ---- what comes out ------------------------------------------------------------------------


def made_by(row_comment="/*", end=" */"):
    return f"{row_comment} Made by tools/gen.py from src/op/ops.def: change that instead.{end}\n"


def comment_lines(text):
    """A block comment, lines of at most 96 columns, continued under their own beginning."""
    out = []
    for line in text.split("\n"):
        indent = re.match(r"\s*(\w+  +)?", line).end()
        while len(line) > 92:
            cut = line.rfind(" ", indent + 1, 92)
            if cut < 0:
                break
            out.append(line[:cut])
            line = " " * indent + line[cut + 1 :]
        out.append(line)
    return "/* " + "\n * ".join(out) + " */\n"


def make_header(rows, functions, template):
    out = [
        "/* ops.h - operations element by element; operands broadcast and promote.\n",
        " *\n",
        " * dtype: what operands may be and what comes out. derivative: with g the incoming gradient.\n",
        " */\n",
        made_by(),
        "#ifndef FERRULE_OPS_H\n#define FERRULE_OPS_H\n\n",
        '#include "ferrule/ferrule.h"\n\n',
        '#ifdef __cplusplus\nextern "C" {\n#endif\n\n',
    ]
    for row in rows:
        if row.kind == "REDUCE":
            continue
        text = row.manual + "\n  dtype       " + DTYPES[row.dtypes]
        derivative = derivative_text(row)
        if derivative:
            text += "\n  derivative  " + derivative
        arguments = ", ".join(f"fr_array *{name}" for name in OPERANDS[: row.operands])
        out.append(comment_lines(text))
        out.append(f"FR_API fr_array *fr_{row.c}({arguments});\n\n")
    out.append("#ifdef __cplusplus\n}\n#endif\n#endif\n")
    return "".join(out)


def make_sugar(rows, functions, template):
    out = [
        "/* sugar.h - numbers as operands: fr_mul(x, 0.5). Included by ferrule.h, for C only.\n",
        " *\n",
        " * The functions stand behind the macros: (fr_mul)(x, y), &fr_mul.\n",
        " */\n",
        made_by(),
        "#ifndef FERRULE_SUGAR_H\n#define FERRULE_SUGAR_H\n\n",
    ]
    for row in rows:
        if row.operands < 2:
            continue
        names = "abc"[: row.operands]
        wrapped = ", ".join(f"FR_OPERAND({name})" for name in names)
        out.append(f"#define fr_{row.c}({', '.join(names)}) fr_{row.c}({wrapped})\n")
    out.append("\n#endif\n")
    return "".join(out)


def c_string(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def make_python(rows, functions, template):
    """Rows PY_<CLASS>(C name, Python name, manual): the extension defines the macros it wants.
    PY_PART: a function with one operand, but an attribute where others are methods."""
    out = [made_by()]
    kinds = [*CLASSES, "PART"]
    for kind in kinds:
        out.append(f"#ifndef PY_{kind}\n#define PY_{kind}(c_name, python_name, manual)\n#endif\n")
    for row in rows:
        kind = "PART" if row.dtypes == "PART" else row.kind
        out.append(f"PY_{kind}({row.c}, {row.python}, {c_string(row.manual)})\n")
    for kind in kinds:
        out.append(f"#undef PY_{kind}\n")
    return "".join(out)


REDUCE_SIGNATURE = "axis: Axis = None, keepdims: bool = False, *, stream: StreamLike = None"


def make_stubs(rows, composed_rows, template):
    if template is None:
        raise TableError("stubs: wanted a fifth argument, the template core.pyi.in")
    with open(template, encoding="utf-8") as file:
        text = file.read()

    def doc(row, indent):
        manual = row.manual[0].upper() + row.manual[1:]
        manual = manual.replace("\\", "\\\\").replace('"""', "'''")
        return f'{indent}    """{manual}."""\n'

    functions = []
    methods = []
    for row in rows:
        names = ["condition", "x", "y"] if row.operands == 3 else ["a", "b"][: row.operands]
        operands = ", ".join(f"{name}: Operand" for name in names)
        if row.kind == "REDUCE":
            signature = f"{operands}, /, {REDUCE_SIGNATURE}"
            method = f"self, {REDUCE_SIGNATURE}"
        else:
            only = " /, *," if row.operands == 3 else ""
            signature = f"{operands},{only} stream: StreamLike = None"
            method = "self, stream: StreamLike = None"
        functions.append(f"def {row.python}({signature}) -> array:\n{doc(row, '')}")
        if row.dtypes == "PART":
            methods.append(
                f"    @property\n    def {row.python}(self) -> array:\n{doc(row, '    ')}"
            )
        elif row.kind in ("UNARY", "REDUCE"):
            methods.append(f"    def {row.python}({method}) -> array:\n{doc(row, '    ')}")
    more_functions, more_methods, modules = composed.stubs(composed_rows, doc)
    places = [("# @functions@\n", functions + more_functions)]
    places.append(("    # @methods@\n", methods + more_methods))
    places += [(f"    # @{module}@\n", lines) for module, lines in sorted(modules.items())]
    for marker, lines in places:
        if text.count(marker) != 1:
            raise TableError(f"{template}: wanted the line {marker.strip()!r} once")
        text = text.replace(marker, "".join(lines))
    return made_by("#", "") + text


def make_reference(rows, composed_rows, template):
    titles = {
        "UNARY": "One operand",
        "BINARY": "Two operands",
        "TERNARY": "Three operands",
        "REDUCE": "Reductions",
    }
    out = [
        "<!-- Made by tools/gen.py from src/op/ops.def and functions.def: change those instead. -->\n",
        "# Operations\n\n",
        "Operands broadcast against each other and promote to a common dtype. A Python number, or a\n"
        "number in C's sugar, is weak: it takes the other operand's dtype unless that is of a lower\n"
        "kind. `g` is the incoming gradient; a dash says that there is no derivative; `composed`: a\n"
        "function made of others, whose derivatives are its own. Every function takes `stream=`.\n",
    ]
    for kind in CLASSES:
        of_kind = [row for row in rows if row.kind == kind]
        if not of_kind:
            continue
        out.append(f"\n## {titles[kind]}\n\n")
        if kind == "REDUCE":
            out.append(
                "In Python `name(x, axis=None, keepdims=False)`; in C `fr_name(x, options)` with\n"
                "`fr_reduce_options`, NULL for all axes.\n\n"
            )
        out.append("| Python | C | what it gives | dtypes | derivative |\n")
        out.append("| --- | --- | --- | --- | --- |\n")
        for row in of_kind:
            operands = ", ".join(OPERANDS[: row.operands])
            derivative = derivative_text(row)
            cells = [
                f"`{row.python}({operands})`",
                f"`fr_{row.c}`",
                row.manual,
                DTYPES[row.dtypes],
                f"`{derivative}`" if derivative else "-",
            ]
            out.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    if composed_rows:
        out.append(composed.reference(composed_rows, DTYPES))
    return "".join(out)


def make_functions(rows, _, template):
    """Rows for the Python extension, which defines the macros: see composed.binding."""
    out = [made_by().replace("ops.def", "functions.def")]
    macros = ["PY_FUNCTION", "PY_FUNCTION_METHOD"]
    macros += [f"PY_FUNCTION_IN_{module}" for module in ["core", *sorted(composed.MODULES)]]
    out += [f"#ifndef {name}\n#define {name}(...)\n#endif\n" for name in macros]
    out.append(composed.binding(rows, c_string))
    out += [f"#undef {name}\n" for name in macros]
    return "".join(out)


KINDS = {
    "header": make_header,
    "sugar": make_sugar,
    "python": make_python,
    "stubs": make_stubs,
    "reference": make_reference,
    "functions": make_functions,
}


def write(path, text):
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return  # unchanged: nothing that depends on it is built again
    except (OSError, UnicodeDecodeError):
        pass
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    partial = path + ".partial"
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(partial, path)


def main(arguments):
    if len(arguments) not in (3, 4, 5) or arguments[0] not in KINDS:
        sys.stderr.write(__doc__)
        return 1
    kind, table, output = arguments[:3]
    template = arguments[4] if len(arguments) == 5 else None
    try:
        rows = read_functions(table) if kind == "functions" else read_table(table)
        functions = read_functions(arguments[3]) if len(arguments) > 3 else []
        write(output, KINDS[kind](rows, functions, template))
    except (TableError, OSError) as error:
        sys.stderr.write(f"gen.py: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
