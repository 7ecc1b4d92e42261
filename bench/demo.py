"""demo.py - what `make demo` runs: gelu on float32[32,1000,4096], three ways, from Python and C.

One operation at a time (fusion switched off), lazily (fused by eval) and through compile, beside a
copy of the same bytes measured in the same run. Prints a table and bars; writes bench/gelu.svg.

    bench/demo.py [--quick] [--svg PATH] [--threads N]
"""

import argparse
import math
import os
import shutil
import sys
import tempfile

import c_api
import machine
from peers import FOLDER, Peer, cache_environment, environment, interleave, once, say, summary
from workloads import LARGE

SHAPE = LARGE["gelu_erf"].shape
PROGRAM = """\
    def gelu(x):
        return x * (1 + mx.erf(x / math.sqrt(2))) / 2
"""
LANGUAGES = ("Python", "C")
WAYS = {"apart": "one operation at a time", "lazy": "lazily", "compile": "compiled"}


# way -> fusion, and how the library is called
SETTINGS = {"apart": ("off", "lazy"), "lazy": ("on", "lazy"), "compile": ("on", "compile")}


class Bar:
    """A row of the picture: what ran, its times, kernels and first call."""

    def __init__(self, cell, kernels, first):
        self.cell = cell
        self.milliseconds = cell["median"] * 1e3
        self.kernels = kernels
        self.first = first


class Demo:
    def __init__(self, shape, threads, folder, rounds, seconds):
        self.shape, self.threads, self.folder = shape, threads, folder
        self.rounds, self.seconds = rounds, seconds
        self.problems = []

    def problem(self, text):
        if text not in self.problems:
            self.problems.append(text)

    def environment(self, fusion, caches):
        env = environment(self.threads, True, cache_environment(caches, False))
        env.pop("FERRULE_FUSION", None)
        if fusion == "off":
            env["FERRULE_FUSION"] = "off"
        return env

    def first(self, way, call):
        """Median seconds of the first call in a fresh process, caches empty; None if it failed."""
        found = []
        for _ in range(3):
            with tempfile.TemporaryDirectory(dir=self.folder) as caches:
                answer = call(self.environment(SETTINGS[way][0], caches))
            if "seconds" not in answer:
                self.problem(f"first call: {answer.get('error') or answer.get('missing')}")
                return None
            found.append(answer["seconds"])
        return summary(found)["median"]

    def python(self):
        """The copy's times and the bars of Python, measured in interleaved turns."""
        steady = os.path.join(self.folder, "steady")
        peers, loaded, kernels = {}, {}, {}
        for way, (fusion, variant) in SETTINGS.items():
            if fusion not in peers:
                env = self.environment(fusion, steady)
                peers[fusion] = Peer(fusion, "ferrule", sys.executable, env)
            peer = peers[fusion]
            if peer.missing:
                self.problem(f"ferrule: {peer.missing}")
                continue
            answer = peer.ask(do="load", workload="gelu_erf", variant=variant, shape=self.shape)
            problem = answer.get("error") or answer.get("wrong")
            if problem:
                self.problem(f"{WAYS[way]}: {problem}")
                continue
            loaded[peer, variant] = way
            kernels[way] = peer.ask(do="kernels", variant=variant).get("kernels")
        limit = peers["copy"] = Peer(
            "copy", "limit", sys.executable, environment(self.threads, True)
        )
        if limit.missing:
            self.problem(f"copy: {limit.missing}")
        size = math.prod(self.shape)
        for variant in limit.variants:
            answer = limit.ask(do="load", workload="copy", variant=variant, shape=[size])
            if "error" in answer:
                self.problem(f"copy: {answer['error']}")
            else:
                loaded[limit, variant] = "copy"
        found, failed = interleave(list(loaded), self.rounds, self.seconds)
        for pair, problem in failed.items():
            self.problem(f"{loaded[pair]}: {problem}")
        for peer in peers.values():
            peer.close()
        copies = [cell for pair, cell in found.items() if loaded[pair] == "copy"]
        copy = min(copies, key=lambda cell: cell["median"]) if copies else None
        bars = {}
        for pair, way in loaded.items():
            if way != "copy" and pair in found:
                arguments = ("first", "ferrule", SETTINGS[way][1])
                first = self.first(way, lambda env, a=arguments: once(sys.executable, env, *a))
                bars[way] = Bar(found[pair], kernels[way], first)
        return copy, bars

    def c(self):
        """The bars of C, by c_calls.c."""
        program, problem = c_api.build(self.folder)
        if problem:
            self.problem(f"C: {problem}")
            return {}
        answers, bars = {}, {}
        for way, (fusion, name) in SETTINGS.items():
            if fusion not in answers:
                env = self.environment(fusion, os.path.join(self.folder, "steady"))
                budget = str(self.rounds * self.seconds)
                sizes = [str(size) for size in self.shape]
                answers[fusion] = c_api.run(program, env, "large", budget, *sizes)
            if "error" in answers[fusion]:
                self.problem(f"C: {answers[fusion]['error']}")
                continue
            entry = answers[fusion][name]
            first = self.first(way, lambda env, a=name: c_api.run(program, env, "first", a))
            bars[way] = Bar(summary(entry["times"]), entry["kernels"], first)
        return bars


def percent(copy, bar):
    return f"{100 * copy['median'] / bar.cell['median']:.0f} %" if copy else "-"


def show(copy, languages, width):
    """The table with bars, as lines of text."""
    all_bars = [bar for bars in languages.values() for bar in bars.values()]
    longest = max([bar.milliseconds for bar in all_bars] + ([copy["median"] * 1e3] if copy else []))
    room = max(10, width - 74)
    head = f"{'':34}{'ms':>8}  {'of copy speed':>13}  {'kernels':>7}  {'first call':>10}"
    lines = [head]

    def line(title, milliseconds, share, kernels, first):
        filled = max(1, round(room * milliseconds / longest)) if longest else 0
        kernels = "-" if kernels is None else str(kernels)
        first = "-" if first is None else f"{first * 1e3:.0f} ms"
        lines.append(
            f"{title:34}{milliseconds:8.1f}  {share:>13}  {kernels:>7}  {first:>10}  {'█' * filled}"
        )

    if copy:
        line("copy of the same bytes", copy["median"] * 1e3, "100 %", None, None)
    for language, bars in languages.items():
        for way, bar in bars.items():
            title = f"{language}, {WAYS[way]}"
            line(title, bar.milliseconds, percent(copy, bar), bar.kernels, bar.first)
    return lines


def picture(copy, languages, shape, threads):
    """An SVG of the bars: their lengths are times, the dashed line is the copy."""
    rows = [
        (f"{name}, {WAYS[way]}", bar)
        for name, bars in languages.items()
        for way, bar in bars.items()
    ]
    left, right, top, step = 240, 470, 74, 30
    longest = max([bar.milliseconds for _, bar in rows] + ([copy["median"] * 1e3] if copy else []))
    scale = right / longest
    height = top + step * len(rows) + 46
    size = ",".join(str(n) for n in shape)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="880" height="{height}" '
        f'viewBox="0 0 880 {height}" font-family="sans-serif" font-size="14">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="20" y="28" font-size="17" fill="#111111">gelu of float32[{size}], '
        f"{threads} threads: milliseconds, shorter is better</text>",
    ]
    for number, (title, bar) in enumerate(rows):
        y = top + step * number
        length = max(2.0, bar.milliseconds * scale)
        colour = {"one operation at a time": "#b8bec8", "lazily": "#5b8def"}
        fill = colour.get(title.partition(", ")[2], "#1f5fd6")
        notes = f"{bar.milliseconds:.1f} ms"
        if copy:
            notes += f", {percent(copy, bar)} of copy"
        if bar.kernels is not None:
            notes += f", {bar.kernels} kernel" + ("s" if bar.kernels != 1 else "")
        inside = length > 300
        anchor = 'text-anchor="end"' if inside else 'text-anchor="start"'
        x = left + length - 8 if inside else left + length + 8
        ink = "#ffffff" if inside and fill == "#1f5fd6" else "#111111"
        parts += [
            f'<text x="{left - 10}" y="{y + 15}" text-anchor="end" fill="#111111">{title}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="21" fill="{fill}"/>',
            f'<text x="{x:.1f}" y="{y + 15}" {anchor} fill="{ink}">{notes}</text>',
        ]
    if copy:
        x = left + copy["median"] * 1e3 * scale
        bottom = top + step * len(rows)
        parts += [
            f'<line x1="{x:.1f}" y1="{top - 8}" x2="{x:.1f}" y2="{bottom}" stroke="#d04a2b" '
            'stroke-width="1.5" stroke-dasharray="5 4"/>',
            f'<text x="{x:.1f}" y="{top - 14}" fill="#d04a2b">copy of the same bytes, '
            f"{copy['median'] * 1e3:.1f} ms</text>",
        ]
    facts = machine.describe(threads)
    parts += [
        f'<text x="20" y="{height - 16}" font-size="12" fill="#555555">{facts["processor"]}, '
        f"{facts['memory']}, {facts['date']}</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--svg", default=os.path.join(FOLDER, "gelu.svg"), metavar="PATH")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    threads = machine.use_threads(options.threads)
    # Two processes with an input, a result and temporaries, and the copy.
    shape = machine.fitting(SHAPE, 12)
    print(PROGRAM)
    size = ",".join(str(n) for n in shape)
    mebibytes = math.prod(shape) * 4 / 2**20
    print(f"gelu of float32[{size}]: {mebibytes:.0f} MiB in, as much out; {threads} threads")
    if shape != SHAPE:
        print(f"(little memory is free: {size} instead of {','.join(map(str, SHAPE))})")
    sys.stdout.flush()
    say("measuring ...")
    rounds, seconds = (3, 0.2) if options.quick else (7, 0.4)
    with tempfile.TemporaryDirectory(prefix="ferrule-demo-") as folder:
        demo = Demo(shape, threads, folder, rounds, seconds)
        copy, python = demo.python()
        from_c = demo.c()
    languages = {name: bars for name, bars in zip(LANGUAGES, (python, from_c)) if bars}
    if languages or copy:
        print()
        width = min(120, shutil.get_terminal_size((110, 24)).columns)
        print("\n".join(show(copy, languages, width)))
    if languages:
        print("first call: of 4M floats in a fresh process, its caches of compiled code empty")
        with open(options.svg, "w") as file:
            file.write(picture(copy, languages, shape, threads))
        print(f"\npicture: {os.path.relpath(options.svg)}")
    for problem in demo.problems:
        print(f"not shown: {problem}")
    return 1 if not python else 0


if __name__ == "__main__":
    sys.exit(main())
