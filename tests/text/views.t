# views.t: views cost nothing where they can be strides

# a transpose is read where it lies
in       x float32[30,70] normal
out      x.T + 1
kernels  1
reads    x 1
close    numpy 1e-6

# and stored that way
in       x float32[70,30] normal turned
out      x * 2
kernels  1
close    numpy 1e-6

# two layouts in one kernel
in       x float32[33,33] normal
out      x + x.T
kernels  1
close    numpy 1e-6

# slices, with steps and backwards
in       x float32[40,60] normal
out      x[1:, ::2] * x[:-1, 1::2]
kernels  1
close    numpy 1e-6

in       x float32[40,60] normal
out      exp(x[::-1, ::-3])
kernels  1
close    numpy 1e-6

# views of views
in       x float32[8,12,10] normal
out      x.transpose(2, 0, 1)[1:9:2].reshape(4, 96).T[::-1] + 1
close    numpy 1e-6

# a reshape that splits and merges axes
in       x float32[6,35] normal
out      exp(x).reshape(6, 5, 7).transpose(1, 0, 2).reshape(5, 42)
close    numpy 2e-6

# views of what is computed
in       x float32[24,36] normal
out      tanh(x)[3:20, 5:].T * 2
close    numpy 2e-6

# a slice of a square of a transpose: strides of mixed sign
in       x float32[33,2,17] normal
out      square(square(x + 1).transpose(1, 2, 0))[0:1, 10::-2, 12:33:3]
close    numpy 1e-5

# broadcast to, and summed again
in       x float32[50] normal
out      sum(broadcast_to(x, (20, 50)), 0)
close    numpy 1e-5

# a view alone takes no kernel
in       x float32[24,36] normal
out      x.T[1:5]
kernels  0
close    numpy 0

# sums of transposes
in       x float32[24,36] normal
out      sum(x.T, 0)
kernels  1
reads    x 1
close    numpy 1e-5
