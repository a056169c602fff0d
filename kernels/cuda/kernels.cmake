# The kernels in the dialect of dialect.cuh: g++ builds this list as the device simt (kernels/simt), nvcc as the device cuda.
set(PANDA_GPU_KERNEL_SOURCES
  batch_norm.cu
  conv2d.cu
  conv2d_bf16.cu
  conv2d_f16.cu
  conv2d_f32.cu
  conv2d_tf32.cu
  convert.cu
  elementwise.cu
  gemm.cu
  kmeans.cu
  knn.cu
  pool2d.cu
  reduce.cu
  resize.cu
  rows.cu
)
