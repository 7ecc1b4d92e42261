"""gpu.py - the figures on a GPU beside jax.jit, torch eager and torch.compile: writes a page.

    bench/gpu.py [--to FILE] [--quick | --slow] [--rows WORD,...] [--columns WORD,...]

Without options a table on standard output, in less than five minutes. --quick leaves
torch.compile out, --slow compiles everything with it (minutes). Every column runs in a process of its
own, one after the other, so that none holds memory or time of another; all caches of compiled code
begin empty. A row that fails, or takes too long, is a dash with its reason. What holds a figure
back, as found, stands in bench/reasons-gpu.txt, a line each: `row: reason`.
"""

import argparse
import datetime
import json
import os
import platform
import select
import subprocess
import sys
import tempfile
import time

import machine
from gpu_rows import COLUMNS, FIRST, LM_FIRST, PEERS, ROWS, bytes_of, has
from peers import FOLDER, cache_environment, say
from report import time_text

WORKER = os.path.join(FOLDER, "gpu_worker.py")
REASONS = os.path.join(FOLDER, "reasons-gpu.txt")
BUDGET = 270  # seconds for all, without --slow


class Child:
    """A worker: its answers one by one, each within a time, or None and the reason."""

    def __init__(self, python, env, *arguments):
        self.log = tempfile.TemporaryFile()
        self.buffer, self.problem = b"", ""
        self.process = subprocess.Popen(
            [python, WORKER, *arguments], env=env, stdout=subprocess.PIPE, stderr=self.log
        )

    def answer(self, patience):
        end = time.monotonic() + patience
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                self.problem = f"no answer within {patience:.0f} s"
                return None
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                self.problem = self.last_words()
                return None
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def last_words(self):
        status = self.process.wait()
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return (lines[-1][:300] if lines else "") or f"ended with status {status}"

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Run:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.begin = time.monotonic()
        self.cells = {title: {} for title in options.titles}  # title -> row -> answer
        self.versions, self.copies, self.card = {}, {}, ""
        self.size = "small" if options.small else "full"

    def left(self):
        return self.options.budget - (time.monotonic() - self.begin)

    def python(self, title):
        ours = COLUMNS[title][0] == "ferrule"
        return sys.executable if ours else self.options.peers_python

    def environment(self, title, caches, persistent=False):
        """The caller's, with caches of its own; a `TMPDIR` of its own stays the caller's."""
        library = COLUMNS[title][0]
        env = {**os.environ, **cache_environment(caches, persistent)}
        env["TRITON_CACHE_DIR"] = os.path.join(caches, "triton")
        env["FERRULE_DEVICE"] = self.options.device
        if library != "ferrule" and self.options.peers_python != sys.executable:
            env.pop("PYTHONPATH", None)
        if library == "jax" and self.options.device == "cpu":
            env["JAX_PLATFORMS"] = "cpu"
        if self.options.device == "cpu":
            env["CUDA_VISIBLE_DEVICES"] = ""
        return env

    def limits(self):
        sizes = {str(bytes_of(key, self.options.small)) for key in ("gelu", "softmax")}
        child = Child(sys.executable, dict(os.environ), "copy", self.options.device, *sizes)
        answer = child.answer(60)
        if answer:
            self.card = answer["name"]
            self.copies = {int(size): value for size, value in answer["copies"].items()}
        else:
            say(f"the copy failed: {child.problem}")
        child.close()

    def column(self, title):
        """All rows of a column. A worker that dies or hangs costs its row, and is started anew."""
        options, cells = self.options, self.cells[title]
        keys = []
        for key in options.keys:
            reason = has(title, key, options.quick, options.slow)
            if reason:
                cells[key] = {"skipped": reason}
            elif key == "first" and self.left() < 20:
                cells[key] = {"error": "no time was left"}
            elif key == "first":
                cells[key] = self.first(title)
                say(f"  {title:14} {key:16} {cells[key]}")
            else:
                keys.append(key)
        caches = os.path.join(self.folder, title.replace(" ", "-"))
        while keys:
            if self.left() < 3:
                cells.update({key: {"error": "no time was left"} for key in keys})
                return
            child = Child(
                self.python(title),
                self.environment(title, caches),
                *("rows", *COLUMNS[title], options.device, self.size, str(options.seconds)),
                *keys,
            )
            hello = child.answer(min(options.patience, max(1, self.left())))
            if not hello:
                cells.update({key: {"error": child.problem} for key in keys})
                child.close()
                return
            self.versions[COLUMNS[title][0]] = hello["version"]
            while keys:
                key = keys[0]
                patience = min(options.patience, self.left())
                answer = child.answer(patience) if patience > 1 else None
                late = "no time was left" if patience <= 1 else child.problem
                cells[key] = answer or {"error": late}
                say(f"  {title:14} {key:16} {short(cells[key])}")
                keys.pop(0)
                if not answer:
                    break
            child.close()

    def first(self, title):
        """First calls in fresh processes: caches empty (median of a few), then full."""
        found = []
        for number in range(1 if self.options.slow or "jax" in title else 3):
            caches = os.path.join(self.folder, f"first-{title}-{number}".replace(" ", "-"))
            answers = [self.first_once(title, caches) for _ in range(2)]
            for answer in answers:
                if "error" in answer:
                    return answer
            cold, warm = answers
            found.append((cold["gelu_erf"], cold["second"], warm["gelu_erf"]))
        middle = [sorted(each)[len(found) // 2] for each in zip(*found)]
        return dict(zip(FIRST, middle))

    def first_once(self, title, caches):
        os.makedirs(caches, exist_ok=True)
        child = Child(
            self.python(title),
            self.environment(title, caches, True),
            *("first", *COLUMNS[title], self.options.device, self.size),
        )
        answer = child.answer(min(self.options.patience, max(1, self.left())))
        problem = child.problem
        child.close()
        if answer:
            self.versions[COLUMNS[title][0]] = answer["version"]
        return answer or {"error": problem}

    def check_losses(self):
        """A library whose loss of the first step is another has no time."""
        for key in self.options.keys:
            ours = self.cells.get("ferrule", {}).get(key, {}).get("loss")
            for cells in self.cells.values():
                loss = cells.get(key, {}).get("loss")
                if ours is not None and loss is not None and abs(loss - ours) > 5e-3 * abs(ours):
                    cells[key] = {"error": f"a loss of {loss:g}, ferrule's is {ours:g}"}


def short(cell):
    return time_text(cell["median"]) if "median" in cell else cell.get("error", "-")


# --- the page -----------------------------------------------------------------------------------


def driver():
    """Version of the driver, as nvidia-smi has it."""
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30)
        return done.stdout.splitlines()[0].strip()
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "unknown"


def goal_of(run, key):
    goal = ROWS[key].goal
    if goal == "copy":
        return run.copies.get(bytes_of(key, run.options.small))
    return goal


def verdict(ours, goal):
    if ours is None or goal is None:
        return "-"
    return f"reached ({ours / goal:.2f})" if ours <= goal else f"missed ({ours / goal:.2f})"


def line_of(run, title_of_row, goal, times, ways, goal_text):
    """A row of the table: times by column, the ratio to ferrule's behind each peer's."""
    ours = times.get("ferrule")
    line = [title_of_row]
    for title in run.options.titles:
        value = times.get(title)
        if value is None:
            line.append("-")
            continue
        text = time_text(value)
        if ways.get(title):
            text += f" {ways[title]}"
        if ours and not title.startswith("ferrule"):
            text += f" ({value / ours:.2f})"
        line.append(text)
    peers = [times[title] for title in PEERS if times.get(title)]
    line.append(f"{min(peers) / ours:.2f}" if peers and ours else "-")
    return "| " + " | ".join([*line, goal_text, verdict(ours, goal)]) + " |"


def table(run):
    head = ["", *run.options.titles, "best peer / ferrule", "goal", "ferrule"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " --- |" * (len(head) - 1)]
    for key in run.options.keys:
        cells = {title: run.cells[title].get(key, {}) for title in run.options.titles}
        if key == "first":
            for part, (title, goal) in FIRST.items():
                times = {name: cell.get(part) for name, cell in cells.items()}
                lines.append(line_of(run, title, goal, times, {}, time_text(goal)))
            continue
        goal = goal_of(run, key)
        text = time_text(goal) if goal else "-"
        if ROWS[key].goal == "copy":
            text = f"the copy, {text}"
        times = {name: cell.get("median") for name, cell in cells.items()}
        ways = {name: cell.get("way") for name, cell in cells.items()}
        lines.append(line_of(run, ROWS[key].title, goal, times, ways, text))
        if key == "lm_step":
            times = {name: cell.get("first") for name, cell in cells.items()}
            lines.append(line_of(run, "its first call", LM_FIRST, times, {}, time_text(LM_FIRST)))
    return lines


def document_program(run):
    """The document's gelu, plain against compiled."""
    ours, plain = (
        run.cells.get(title, {}).get("gelu", {}).get("median")
        for title in ("ferrule", "ferrule plain")
    )
    if not ours or not plain:
        return []
    return [
        "",
        f"The document's program (gelu of float32[32,1000,4096]): plain {time_text(plain)}, compiled "
        f"{time_text(ours)}: {plain / ours:.2f} times as fast. Plain is fused, too.",
    ]


def failures(run):
    lines = []
    for title in run.options.titles:
        for key, cell in run.cells[title].items():
            reason = cell.get("error") or cell.get("skipped")
            if reason and cell.get("skipped") != "compiled only":
                lines.append(f"- {title}, {ROWS[key].title}: {reason}")
    return ["", "## Dashes", "", *lines] if lines else []


def reasons(run):
    text = machine.read(REASONS).splitlines()
    found = []
    for line in text:
        words, colon, reason = line.partition(": ")
        # The line begins with a row's key, or the first words of its title.
        for key, row in ROWS.items():
            if colon and (key == words or row.title.startswith(words)):
                found.append(f"- {row.title}: {reason.strip()}")
                break
    return ["", "## Why a figure isn't reached, as found", "", *found] if found else []


def page(run):
    options = run.options
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    copies = "; ".join(
        f"{size / 1e6:.0f} MB in {time_text(seconds)}, {2 * size / seconds * 1e-12:.2f} TB/s"
        for size, seconds in sorted(run.copies.items())
    )
    mode = "--quick" if options.quick else "--slow" if options.slow else "as it stands"
    if options.small:
        mode += ", small sizes: to try the program out, no figures"
    now = datetime.datetime.now(datetime.timezone.utc)
    return [
        "# On a GPU",
        "",
        "Written by `bench/gpu.py`. Medians of the wall clock around many queued calls and one wait, divided by",
        "their number; the same for every library. Behind a peer's time its ratio to ferrule's, above 1 where",
        "ferrule is faster; behind a goal what was reached of it, 1.00 or less where it is.",
        "",
        f"- device: {run.card or options.device}, driver {driver() if options.device == 'gpu' else '-'}",
        f"- host: {machine.processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        f"- versions: {versions}, Python {platform.python_version()}",
        f"- date: {now.strftime('%Y-%m-%d %H:%M UTC')}, {time.monotonic() - run.begin:.0f} s, {mode}",
        f"- a copy on the device (read and written): {copies or '-'}",
        "- float32 products: TF32 in jax (its default) and torch (`set_float32_matmul_precision('high')`); in",
        f"  ferrule unless `FERRULE_TF32=0` (here {os.environ.get('FERRULE_TF32', 'not set')})",
        "- torch's training steps: torch.compile of the loss in mode reduce-overhead, its own fused Adam",
        "",
        *table(run),
        *document_program(run),
        *failures(run),
        *reasons(run),
    ]


def chosen(names, words):
    words = [word for word in words.split(",") if word]
    return [name for name in names if not words or any(word in name for word in words)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", metavar="FILE", help="the page as markdown, after each column anew")
    parser.add_argument("--rows", default="", metavar="WORDS", help=", ".join(ROWS))
    parser.add_argument("--columns", default="", metavar="WORDS", help=", ".join(COLUMNS))
    parser.add_argument("--quick", action="store_true", help="no torch.compile, fewer repeats")
    parser.add_argument("--slow", action="store_true", help="torch.compile of everything")
    parser.add_argument("--device", default="gpu", choices=("gpu", "cpu"))
    parser.add_argument("--small", action="store_true", help="small sizes, to try this out")
    parser.add_argument("--seconds", type=float, help="of queued calls, a repeat (0.06)")
    parser.add_argument("--patience", type=float, help="seconds for a row (60; --slow: 300)")
    parser.add_argument("--budget", type=float, help=f"seconds for all ({BUDGET}; --slow: 3000)")
    default = os.environ.get("FERRULE_BENCH_PYTHON") or sys.executable
    parser.add_argument("--peers-python", default=default, metavar="PATH")
    options = parser.parse_args()
    options.keys, options.titles = chosen(ROWS, options.rows), chosen(COLUMNS, options.columns)
    options.seconds = options.seconds or (0.03 if options.quick else 0.06)
    options.patience = options.patience or (300 if options.slow else 60)
    options.budget = options.budget or (3000 if options.slow else BUDGET)
    with tempfile.TemporaryDirectory(prefix="ferrule-gpu-") as folder:
        run = Run(options, folder)
        run.limits()
        for title in options.titles:
            run.column(title)
            run.check_losses()
            text = "\n".join(page(run)) + "\n"
            if options.to:
                with open(options.to, "w") as file:
                    file.write(text)
    print(text)
    return 0 if any("median" in cell for cell in run.cells.get("ferrule", {}).values()) else 1


if __name__ == "__main__":
    sys.exit(main())
