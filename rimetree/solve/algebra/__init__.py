"""What kernels are made of: vectors, threads, memory and the linear algebra of many small matrices at once."""
