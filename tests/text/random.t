# random.t: random bits are made inside the kernel that wants them

# a normal into a sum: nothing of the size of the shape is stored
out      sum(random.normal((64, 1000), key=random.key(3)))
want     array(0.0)
kernels  1
close    numpy 1000

# and its mean square is 1
let      r = random.normal((100, 1000), key=random.key(4))
out      mean(r * r)
want     array(1.0)
kernels  1
close    numpy 0.02

# uniform numbers
out      mean(random.uniform(shape=(100, 1000), key=random.key(5)))
want     array(0.5)
kernels  1
close    numpy 0.005

# dropout: mask and product in one kernel
in       x float32[50,60] 1
out      mean(where(random.uniform(shape=(50, 60), key=random.key(6)) < 0.8, x / 0.8, 0.0))
want     array(1.0)
kernels  1
reads    x 1
close    numpy 0.05
