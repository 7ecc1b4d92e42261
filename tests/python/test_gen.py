"""tools/gen.py: reads the table, and says where a row is wrong."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOOD = 'UNARY(exp, exp, FLOAT, COSTLY, MATH(exp, a), MUL(g, y), "e raised, (to) \\"x\\"")\n'


def gen(kind, table, tmp_path, *more):
    path, output = tmp_path / "ops.def", tmp_path / "out"
    path.write_text(table)
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "gen.py"), kind, str(path), str(output), *more],
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=60,
    )
    return done.returncode, done.stderr, output.read_text() if output.exists() else None


@pytest.mark.parametrize("kind", ["header", "sugar", "python", "stubs", "reference"])
def test_the_table(kind, tmp_path):
    functions = str(ROOT / "src" / "op" / "functions.def")
    more = [functions, str(ROOT / "python" / "ferrule" / "core.pyi.in")]
    more = more if kind == "stubs" else [functions] if kind == "reference" else []
    table = (ROOT / "src" / "op" / "ops.def").read_text()
    code, errors, text = gen(kind, table, tmp_path, *more)
    assert (code, errors) == (0, "")
    assert bool(re.search(r"\b(fr_)?exp\b", text)) == (kind != "sugar")
    if kind == "stubs":
        compile(text, "core.pyi", "exec")


def test_a_row(tmp_path):
    code, _, text = gen("header", "/* UNARY(no */\n" + GOOD, tmp_path)
    assert code == 0
    assert "FR_API fr_array *fr_exp(fr_array *x);" in text
    assert 'e raised, (to) "x"' in text and "derivative  g * result" in text
    code, _, text = gen("python", GOOD, tmp_path)
    assert 'PY_UNARY(exp, exp, "e raised, (to) \\"x\\"")' in text


@pytest.mark.parametrize(
    "table, line, text",
    [
        (GOOD + "UNRY(a)", 2, "class 'UNRY'"),
        ("\n\nUNARY(exp, exp, FLOAT)", 3, "has 3 columns, wanted 7"),
        (GOOD + GOOD, 2, "stands already in line 1"),
        (GOOD.replace("FLOAT", "FLAOT"), 1, "dtypes 'FLAOT'"),
        (GOOD.replace("COSTLY", "COSTLY | CHAEP"), 1, "trait 'CHAEP'"),
        (GOOD.replace("MUL(g, y)", ""), 1, "column 'da' is empty"),
        (GOOD[:-2], 1, "parenthesis is not closed"),
        (GOOD.replace('x\\""', "x"), 1, "string is not closed"),
        (GOOD.replace("exp, exp", "Exp, exp"), 1, "not a lower-case identifier"),
        ("/* open", 1, "comment is not closed"),
        (GOOD + "17", 2, "expected a row"),
        (GOOD.replace('"e raised, (to) \\"x\\""', "text"), 1, "manual must be a string"),
    ],
)
def test_errors(table, line, text, tmp_path):
    code, errors, output = gen("header", table, tmp_path)
    assert code == 1 and output is None
    assert f"ops.def:{line}: " in errors and text in errors


def test_unchanged_output_is_not_written(tmp_path):
    gen("header", GOOD, tmp_path)
    before = (tmp_path / "out").stat().st_mtime_ns
    gen("header", GOOD, tmp_path)
    assert (tmp_path / "out").stat().st_mtime_ns == before


FUNCTION = (
    'FUNCTION(shape, diag, diag, METHOD, "a: Operand, /, k: int = 0, *, stream: StreamLike = None", '
    '"array", SAME, "a matrix", "a pass", COMPOSED, "a diagonal")\n'
)


def test_a_composed_function(tmp_path):
    code, _, text = gen("functions", FUNCTION, tmp_path)
    assert code == 0
    assert 'PY_FUNCTION(diag, 1, 2, 1, "a", "k", "stream")' in text
    assert 'PY_FUNCTION_IN_core(diag, "diag(a, /, k=0, *, stream=None)\\n--' in text
    assert 'PY_FUNCTION_METHOD(diag, "diag($self, k=0, *, stream=None)' in text
    functions = tmp_path / "functions.def"
    functions.write_text(FUNCTION)
    template = str(ROOT / "python" / "ferrule" / "core.pyi.in")
    code, _, text = gen("stubs", GOOD, tmp_path, str(functions), template)
    assert "def diag(a: Operand, /, k: int = 0, *, stream: StreamLike = None) -> array:" in text
    assert "    def diag(self, k: int = 0, *, stream: StreamLike = None) -> array:" in text
    code, _, text = gen("reference", GOOD, tmp_path, str(functions))
    assert "| `diag(a, /, k=0)`, method | `fr_diag` | a diagonal |" in text


@pytest.mark.parametrize(
    "table, text",
    [
        (FUNCTION.replace("(shape", "(shap"), "class 'shap'"),
        (FUNCTION + FUNCTION, "stands already in line 1"),
        (FUNCTION.replace("k: int = 0", "k: int ="), "signature is not Python's"),
        (FUNCTION.replace("METHOD", "METHODS"), "trait 'METHODS'"),
        (FUNCTION.replace('"a pass"', '""'), "column 'cost'"),
        (FUNCTION.replace("COMPOSED", "SURE"), "derivative 'SURE'"),
    ],
)
def test_errors_of_composed_functions(table, text, tmp_path):
    code, errors, output = gen("functions", table, tmp_path)
    assert code == 1 and output is None and text in errors
