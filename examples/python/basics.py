"""The first programs of the page "Basics of Compile" of MLX's documentation, on Ferrule."""

import ferrule.core as mx


def fun(x, y):
    return mx.exp(-x) + y


x = mx.array(1.0)
y = mx.array(2.0)

# Regular call, no compilation
# Prints: array(2.36788, dtype=float32)
print(fun(x, y))

# Compile the function
compiled_fun = mx.compile(fun)

# Prints: array(2.36788, dtype=float32)
print(compiled_fun(x, y))

# Ours: the calls below trace nothing, as their function, dtypes and shapes have been seen.
traces = mx.counters()["traces"]

# Not compiled again
compiled_fun(x, y)

# Not compiled again
mx.compile(fun)(x, y)

print("traced again:", mx.counters()["traces"] - traces)

# Ours: other shapes are traced once more.
compiled_fun(mx.array([1.0, 2.0]), y)
print("traced for another shape:", mx.counters()["traces"] - traces)
