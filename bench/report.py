"""report.py - turns what run.py measured into RESULTS.md: the goals first, then each figure."""

import math
import os

from goals import FERRULE, GOALS, LAZY
from peers import FOLDER
from workloads import LARGE, SMALL, steps


def median(data, row, column):
    return data["rows"].get(row, {}).get(column, {}).get("median")


def ratio(data, row, over, under):
    """Of two columns of a row; under may be one of another row: (row, column)."""
    other = under if isinstance(under, tuple) else (row, under)
    a, b = median(data, row, over), median(data, *other)
    return a / b if a and b else None


def time_text(seconds):
    for unit, name, digits in ((1, "s", 2), (1e-3, "ms", 2), (1e-6, "us", 2)):
        if seconds >= unit:
            value = seconds / unit
            return f"{value:.{0 if value >= 100 else 1 if value >= 20 else digits}f} {name}"
    return f"{seconds * 1e9:.0f} ns"


def value_text(row, value):
    return f"{value / 1e6:.0f} MB" if row in ("import_bytes", "peak") else time_text(value)


def reasons():
    found = {}
    with open(os.path.join(FOLDER, "reasons.txt")) as file:
        for line in file:
            key, colon, reason = line.partition(":")
            if colon and not line.startswith("#"):
                found[key.strip()] = reason.strip()
    return found


def judge(data):
    """The goals with what was measured: key, title, goal, measured, reached, reason."""
    known = reasons()
    judged = []
    for key, title, goal, row, over, under, largest, smallest in GOALS:
        value = ratio(data, row, over, under) if under else median(data, row, over)
        entry = {"key": key, "title": title, "goal": goal, "measured": value, "reached": None}
        if value is not None:
            entry["reached"] = value <= largest if largest else value >= smallest
            suffix = "x" if smallest else ""
            entry["text"] = f"{value:.2f}{suffix}" if under else value_text(row, value)
        if entry["reached"] is False:
            entry["reason"] = known.get(key, "not looked into yet")
        judged.append(entry)
    return judged


def goals_table(data):
    lines = ["| | goal | measured | reached |", "| --- | --- | --- | --- |"]
    for entry in data["goals"]:
        answer = {
            True: "yes",
            False: "**no**: " + entry.get("reason", ""),
            None: "not measured",
        }
        text = entry.get("text", "-")
        lines.append(
            f"| {entry['title']} | {entry['goal']} | {text} | {answer[entry['reached']]} |"
        )
    return lines


def flops(data, row):
    """Share of the processor's peak."""
    step, ours = steps.ALL.get(row), median(data, row, FERRULE)
    peak = data.get("peak")
    return step.flops / ours / peak if step and step.flops and ours and peak else None


def overview(data):
    """Every row: ours, the best of the others, and what share of the machine's limit ours reaches."""
    lines = [
        "| | ferrule | best of the others | its time / ours | of the limit |",
        "| --- | --- | --- | --- | --- |",
    ]
    ratios, known, late = [], reasons(), []
    for row, title in row_titles(data).items():
        cells = data["rows"].get(row, {})
        ours = median(data, row, FERRULE) or median(data, row, LAZY) or median(data, row, "ferrule")
        others = {
            column: cell["median"]
            for column, cell in cells.items()
            if "median" in cell
            and not column.startswith("ferrule")
            and column not in ("copy", "input + output")
        }
        if not ours:
            continue
        best = min(others, key=others.get) if others else None
        copied, share = median(data, row, "copy"), flops(data, row)
        limit = f"{copied / ours:.0%} of a copy's speed" if copied else ""
        limit = f"{share:.0%} of the peak" if share else limit
        line = [title, value_text(row, ours)]
        line += [f"{best}, {value_text(row, others[best])}" if best else "-"]
        line += [f"{others[best] / ours:.2f}" if best else "-", limit]
        if best:
            ratios.append(others[best] / ours)
        if best and others[best] < ours:
            late.append(f"- {title}: {known.get('behind ' + row, 'not looked into yet')}")
        lines.append("| " + " | ".join(line) + " |")
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        behind = sum(r < 1 for r in ratios)
        text = f"Geometric mean of the others' best by ours: {mean:.2f}; behind in {behind} rows of {len(ratios)}."
        lines += ["", text]
        lines += ["", "Behind:", "", *late, ""] if late else []
        if data.get("peak"):
            lines += [
                f"The peak: {data['peak'] * 1e-9:.0f} GF/s of multiply-adds in registers (float32)."
            ]
    return lines


def row_table(data, row):
    """One workload: each column's median with min..max, against a copy and against ferrule."""
    cells = data["rows"].get(row, {})
    limit, ours = (
        median(data, row, "copy"),
        median(data, row, FERRULE) or median(data, row, LAZY),
    )
    if row in ("import", "import_bytes"):
        ours = median(data, row, "ferrule")
    head = ["", "median", "min..max", "samples"]
    head += ["of a copy"] if limit else []
    head += ["of ferrule"] if ours else []
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for column, cell in sorted(cells.items(), key=lambda item: item[1].get("median", 1e9)):
        if "median" not in cell:
            continue
        values = [value_text(row, cell[name]) for name in ("median", "min", "max")]
        line = [column, values[0], f"{values[1]} .. {values[2]}", str(cell["count"])]
        line += [f"{cell['median'] / limit:.2f}"] if limit else []
        line += [f"{cell['median'] / ours:.2f}"] if ours else []
        lines.append("| " + " | ".join(line) + " |")
    return lines


def row_titles(data):
    titles = {}
    for key, workload in {**LARGE, **SMALL}.items():
        name = workload.title.rpartition(", ")[0] if key in LARGE else workload.title
        shape = "x".join(str(size) for size in data["shapes"].get(key, workload.shape))
        titles[key] = f"{name}, float32 {shape}" if key in LARGE else name
    titles.update({row: step.title for row, step in steps.ALL.items()})
    titles["first_cold"] = "First call of gelu on 4M floats, a fresh process, caches empty"
    titles["first_disk"] = "The same, from the disk cache"
    titles["import"] = "Import"
    titles["import_bytes"] = "Import, resident memory of the process"
    titles["peak"] = "Peak of resident memory added by gelu: its input, output and the rest"
    return titles


def first_steps(data):
    """First calls of the training steps: compilation and the step itself."""
    lines = []
    for row, step in steps.ALL.items():
        cells = data["rows"].get(row, {})
        found = [f"{c} {cell['first']:.2f} s" for c, cell in cells.items() if cell.get("first")]
        if row.endswith("_step") and found:
            lines.append(f"- {step.title}: {', '.join(found)}")
    return ["", "## First calls of training steps", "", *lines] if lines else []


def markdown(data):
    machine = data["machine"]
    lines = [
        "# Measured",
        "",
        "Written by `make bench`; the figures behind it are in RESULTS.json.",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    versions = ", ".join(f"{key} {value}" for key, value in data["versions"].items())
    lines += [f"- versions: {versions}"]
    for note in data["notes"]:
        lines += [f"- note: {note}"]
    lines += [
        "",
        "Each library runs in a process of its own; turns are interleaved, and a process is",
        "stopped while another one measures. Times are medians with min..max. `copy` is the better",
        "of memcpy and non-temporal stores by as many pinned threads, for as many bytes as the",
        "workload must move (a sum only reads: half the time of copying its input).",
        "`jax.jit tuned` has glibc keep large blocks, in huge pages",
        "(`GLIBC_TUNABLES=glibc.malloc.hugetlb=1",
        "MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184`). Programs are composed of",
        "primitives; `built in` is the library's own operation instead. Ratios travel, absolute",
        "times do not.",
        "",
        "## Every row",
        "",
        *overview(data),
        "",
        "## Goals",
        "",
        *goals_table(data),
        *first_steps(data),
    ]
    for row, title in row_titles(data).items():
        if any("median" in cell for cell in data["rows"].get(row, {}).values()):
            lines += ["", f"## {title}", "", *row_table(data, row)]
    failures = [
        f"- {row}, {column}: {cell['failed']}"
        for row, cells in data["rows"].items()
        for column, cell in cells.items()
        if "failed" in cell
    ]
    if failures:
        lines += ["", "## Failed", "", *failures]
    return "\n".join(lines) + "\n"
