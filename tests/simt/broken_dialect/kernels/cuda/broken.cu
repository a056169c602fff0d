// What tools/check_dialect.py must refuse, one breach a line (asm in a comment is none).
#if defined(__CUDA_ARCH__)
__shared__ float tile[32];
#endif
asm volatile("bar.sync 0;");
kernel<<<1, 32>>>();
cudaMemset(pointer, 0, 4);
const unsigned lanes = __activemask();
sum += __shfl_down(sum, 16);
while (flag[0] == 0);
do {
  ++i;
} while (i < 3);
