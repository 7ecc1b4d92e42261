"""What a call of a compiled function costs: the figures that docs/compile.md states.

python bench/compile_calls.py
"""

import platform
import statistics
import time

import ferrule.core as mx


def median(run, times=7):
    """Seconds of one run: the median and the least of several."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), min(taken)


def row(name, goal, seconds, unit=1e6, text="us"):
    middle, least = (s * unit for s in seconds)
    print(f"| {name} | <= {goal} {text} | {middle:.2f} {text} | {least:.2f} {text} |")


def hits(n, calls):
    tree = {f"layer{i}": {"w": mx.array([1.0])} for i in range(n)}
    f = mx.compile(lambda t: t["layer0"]["w"])  # no kernel: the call alone
    f(tree)

    def run():
        for _ in range(calls):
            f(tree)

    middle, least = median(run)
    return middle / calls, least / calls


def adam(p, g, m, v):
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return p - 1e-3 * m / (mx.sqrt(v) + 1e-8), m, v


def updates(n, calls, in_place):
    """Adam for n arrays of 10 floats: lists as arguments and results, or captured state."""
    lists = [[mx.zeros((10,)) for _ in range(n)] for _ in "pgmv"]
    mx.eval(lists)
    state, g = [lists[0], lists[2], lists[3]], lists[1]

    def of_lists(p, g, m, v):
        return [list(part) for part in zip(*map(adam, p, g, m, v))]

    def of_state(g):
        for kept, new in zip(state, of_lists(state[0], g, state[1], state[2])):
            kept[:] = new

    f = mx.compile(of_state, inputs=state, outputs=state) if in_place else mx.compile(of_lists)

    def once():
        nonlocal lists
        if in_place:
            f(g)
        else:
            p, m, v = f(*lists)
            lists = [p, g, m, v]

    def run():
        for _ in range(calls):
            once()

    run()
    middle, least = median(run)
    return middle / calls, least / calls


def lambdas():
    x = mx.array(1.0)
    mx.compile(lambda x: mx.exp(mx.abs(x)) * 2)(x)

    def run():
        for _ in range(50):
            mx.compile(lambda x: mx.exp(mx.abs(x)) * 2)(x)

    middle, least = median(run)
    return middle / 50, least / 50


def rk4(y, steps=50, h=0.01):
    def slope(y):
        return mx.sin(y) * 0.5 - y * 0.1 + 0.3

    for _ in range(steps):
        a = slope(y)
        b = slope(y + a * (h / 2))
        c = slope(y + b * (h / 2))
        d = slope(y + c * h)
        y = y + (a + b * 2 + c * 2 + d) * (h / 6)
    return y


def first_calls(make, sizes):
    """First calls of functions that are new each time, of sizes that are: nothing but kernels is
    there from before."""
    taken = []
    for n in sizes:
        f, x = mx.compile(make()), mx.array([0.1 * i for i in range(n)])
        start = time.perf_counter()
        f(x)
        taken.append(time.perf_counter() - start)
    return taken


def chain(n):
    def f(x):
        for i in range(n):
            x = x + (i % 7 + 3)
        return x

    return f


def main():
    print(platform.processor() or platform.machine(), "|", platform.node(), "|", mx.__version__)
    print("| what | goal | median | least |\n| --- | --- | --- | --- |")
    row("a hit, 1 array in nested dicts", 2, hits(1, 20000))
    row("a hit, 10 arrays", 4, hits(10, 10000))
    row("a hit, 1,000 arrays", 150, hits(1000, 200))
    row("Adam, 1,000 arrays of 10: lists", 500, updates(1000, 50, False))
    row("the same as captured state, in place", 500, updates(1000, 50, True))
    row("one of 50 lambdas in a loop", 150, lambdas())
    x = mx.array([0.1 * i for i in range(8)])
    taken = first_calls(lambda: lambda y: rk4(y), [8])
    row("RK4, 50 steps: first call", 0.3, (taken[0], taken[0]), 1, "s")
    f = mx.compile(rk4)
    f(x)

    def run():
        for _ in range(200):
            f(x)

    row("RK4, 50 steps: each", 16, tuple(t / 200 for t in median(run)))
    g = mx.compile(lambda x: mx.exp(x) * 2 + 1, shapeless=True)
    xs = [mx.zeros((n,)) for n in range(2, 402)]
    mx.eval(xs)
    g(xs[0])
    start = time.perf_counter()
    for one in xs[1:]:
        g(one)
    each = (time.perf_counter() - start) / 399
    row("a new size under shapeless", 5, (each, each))
    taken = sorted(first_calls(lambda: chain(10000), range(20, 27))[1:])
    row("tracing and planning 10,000 nodes", 60, (taken[3], taken[0]), 1e3, "ms")


if __name__ == "__main__":
    main()
