# reduce.t: reductions take their producers in, and what is made from the row

# softmax over rows
in       x float32[64,1000] normal
out      softmax(x, -1)
kernels  1
reads    x 1
close    numpy 1e-6

# softmax over columns
in       x float32[100,64] normal
out      softmax(x, 0)
close    numpy 1e-6

# softmax of a product with a mask
in       x float32[16,40,40] normal
in       m float32[40,40] whole
out      softmax(x * 0.125 + m, -1)
kernels  1
reads    x 1
close    numpy 1e-6

# layer norm
in       x float32[64,768] normal
in       w float32[768] normal
in       b float32[1,768] normal
let      m = mean(x, -1, keepdims=True)
let      v = var(x, -1, keepdims=True)
out      (x - m) * rsqrt(v + 1e-5) * w + b
kernels  1
reads    x 1
close    numpy 1e-5

# rms norm
in       x float32[64,768] normal
in       w float32[768] normal
out      x * rsqrt(mean(x * x, -1, keepdims=True) + 1e-5) * w
kernels  1
reads    x 1
close    numpy 1e-5

# logsumexp
in       x float32[50,333] normal
out      logsumexp(x, -1)
kernels  1
reads    x 1
close    numpy 1e-6

# cross entropy by masks: the row is read once for both
in       x float32[50,333] normal
in       t int32[50,1] whole
let      hit = arange(333) == t
out      logsumexp(x, -1) - sum(where(hit, x, 0.0), -1)
close    numpy 1e-5

# sums with a producer over the last axis, the first, all
in       x float32[37,129] normal
out      sum(exp(x), 1)
kernels  1
reads    x 1
close    numpy 1e-5

in       x float32[37,129] normal
out      sum(exp(x), 0)
kernels  1
reads    x 1
close    numpy 1e-5

in       x float32[37,129] normal
out      sum(exp(x))
kernels  1
reads    x 1
close    numpy 1e-5

# a middle axis, two axes, kept
in       x float32[5,37,29] normal
out      sum(x * x, 1)
out      max(x, (0, 2))
out      mean(x, (1, 2), keepdims=True)
close    numpy 1e-5

# variance: two passes over a row that stays in cache
in       x float32[64,500] normal
out      var(x, -1)
kernels  1
reads    x 1
close    numpy 1e-5

# several reductions of one row
in       x float32[64,500] normal
out      sum(x, -1)
out      max(x, -1)
out      sum(x * x, -1)
kernels  1
reads    x 1
close    numpy 1e-5

# what comes after a reduction joins it
in       x float32[64,500] normal
out      sqrt(sum(x * x, -1)) + 1
kernels  1
close    numpy 1e-5

# long rows, in pieces
in       x float32[2,200000] uniform
out      sum(x, -1)
kernels  2
reads    x 1
close    numpy 1e-5

in       x float32[300001] normal
out      sum(x * x)
kernels  2
reads    x 1
close    numpy 1e-5

# tall columns, in pieces
in       x float32[20000,17] uniform
out      sum(x, 0)
kernels  2
reads    x 1
close    numpy 1e-5

# long rows of a softmax
in       x float32[1,300000] normal
out      softmax(x, -1) * 300000
close    numpy 1e-5

# tiny rows
in       x float32[5000,3] normal
out      softmax(x, -1)
kernels  1
reads    x 1
close    numpy 1e-6

in       x float32[400,1] normal
out      softmax(x, -1)
kernels  1
close    numpy 0

# sums of small integers and truth values are int32
in       x int8[300,3] 127
out      sum(x, 0)
dtype    int32
close    numpy 0

in       x bool[70,70] bits
out      sum(x)
out      any(x, 0)
out      all(x, 1)
dtype    int32
close    numpy 0

# nothing to add
in       x float32[3,0] normal
out      sum(x, 1)
out      prod(x, 1)
close    numpy 0

# 0-d
in       x float32[] 2.5
out      sum(x)
out      max(x)
close    numpy 0

# a softmax of nothing but -inf but for one
in       x float32[8,100] normal
out      softmax(where(arange(100) == 7, x, -inf), -1)
kernels  1
close    numpy 1e-6
