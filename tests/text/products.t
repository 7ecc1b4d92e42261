# what stands before a product is made where it is packed: one kernel
in       x float32[16,512] normal
in       w int8[512,300] whole
in       s float32[300] positive
out      x @ (w.astype(float32) * s)
kernels  1
reads    w 1
reads    s 1
close    numpy 1e-4

# weights with a scale for each row of theirs, as a layer keeps them
in       x float32[16,512] normal
in       w int8[300,512] whole
in       s float32[300,1] positive
out      x @ (w.astype(float32) * s).T
kernels  1
reads    w 1
close    numpy 1e-4

# weights of half precision
in       x float32[16,512] normal
in       w float16[300,512] normal
out      x @ w.astype(float32).T
kernels  1
reads    w 1
close    numpy 1e-4

# what is left of a sum
in       x float32[400,520] normal
in       w float32[520,300] normal
out      maximum(x, 0) @ w
kernels  1
reads    x 1
close    numpy 1e-3

# transposed: a tile would have parts of vectors
in       x float32[520,400] normal
in       w float32[520,300] normal
out      maximum(x, 0).T @ w
kernels  2
close    numpy 1e-3

# both operands
in       x float32[400,520] normal
in       w int8[520,300] whole
out      maximum(x, 0) @ w.astype(float32)
kernels  1
close    numpy 1e-3

# a batch
in       x float32[3,16,130] normal
in       w float32[3,130,300] normal
out      x @ (w * w)
kernels  1
close    numpy 1e-3

# rows that were reduced before, a mask
in       x float32[400,520] normal
in       m float32[400,1] normal
in       w float32[520,300] normal
out      where(x > 0, (x - m) * m, 0) @ w
kernels  1
close    numpy 1e-3

# NaN and infinity as they would have been stored
in       x float32[400,520] normal
in       m float32[400,1] whole
in       w float32[520,300] 1
out      (abs(x) / m) @ w
kernels  1
close    numpy 1e-3

# it is a result, too: made once
in       x float32[400,520] normal
in       w float32[520,300] normal
let y = maximum(x, 0)
out      y @ w
out      y
kernels  2
close    numpy 1e-3

# read by two products: made once
in       x float32[400,520] normal
in       w float32[520,300] normal
in       v float32[520,280] normal
let y = maximum(x, 0)
out      y @ w + 0 * sum(y @ v)
close    numpy 1e-3

# float64, and nothing
in       x float64[16,130] normal
in       w float64[130,300] normal
out      x @ (w * 2)
kernels  1
close    numpy 1e-12

in       x float32[0,130] normal
in       w float32[130,300] normal
out      (x * 2) @ w
close    numpy 0
