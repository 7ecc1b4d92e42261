"""worker.py - runs the workloads of one library in its own process, as run.py and demo.py ask.

    worker.py serve LIBRARY            JSON requests on standard input, answers on output
    worker.py first LIBRARY VARIANT    the first call of gelu in this process; one answer
    worker.py peak LIBRARY VARIANT N   peak memory of gelu of N floats; one answer
    worker.py step LIBRARY VARIANT ROW WAY   peak memory of a program of steps.py; one answer
    worker.py import MODULE            what importing the module costs; one answer

Needs only the library itself and the Python it was installed for.
"""

import sys
import time


def measure_import(module):
    """Stands before every other import, so that what the library needs is counted to it."""
    before = resident("VmRSS")
    start = time.perf_counter()
    __import__(module)
    seconds = time.perf_counter() - start
    after = resident("VmRSS")
    return {"seconds": seconds, "bytes": after - before, "process_bytes": after}


def resident(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__" and sys.argv[1] == "import":
    print(str(measure_import(sys.argv[2])).replace("'", '"'))
    sys.exit()

import array  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402

import workloads  # noqa: E402
from workloads import steps  # noqa: E402

FIRST_CALL_FLOATS = 4 << 20


def open_library(name):
    return importlib.import_module("workloads." + name)


def prepare(library, workload, variant):
    """The wrapped program, or None where the library has none."""
    program = library.PROGRAMS.get(workload)
    return library.VARIANTS[variant](program) if program else None


# --- is the result right? -------------------------------------------------------------------


def flat(values):
    if not isinstance(values, list):
        return [values]
    return [v for part in values for v in flat(part)]


def expected(kind, row):
    """The reference for one row, in plain Python doubles."""
    if kind == "gelu_erf":
        return [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in row]
    if kind == "gelu_tanh":
        inner = [math.sqrt(2 / math.pi) * (v + 0.044715 * v**3) for v in row]
        return [0.5 * v * (1 + math.tanh(t)) for v, t in zip(row, inner)]
    if kind == "softmax":
        top = max(row)
        e = [math.exp(v - top) for v in row]
        total = math.fsum(e)
        return [v / total for v in e]
    mean = math.fsum(row) / len(row)
    variance = math.fsum((v - mean) ** 2 for v in row) / len(row)
    if kind == "layer_norm":
        return [(v - mean) / math.sqrt(variance + 1e-5) for v in row]
    return [{"sum_axis0": math.fsum(row), "sum_axis1": math.fsum(row), "var_axis0": variance}[kind]]


def check(kind, x, y):
    """None if the last row (or column) of the result is right, else what is wrong."""
    if kind is None:
        return None
    if kind == "sum_all":
        # Uniform numbers in [0, 1): the sum is known to about 0.1 %.
        want = math.prod(x.shape) / 2
        got = float(y.tolist())
        return None if abs(got - want) < 1e-3 * want else f"sum {got}, about {want} expected"
    if len(x.shape) == 1:
        row, got = x.tolist(), y.tolist()
    elif kind.endswith("axis0"):
        row, got = flat(x[:, -1].tolist()), flat(y[-1].tolist())
    else:
        last = (-1,) * (len(x.shape) - 1)
        row, got = flat(x[last].tolist()), flat(y[last].tolist())
    want = expected(kind, row)
    if len(got) != len(want):
        return f"{len(got)} values, {len(want)} expected"
    scale = max(abs(v) for v in want)
    worst = max(abs(g - w) for g, w in zip(got, want))
    return None if worst <= 2e-5 * scale else f"off by {worst / scale:.1e} of the largest value"


# --- serve ----------------------------------------------------------------------------------


class Server:
    def __init__(self, library):
        self.library = library
        self.inputs = {}
        self.call = None
        self.slow = False
        self.batch = 1
        self.steps = {}

    def hello(self, request):
        return {"version": self.library.VERSION, "variants": list(self.library.VARIANTS)}

    def load(self, request):
        """Make the input and the program, call it once and check what came out."""
        workload, variant = request["workload"], request["variant"]
        shape = tuple(request["shape"])
        library = self.library
        if workload in steps.ALL:
            return self.load_step(workload, variant)
        if workload == "copy":
            copy = library.Copy(4 * math.prod(shape))
            self.steps[variant] = (copy, lambda n: copy.seconds(variant), 1)
            return {"first": copy.seconds(variant)}
        if shape not in self.inputs:
            self.inputs[shape] = library.random(shape)
        x = self.inputs[shape]
        kind = workloads.ALL[workload].check
        if workload.startswith("add"):
            step = self.timed(lambda n: library.repeat_add(x, x, n))
        else:
            program = prepare(library, workload, variant)
            if program is None:
                return {"skip": "no such program"}
            step = self.timed(lambda n: library.repeat(program, x, n))
        first = step(1)
        wrong = None
        if kind:
            y = program(x)
            library.repeat(lambda _: y, x, 1)  # whole, before a row of it is asked for
            wrong = check(kind, x, y)
            del y
        batch = 1
        # The least of three: one hiccup must not pass for a long batch.
        while workload in workloads.SMALL and batch * min(step(batch) for _ in "abc") < 0.01:
            batch *= 2
        self.steps[variant] = (None, step, batch)
        return {"first": first, "wrong": wrong}

    def load_step(self, workload, variant):
        """A program of steps.py: its results that are state are the next call's arguments."""
        adapter = self.library.adapter(variant)
        program, state, kept = steps.make(adapter)[workload]()
        program = adapter.wrap(program)

        def call():
            results = program(*state)
            adapter.wait(results)
            state[:kept] = results[:kept]
            return results

        def run(n):
            for _ in range(n):
                call()

        start = time.perf_counter()
        results = call()
        first = time.perf_counter() - start
        step = self.timed(run)
        once = min(step(1) for _ in "abc")
        self.steps[variant] = (None, step, max(1, int(0.002 / once)))
        return {"first": first, "loss": float(results[-1]) if kept else None}

    @staticmethod
    def timed(run):
        """Seconds for one of n calls."""

        def step(n):
            start = time.perf_counter()
            run(n)
            return (time.perf_counter() - start) / n

        return step

    def peak(self, request):
        return {"peak": self.library.peak()}

    def turn(self, request):
        """A call that isn't counted, unless calls are slow, then calls for so many seconds."""
        _, step, batch = self.steps[request["variant"]]
        seconds = step(batch)
        times = [seconds] if seconds > 0.5 else []
        spent = seconds if times else 0
        while spent < request["seconds"]:
            times.append(step(batch))
            spent += times[-1] * batch
        return {"times": times}

    def kernels(self, request):
        """Kernels launched by one call, where the library counts them."""
        count = getattr(self.library, "kernels", lambda: None)
        before = count()
        self.steps[request["variant"]][1](1)
        return {"kernels": None if before is None else count() - before}

    def drop(self, request):
        for copy, _, _ in self.steps.values():
            if copy:
                copy.close()
        self.steps.clear()
        self.inputs.clear()
        clear = getattr(sys.modules.get("mlx.core"), "clear_cache", None)
        clear = clear or getattr(sys.modules.get("ferrule.core"), "clear_cache", None)
        if clear:
            clear()
        return {}


def serve(name):
    # Answers go to the standard output we were given; what a library prints, to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            server = server or Server(open_library(name))
            answer = getattr(server, request["do"])(request)
        except ImportError as error:
            answer = {"missing": str(error)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


# --- one answer -----------------------------------------------------------------------------


def host_floats(count):
    """Uniform floats made on the host, so that making them compiles nothing in the library."""
    source = random.Random(0)
    floats = array.array("f", [source.random() for _ in range(4096)])
    return floats * (count // 4096)


def first(name, variant):
    library = open_library(name)
    x = library.from_floats(host_floats(FIRST_CALL_FLOATS))
    start = time.perf_counter()
    program = prepare(library, "gelu_erf", variant)
    library.repeat(program, x, 1)
    return {"seconds": time.perf_counter() - start}


def reset_peak():
    with open("/proc/self/clear_refs", "w") as control:
        control.write("5")


def peak(name, variant, count):
    """Peak of resident memory during two calls, less what stood there before the input."""
    library = open_library(name)
    warm = prepare(library, "gelu_erf", variant)
    library.repeat(warm, library.random((64,)), 1)
    before = resident("VmRSS")
    x = library.random((count,))
    time.sleep(0.5)  # what making it left behind may be freed by another thread
    reset_peak()
    if hasattr(library, "peak_bytes"):
        library.peak_bytes(reset=True)
    library.repeat(warm, x, 1)
    library.repeat(warm, x, 1)
    answer = {"bytes": resident("VmHWM") - before, "input_bytes": 4 * count}
    if hasattr(library, "peak_bytes"):
        answer["allocator_bytes"] = library.peak_bytes()
    return answer


def step_peak(name, variant, row, way):
    """Peak memory of three calls of a program of steps.py, of what the process has more than before
    its data was made, and as the library tells it. way: "function" of arrays, whose old and new state
    are there together, or "state", which the program may update in place."""
    library = open_library(name)
    adapter = library.adapter(variant)
    before = resident("VmRSS")
    program, state, kept = steps.make(adapter)[row]()
    answer = {}
    if hasattr(library, "analysis"):
        answer["told_bytes"] = library.analysis(program, state, kept if way == "state" else 0)
    if way == "state":
        call = library.in_place(program, state, kept)
    else:
        program = adapter.wrap(program)

        def call():
            results = program(*state)
            adapter.wait(results)
            state[:kept] = results[:kept]

    for _ in range(2):
        call()
    time.sleep(0.5)
    reset_peak()
    if hasattr(library, "peak_bytes"):
        library.peak_bytes(reset=True)
    for _ in range(3):
        call()
    answer["bytes"] = resident("VmHWM") - before
    if hasattr(library, "peak_bytes"):
        answer["told_bytes"] = library.peak_bytes()
    return answer


def main():
    command, name, *rest = sys.argv[1:]
    if command == "serve":
        serve(name)
        return
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        if command == "step":
            answer = step_peak(name, *rest)
        else:
            answer = first(name, *rest) if command == "first" else peak(name, rest[0], int(rest[1]))
    except ImportError as error:
        answer = {"missing": str(error)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
    answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
