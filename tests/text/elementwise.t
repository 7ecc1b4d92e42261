# elementwise.t: chains of operations are one kernel that reads each input once

# gelu, by erf
in       x float32[64,1000] normal
out      x * 0.5 * (1 + erf(x * 0.7071067811865476))
kernels  1
reads    x 1
close    numpy 2e-6

# gelu, by tanh
in       x float32[64,1000] normal
out      0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
kernels  1
reads    x 1
close    numpy 2e-6

# silu
in       x float32[1234] normal
out      x * sigmoid(x)
kernels  1
reads    x 1
close    numpy 2e-6

# a row and a column broadcast
in       x float32[31,65] normal
in       r float32[65] normal
in       c float32[31,1] normal
out      (x - c) * r + c
kernels  1
reads    x 1
reads    r 1
reads    c 1
close    numpy 1e-6

# an outer sum: neither operand is as large as the result
in       r float32[70] normal
in       c float32[33,1] normal
out      exp(r) + sin(c)
close    numpy 2e-6

# several results share a kernel
in       x float32[40,50] normal
out      x + 1
out      x * 2
out      exp(x) * (x + 1)
kernels  1
reads    x 1
close    numpy 2e-6

# a value used twice is computed once
in       x float32[40,50] normal
let      e = exp(x)
out      e / (1 + e)
kernels  1
reads    x 1
close    numpy 1e-6

# masks
in       x float32[17,33] normal
in       m bool[33] bits
out      where(m, x, -inf)
kernels  1
close    numpy 0

# a causal mask, made from two ranges
in       x float32[20,20] normal
let      i = arange(20)
out      where(i.reshape(20, 1) >= i, x, 0.0)
kernels  1
close    numpy 0

# comparisons and truth
in       x float32[300] whole
in       y int32[300] whole
out      logical_and(x > y, logical_not(isnan(x)))
out      where(x == y, 1, 0)
kernels  1
close    numpy 0
dtype    bool

# integers wrap and keep their dtype
in       x int8[100] steps
out      x * x
out      bitwise_or(bitwise_and(x, 7), 8)
close    numpy 0
dtype    int8

# integers divided are floats
in       x int32[100] steps
out      x / 4
dtype    float32
close    numpy 0

# 0-d
in       x float32[] 0.5
out      exp(x) + 1
kernels  1
close    numpy 1e-6

# nothing at all
in       x float32[0,3] normal
out      exp(x) + 1
kernels  0
close    numpy 0

# one element
in       x float32[1,1,1] normal
out      tanh(x) * 2
kernels  1
close    numpy 1e-6

# numbers alone
out      zeros((3, 4)) + 2.5
kernels  1
close    numpy 0
