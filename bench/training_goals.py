"""training_goals.py - what training costs beside the arithmetic: the figures of small steps, first calls and
the making of gradients, each beside its goal. (run.py measures steps beside those of other libraries.)

    python bench/training_goals.py

Everything is measured in fresh processes, one after the other, so that nothing is warm by accident.
A first call computes its step, too: what it costs beside that is the difference to the step's own row.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))

# ---- measured in a process of their own ---------------------------------------------------------


def batches(run, calls, times=15):
    """Seconds of one call: the median and the least of several batches."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        taken.append((time.perf_counter() - start) / calls)
    return {"median": statistics.median(taken), "least": min(taken)}


def ferrule_step(make, compiled):
    """A step with its evaluation, as the document runs it."""
    import training

    mx = training.mx
    mx.random.seed(7)
    model, optimizer, loss_of, x, y = make(training)
    y = mx.array(y)
    mx.eval(model.parameters(), x, y)
    state = [model.state, optimizer.state]

    def step(x, y):
        loss, gradients = training.nn.value_and_grad(model, loss_of)(model, x, y)
        optimizer.update(model, gradients)
        return loss

    if compiled:
        step = training.partial(mx.compile, inputs=state, outputs=state)(step)

    def run():
        loss = step(x, y)
        mx.eval(loss, state)

    return run


def linear(training):
    return training.linear()


def perceptron(training):
    return training.perceptron()


def small(compiled):
    run = ferrule_step(linear, compiled == "compiled")
    for _ in range(50):
        run()
    return batches(run, 500 if compiled == "compiled" else 100)


def large_pairs():
    """The perceptron's step both ways, in turn."""
    ways = [ferrule_step(perceptron, compiled) for compiled in (False, True)]
    for _ in range(3):
        for run in ways:
            run()
    taken = [[], []]
    for _ in range(15):
        for run, to in zip(ways, taken):
            start = time.perf_counter()
            run()
            to.append(time.perf_counter() - start)
    plain, compiled = map(statistics.median, taken)
    return {"median": plain / compiled, "least": min(taken[0]) / min(taken[1]), "step": compiled}


def large_first():
    run = ferrule_step(perceptron, True)
    start = time.perf_counter()
    run()
    return {"first": time.perf_counter() - start}


def backward():
    """The gradient of a chain of 100,000 operations, made and not evaluated."""
    import ferrule.core as mx

    def chain(x):
        for i in range(50000):
            x = mx.sin(x) * (i % 7 + 0.5)
        return x.sum()

    taken = []
    for _ in range(5):
        x = mx.ones((4,))
        built = []

        def timed(x):
            y = chain(x)
            built.append(time.perf_counter())
            return y

        mx.grad(timed)(x)
        taken.append(time.perf_counter() - built[0])
    return {"median": statistics.median(taken), "least": min(taken)}


MEASURED = {
    "small": small,
    "large_pairs": large_pairs,
    "large_first": large_first,
    "backward": backward,
}

# ---- asked for, and told --------------------------------------------------------------------------


def ask(name, *arguments, cache):
    """What a measurement gives, in a fresh process."""
    environment = {**os.environ, "FERRULE_CACHE_DIR": cache}
    command = [sys.executable, os.path.abspath(__file__), "--measure", name, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def row(name, goal, median, least, unit):
    scale = {"us": 1e6, "ms": 1e3, "s": 1, "x": 1}[unit]
    met = "yes" if median * scale <= goal else "no"
    print(
        f"| {name} | <= {goal:g} {unit} | {median * scale:.3g} {unit} | {least * scale:.3g} {unit} "
        f"| {met} |",
        flush=True,
    )


def first_calls(folder, times=7):
    """Seconds of first calls with empty caches, and with those that the first left."""
    cold, disk = [], []
    for i in range(times):
        cache = os.path.join(folder, f"cache{i}")
        cold.append(ask("large_first", cache=cache)["first"])
        disk.append(ask("large_first", cache=cache)["first"])
    return cold, disk


def main():
    import c_api

    print("| what | goal | median | least | met |\n| --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        cache = os.path.join(folder, "cache")
        r = ask("small", "compiled", cache=cache)
        row("the document's step, compiled, Python", 10, r["median"], r["least"], "us")
        program, why = c_api.build(folder, "c_step")
        r = c_api.run(program, {**os.environ, "FERRULE_CACHE_DIR": cache}) if program else {}
        if "median" in r:
            row("the same from C", 3, r["median"], r["least"], "us")
        else:
            print(f"| the same from C | <= 3 us | {why or r.get('error')} | | no |")
        cold, disk = first_calls(folder)
        row("MLP 784-1024-1024-10: first call, cold", 0.25, statistics.median(cold), min(cold), "s")
        row("the same, disk cache", 0.03, statistics.median(disk), min(disk), "s")
        r = ask("small", "plain", cache=cache)
        row("the document's step, uncompiled, Python", 100, r["median"], r["least"], "us")
        r = ask("large_pairs", cache=cache)
        row("the MLP's step, uncompiled over compiled", 1.3, r["median"], r["least"], "x")
        print(f"| the MLP's step itself, compiled | | {r['step'] * 1e3:.3g} ms | | |")
        r = ask("backward", cache=cache)
        row("backward of 100,000 nodes, built", 1, r["median"], r["least"], "s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        sys.path.insert(0, HERE)
        print(json.dumps(MEASURED[sys.argv[2]](*sys.argv[3:])))
    else:
        main()
