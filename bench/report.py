"""report.py - turns what run.py measured into RESULTS.md: the goals first, then each figure."""

import os

from peers import FOLDER
from workloads import LARGE, SMALL

FERRULE, LAZY = "ferrule compile", "ferrule lazy"


def median(data, row, column):
    return data["rows"].get(row, {}).get(column, {}).get("median")


def ratio(data, row, over, under):
    a, b = median(data, row, over), median(data, row, under)
    return a / b if a and b else None


def streaming(key, row, title, column, limit, peers):
    """The goals of a kernel bound by memory: time of a copy's, and against jax."""
    found = [(key, f"{title}, of a copy", f"<= {limit:.2f}", row, column, "copy", limit, None)]
    for peer, factor in peers:
        goal = f">= {factor}x {peer}"
        found.append((f"{key} {peer}", title, goal, row, peer, column, None, factor))
    return found


# key, title, goal, row, numerator, denominator (None: the time itself), largest, smallest
GOALS = [
    *streaming(
        "gelu",
        "gelu_erf",
        "gelu, compiled",
        FERRULE,
        1.10,
        [("jax.jit", 8), ("jax.jit tuned", 2)],
    ),
    *streaming("gelu lazy", "gelu_erf", "gelu, lazily", LAZY, 1.15, []),
    *streaming(
        "softmax",
        "softmax",
        "softmax, composed",
        FERRULE,
        1.25,
        [("jax.jit", 6), ("jax.jit tuned", 2)],
    ),
    *streaming(
        "layer_norm",
        "layer_norm",
        "layer norm, composed",
        FERRULE,
        1.25,
        [("jax.jit", 6), ("jax.jit tuned", 2)],
    ),
    ("call", "gelu of 64 floats, Python", "<= 2 us", "gelu_64", FERRULE, None, 2e-6, None),
    ("call C", "gelu of 64 floats, C", "<= 0.5 us", "gelu_64", "ferrule C", None, 5e-7, None),
    ("add", "a + b of 64 floats, Python", "<= 2.5 us", "add_64", LAZY, None, 2.5e-6, None),
    ("add C", "a + b of 64 floats, C", "<= 0.6 us", "add_64", "ferrule C", None, 6e-7, None),
    ("first", "first call, cache empty", "<= 25 ms", "first_cold", FERRULE, None, 25e-3, None),
    (
        "first disk",
        "first call, disk cache",
        "<= 6 ms",
        "first_disk",
        FERRULE,
        None,
        6e-3,
        None,
    ),
    ("import", "import ferrule.core", "<= 20 ms", "import", "ferrule", None, 20e-3, None),
    ("import MB", "import, resident", "<= 20 MB", "import_bytes", "ferrule", None, 20e6, None),
    (
        "peak",
        "peak memory over input + output",
        "<= 1.01",
        "peak",
        FERRULE,
        "input + output",
        1.01,
        None,
    ),
]


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
    titles["first_cold"] = "First call of gelu on 4M floats, a fresh process, caches empty"
    titles["first_disk"] = "The same, from the disk cache"
    titles["import"] = "Import"
    titles["import_bytes"] = "Import, resident memory of the process"
    titles["peak"] = "Peak of resident memory added by gelu: its input, output and the rest"
    return titles


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
        "## Goals",
        "",
        *goals_table(data),
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
