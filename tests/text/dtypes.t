# dtypes.t: casts are part of the kernel; half precision is stored, not computed

# a cast in and out
in       x float16[40,50] normal
out      exp(x.astype(float32)).astype(float16)
kernels  1
reads    x 1
dtype    float16
close    numpy 1e-3

# a chain in float16 is rounded once
in       x float16[40,50] positive
out      sqrt(x * x + x) - x
kernels  1
dtype    float16
close    numpy 1e-3

# sums of bfloat16 are made in float32
in       x bfloat16[4,3000] positive
out      sum(x, -1) / 3000
kernels  1
dtype    bfloat16
close    numpy 1e-2

# softmax in half precision
in       x bfloat16[16,333] normal
out      softmax(x, -1)
kernels  1
reads    x 1
dtype    bfloat16
close    numpy 1e-2

# layer norm in float16
in       x float16[16,256] normal
let      m = mean(x, -1, keepdims=True)
let      v = var(x, -1, keepdims=True)
out      (x - m) * rsqrt(v + 1e-5)
kernels  1
reads    x 1
dtype    float16
close    numpy 1e-2

# mixed halves are float32
in       x float16[100] normal
in       y bfloat16[100] normal
out      x + y
dtype    float32
close    numpy 1e-6

# numbers give way
in       x float16[100] normal
out      x * 2 + 1
dtype    float16
close    numpy 1e-3

# float64
in       x float64[10,33] normal
out      sum(x * x, -1) / 3
kernels  1
dtype    float64
close    numpy 1e-14

# bytes to floats
in       x uint8[10,33] steps
out      (x.astype(float32) / 255 - 0.5) * 2
kernels  1
reads    x 1
close    numpy 1e-6
