# The kernels in the dialect of dialect.cuh: g++ builds this list as the device simt (kernels/simt), nvcc as the device cuda.
set(PANDA_GPU_KERNEL_SOURCES
  batch_norm.cu
  convert.cu
  elementwise.cu
  knn.cu
  pool2d.cu
  reduce.cu
  resize.cu
  rows.cu
)
