// gpu_selfcheck's kernels. WHAT: out[thread] = f(in[thread]) for one intrinsic each, in[] and out[] 8 words a
// thread. LAUNCH: `blocks` blocks of 128 threads. READS, WRITES: 32 bytes a thread each.
#include "tests/gpu_selfcheck/checks.h"

#include "kernels/cuda/dialect.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

using selfcheck::Check;
using selfcheck::Comparison;
using selfcheck::Inputs;
using selfcheck::kBlockThreads;
using selfcheck::kInputWords;
using selfcheck::kOutputWords;

constexpr unsigned kAllLanes = 0xffffffffu;

/// The operands of a thread under every name that the checks below use.
struct Operands {
  const uint32_t* in;
  __device__ float a() const { return __uint_as_float(in[0]); }
  __device__ float b() const { return __uint_as_float(in[1]); }
  __device__ float c() const { return __uint_as_float(in[2]); }
  __device__ unsigned u() const { return in[0]; }
  __device__ unsigned v() const { return in[1]; }
  __device__ int i() const { return static_cast<int>(in[0]); }
  __device__ int j() const { return static_cast<int>(in[1]); }
  __device__ unsigned long long wide(int word) const {
    return static_cast<unsigned long long>(in[word + 1]) << 32 | in[word];
  }
  /// f64 of an f32 operand, with the rest of its fraction from another word.
  __device__ double d(int word) const {
    const double value = static_cast<double>(__uint_as_float(in[word]));
    const long long fraction = static_cast<long long>(in[word + 3] & 0x1fffffffu);
    return value != value ? value : __longlong_as_double(__double_as_longlong(value) ^ fraction);
  }
};

/// Where a check puts its results. Every NaN is the same, and so are the two zeros where `sum` says so.
struct Results {
  uint32_t* out;
  int next = 0;
  __device__ void put(unsigned value) { out[next++] = value; }
  __device__ void put(int value) { put(static_cast<unsigned>(value)); }
  __device__ void put(float value) { put(value != value ? 0x7fffffffu : __float_as_uint(value)); }
  __device__ void put(unsigned long long value) {
    put(static_cast<unsigned>(value));
    put(static_cast<unsigned>(value >> 32));
  }
  __device__ void put(long long value) { put(static_cast<unsigned long long>(value)); }
  __device__ void put(double value) { put(value != value ? -1LL : __double_as_longlong(value)); }
};

template <typename Body>
__global__ void run_check(const uint32_t* in, uint32_t* out) {
  const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
  const Operands operands{in + thread * kInputWords};
  Results results{out + thread * kOutputWords};
  Body()(operands, results);
}

template <typename Body>
void launch_check(GpuDevice& device, const uint32_t* in, uint32_t* out, int blocks) {
  PANDA_LAUNCH((run_check<Body>), dim3(static_cast<unsigned>(blocks)), dim3(kBlockThreads), 0, device, in,
               out);
}

#define PANDA_CHECK_BODY(Name, ...)                                                 \
  struct Name {                                                                     \
    __device__ void operator()(const Operands& x, Results& r) const { __VA_ARGS__ } \
  };

// One rounding each, as IEEE 754 says.
PANDA_CHECK_BODY(F32Basic, r.put(__fadd_rn(x.a(), x.b())); r.put(__fsub_rn(x.a(), x.b()));
                 r.put(__fmul_rn(x.a(), x.b())); r.put(__fdiv_rn(x.a(), x.b())); r.put(__frcp_rn(x.a()));
                 r.put(__fsqrt_rn(x.a()));)
PANDA_CHECK_BODY(F32Operators, r.put(x.a() + x.b()); r.put(x.a() * x.b()); r.put(x.a() / x.b());
                 r.put(x.a() * x.b() + x.c());)
PANDA_CHECK_BODY(F32Fma, r.put(fmaf(x.a(), x.b(), x.c())); r.put(__fmaf_rn(x.a(), x.b(), x.c()));
                 r.put(__int_as_float(x.i())); r.put(__float_as_int(x.a() + x.b()) & 0x7f800000);)
PANDA_CHECK_BODY(F64Basic, r.put(__dadd_rn(x.d(0), x.d(1))); r.put(__dmul_rn(x.d(0), x.d(1)));
                 r.put(__ddiv_rn(x.d(0), x.d(1))); r.put(__dsqrt_rn(x.d(2)));)
PANDA_CHECK_BODY(F64Fma, r.put(fma(x.d(0), x.d(1), x.d(2))); r.put(__dsub_rn(x.d(0), x.d(1)));
                 r.put(__double2float_rn(x.d(0))); r.put(sqrt(x.d(1)));)
PANDA_CHECK_BODY(F64Fma2, r.put(__fma_rn(x.d(0), x.d(1), x.d(2))); r.put(fabs(x.d(0)));
                 r.put(__double2ll_rn(x.d(2)));)
// The sign of a zero is not defined here: + 0 makes it positive.
PANDA_CHECK_BODY(MinMax, r.put(min(x.a(), x.b()) + 0.0f); r.put(max(x.a(), x.b()) + 0.0f);
                 r.put(fminf(x.a(), x.b()) + 0.0f); r.put(fmaxf(x.a(), x.b()) + 0.0f);
                 r.put(min(x.i(), x.j())); r.put(max(x.u(), x.v())); r.put(__saturatef(x.a()) + 0.0f);)
PANDA_CHECK_BODY(Bits, r.put(__popc(x.u())); r.put(__clz(x.i())); r.put(__ffs(x.i())); r.put(__brev(x.u()));
                 r.put(__byte_perm(x.u(), x.v(), x.in[2])); r.put(__funnelshift_l(x.u(), x.v(), x.in[2]));
                 r.put(__funnelshift_r(x.u(), x.v(), x.in[2]));)
PANDA_CHECK_BODY(WideBits, r.put(__popcll(x.wide(0))); r.put(__clzll(static_cast<long long>(x.wide(0))));
                 r.put(__ffsll(static_cast<long long>(x.wide(0)))); r.put(__brevll(x.wide(0)));
                 r.put(__umul64hi(x.wide(0), x.wide(2)));)
PANDA_CHECK_BODY(HighProducts, r.put(__umulhi(x.u(), x.v())); r.put(__mulhi(x.i(), x.j()));)
PANDA_CHECK_BODY(ToIntegers, r.put(__float2int_rn(x.a())); r.put(__float2int_rz(x.a()));
                 r.put(__float2int_rd(x.a())); r.put(__float2int_ru(x.a())); r.put(__float2uint_rn(x.a()));
                 r.put(__float2uint_rz(x.a())); r.put(__double2int_rn(x.d(0)));)
PANDA_CHECK_BODY(FromIntegers, r.put(__int2float_rn(x.i())); r.put(__uint2float_rn(x.u()));
                 r.put(__ll2float_rn(static_cast<long long>(x.wide(0))));
                 r.put(__ll2double_rn(static_cast<long long>(x.wide(0))));)
PANDA_CHECK_BODY(Rounding, r.put(rintf(x.a())); r.put(floorf(x.a())); r.put(ceilf(x.a()));
                 r.put(truncf(x.a())); r.put(fabsf(x.a()));)
PANDA_CHECK_BODY(Float16Storage, r.put(x.a() != x.a() ? 0x7fffu : unsigned{from_float<Float16>(x.a()).bits});
                 r.put(as_float(Float16{static_cast<uint16_t>(x.v())}));)
PANDA_CHECK_BODY(BFloat16Storage,
                 r.put(x.a() != x.a() ? 0x7fffu : unsigned{from_float<BFloat16>(x.a()).bits});
                 r.put(as_float(BFloat16{static_cast<uint16_t>(x.v())}));)
PANDA_CHECK_BODY(ToTf32, r.put(__uint_as_float(to_tf32(x.a())));)

// CUDA's approximations: the emulator's are exact, and kernels' tolerances do not rest on either.
PANDA_CHECK_BODY(ApproximateRoots, r.put(rsqrtf(x.a())); r.put(__frsqrt_rn(x.a()));
                 r.put(__fdividef(x.b(), x.a())); r.put(sqrtf(x.a()));)
PANDA_CHECK_BODY(ApproximateExponentials, r.put(expf(0.0625f * x.a())); r.put(logf(x.a() + 2.0f));
                 r.put(__expf(0.0625f * x.a())); r.put(__logf(x.a() + 2.0f));)

PANDA_CHECK_BODY(LibraryFunctions, r.put(__double2float_rn(exp(0.0625 * x.a())));
                 r.put(__double2float_rn(exp(-0.0625 * x.a()))); r.put(__double2float_rn(log(x.a() + 2.0)));
                 r.put(__double2float_rn(log1p(static_cast<double>(x.a()))));
                 r.put(expm1f(-0.0625f * x.a()));)

PANDA_CHECK_BODY(Shuffles, r.put(__shfl_sync(kAllLanes, x.u(), static_cast<int>(threadIdx.x * 7u + 3u)));
                 r.put(__shfl_sync(kAllLanes, x.u(), 5, 8)); r.put(__shfl_up_sync(kAllLanes, x.i(), 3u));
                 r.put(__shfl_down_sync(kAllLanes, x.u(), 9u, 16));
                 r.put(__shfl_xor_sync(kAllLanes, x.u(), 21)); r.put(__shfl_xor_sync(kAllLanes, x.u(), 5, 4));
                 r.put(__shfl_up_sync(kAllLanes, x.u(), 1u, 2));)
PANDA_CHECK_BODY(WideShuffles, r.put(__shfl_sync(kAllLanes, x.wide(0), 13));
                 r.put(__shfl_xor_sync(kAllLanes, x.wide(0), 16));
                 r.put(__shfl_down_sync(kAllLanes, x.d(0), 4u));
                 r.put(__shfl_up_sync(kAllLanes, x.b(), 31u));)
PANDA_CHECK_BODY(HalfWarpShuffles, const unsigned half = threadIdx.x % 32u < 16u ? 0x0000ffffu : 0xffff0000u;
                 r.put(__shfl_xor_sync(half, x.u(), 8)); r.put(__ballot_sync(half, x.u() & 1u));
                 __syncwarp(half); r.put(__any_sync(half, (x.u() & 15u) == 0u));)
PANDA_CHECK_BODY(Votes, r.put(__ballot_sync(kAllLanes, x.u() & 1u));
                 r.put(__any_sync(kAllLanes, (x.u() & 31u) == 0u) != 0);
                 r.put(__all_sync(kAllLanes, (x.u() & 31u) != 0u) != 0);
                 r.put(__syncthreads_count(x.u() & 1u)); r.put(__syncthreads_or((x.u() & 127u) == 0u) != 0);
                 r.put(__syncthreads_and((x.u() & 127u) != 0u) != 0);)
PANDA_CHECK_BODY(WarpReductions, r.put(__reduce_add_sync(kAllLanes, x.u()));
                 r.put(__reduce_min_sync(kAllLanes, x.i())); r.put(__reduce_max_sync(kAllLanes, x.u()));
                 r.put(__reduce_and_sync(kAllLanes, x.u() | x.v()));
                 r.put(__reduce_or_sync(kAllLanes, x.u() & x.v() & x.in[2]));
                 r.put(__reduce_xor_sync(kAllLanes, x.u()));)
PANDA_CHECK_BODY(Matches, int all = 0; r.put(__match_any_sync(kAllLanes, x.u() & 7u));
                 r.put(__match_all_sync(kAllLanes, x.u() & 1u, &all)); r.put(all != 0);)

/// cp.async of 0..16 bytes a thread, two groups, the other thread's bytes read after the barrier.
PANDA_CHECK_BODY(AsyncCopies, PANDA_SHARED(uint4, tile, [2][kBlockThreads]); const unsigned t = threadIdx.x;
                 cp_async16(&tile[0][t], x.in, static_cast<int>(x.in[0] % 17u)); cp_async_commit();
                 cp_async16(&tile[1][t], x.in + 4, 16); cp_async_commit(); cp_async_wait<1>();
                 __syncthreads(); const uint4 first = tile[0][(t + 37u) % kBlockThreads]; cp_async_wait<0>();
                 __syncthreads(); const uint4 second = tile[1][(t + 91u) % kBlockThreads]; r.put(first.x);
                 r.put(first.y); r.put(first.z); r.put(first.w); r.put(second.x); r.put(second.y);
                 r.put(second.z); r.put(second.w);)

/// Every warp's 32 rows of 16 bytes through ldmatrix.
PANDA_CHECK_BODY(LoadMatrices, PANDA_SHARED(uint4, rows, [kBlockThreads]); const unsigned t = threadIdx.x;
                 rows[t] = uint4{x.in[0], x.in[1], x.in[2], x.in[3]}; __syncthreads(); uint32_t plain[4];
                 uint32_t turned[4]; ldmatrix_x4(plain, &rows[t]); ldmatrix_x4_trans(turned, &rows[t]);
                 for (int q = 0; q < 4; ++q) r.put(plain[q]); for (int q = 0; q < 4; ++q) r.put(turned[q]);)
PANDA_CHECK_BODY(LoadMatrixPairs, PANDA_SHARED(uint4, rows, [kBlockThreads]); const unsigned t = threadIdx.x;
                 rows[t] = uint4{x.in[0], x.in[1], x.in[2], x.in[3]}; __syncthreads();
                 const uint4* row = &rows[t / 32u * 32u + t % 16u]; uint32_t plain[2]; uint32_t turned[2];
                 ldmatrix_x2(plain, row); ldmatrix_x2_trans(turned, row); r.put(plain[0]); r.put(plain[1]);
                 r.put(turned[0]); r.put(turned[1]);)

template <typename T>
__device__ uint32_t pair_of(float low, float high) {
  return static_cast<uint32_t>(from_float<T>(low).bits) | static_cast<uint32_t>(from_float<T>(high).bits)
                                                              << 16;
}

/// A product of 16x16 and 16x8 per warp, twice, so that C is not zero.
template <typename T, bool kIsHalf>
struct Product16 {
  __device__ void operator()(const Operands& x, Results& r) const {
    uint32_t a[4];
    uint32_t b[2];
    float d[4] = {x.a(), x.b(), x.c(), x.a()};
    for (int q = 0; q < 4; ++q) a[q] = pair_of<T>(__uint_as_float(x.in[q]), __uint_as_float(x.in[q + 1]));
    for (int q = 0; q < 2; ++q) b[q] = pair_of<T>(__uint_as_float(x.in[q + 5]), __uint_as_float(x.in[q + 6]));
    for (int round = 0; round < 2; ++round) {
      if constexpr (kIsHalf) {
        mma_f16(d, a, b);
      } else {
        mma_bf16(d, a, b);
      }
    }
    for (int q = 0; q < 4; ++q) r.put(d[q] + 0.0f);
  }
};
struct ProductTf32 {
  __device__ void operator()(const Operands& x, Results& r) const {
    uint32_t a[4];
    uint32_t b[2];
    float d[4] = {x.a(), x.b(), x.c(), x.a()};
    for (int q = 0; q < 4; ++q) a[q] = to_tf32(__uint_as_float(x.in[q]));
    for (int q = 0; q < 2; ++q) b[q] = to_tf32(__uint_as_float(x.in[q + 5]));
    for (int round = 0; round < 2; ++round) mma_tf32(d, a, b);
    for (int q = 0; q < 4; ++q) r.put(d[q] + 0.0f);
  }
};

/// A warpgroup product: a thread's row of b, and of a by the first 64, 32 components
/// of both; eight of a thread's sums.
struct WarpgroupProduct {
  __device__ void operator()(const Operands& x, Results& r) const {
    constexpr int kBytes = 64 * 128 + 128 * 128;
    PANDA_SHARED(unsigned char, room, [1024 + kBytes]);
    unsigned char* const a =
        room + (1024 - static_cast<int>(reinterpret_cast<uintptr_t>(room) % 1024)) % 1024;
    unsigned char* const b = a + 64 * 128;
    const int t = static_cast<int>(threadIdx.x);
    for (int k = 0; k < 64; ++k) {
      const Float16 value =
          from_float<Float16>(k < 32 ? __uint_as_float(x.in[k % 8]) * static_cast<float>(k / 8 - 1) : 0.0f);
      const int at = t * 128 + ((k / 8) ^ (t % 8)) * 16 + k % 8 * 2;
      *reinterpret_cast<Float16*>(b + at) = value;
      if (t < 64) *reinterpret_cast<Float16*>(a + at) = value;
    }
    fence_async_proxy();
    __syncthreads();
    float d[64];
    wgmma_fence();
    wgmma_f16(d, a, b, false);
    wgmma_f16(d, a + 32, b + 32, true);
    wgmma_commit();
    wgmma_wait<0>();
    for (int i = 0; i < 8; ++i) r.put(d[i * 8 + (i * 3) % 8] + 0.0f);
  }
};
/// Rows of 32 bytes by bulk copies, two phases of one barrier.
struct BulkCopies {
  __device__ void operator()(const Operands& x, Results& r) const {
    PANDA_SHARED(uint32_t, rows, [kBlockThreads][kInputWords]);
    PANDA_SHARED(MBarrier, barrier, [1]);
    const unsigned t = threadIdx.x;
    if (t == 0) {
      mbarrier_init(barrier, 2 * kBlockThreads);
      mbarrier_fence_init();
    }
    __syncthreads();
    for (unsigned phase = 0; phase < 2; ++phase) {
      mbarrier_arrive(barrier);
      mbarrier_arrive_expect(barrier, 32);
      bulk_copy(rows[(t + 5 * phase) % kBlockThreads], x.in, 32, barrier);
      mbarrier_wait(barrier, phase);
      for (unsigned i = 0; i < 4; ++i) r.put(rows[(t + 37) % kBlockThreads][2 * i + phase]);
      __syncthreads();
    }
  }
};

/// What is stored and what is returned, by one thread each.
PANDA_CHECK_BODY(AtomicsAlone, for (int q = 0; q < 4; ++q) r.out[q] = x.in[q];
                 r.out[4] = atomicSub(&r.out[0], x.in[4]); r.out[5] = atomicAnd(&r.out[1], x.in[5]);
                 r.out[6] = atomicExch(&r.out[2], x.in[6]); r.out[7] = atomicDec(&r.out[3], x.in[7]);)

/// Totals that do not depend on the order; out[] of a block's first thread, which the host zeroed.
__global__ void run_atomics(const uint32_t* in, uint32_t* out) {
  const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
  uint32_t* total = out + blockIdx.x * blockDim.x * kOutputWords;
  const uint32_t* x = in + thread * kInputWords;
  atomicAdd(&total[0], x[0]);
  atomicMin(reinterpret_cast<int*>(&total[1]), static_cast<int>(x[1]));
  atomicMax(&total[2], x[2]);
  atomicOr(&total[3], x[3] & x[4]);
  atomicXor(&total[4], x[5]);
  atomicInc(&total[5], 99u);
  atomicAdd(reinterpret_cast<float*>(&total[6]), static_cast<float>(x[6] % 64u));
  unsigned seen = total[7];
  while (true) {  // the largest, by compare and swap
    const unsigned wanted = seen > x[7] ? seen : x[7];
    const unsigned found = atomicCAS(&total[7], seen, wanted);
    if (found == seen) break;
    seen = found;
  }
}
void launch_atomics(GpuDevice& device, const uint32_t* in, uint32_t* out, int blocks) {
  PANDA_LAUNCH(run_atomics, dim3(static_cast<unsigned>(blocks)), dim3(kBlockThreads), 0, device, in, out);
}

}  // namespace

const std::vector<Check>& selfchecks() {
  // Bounds of the approximations: two units of f32 for those that CUDA's manual says are within that; the
  // fast exponentials and logarithms err by an absolute 2^-21 or so over this range, taken with a margin
  // of 8.
  constexpr double kTwoUnits = 0x1p-22;
  constexpr double kFastMath = 0x1p-18;
  static const std::vector<Check> checks = {
      {"f32 + - * / 1/x sqrt, rounded", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<F32Basic>},
      {"f32 operators, no contraction", Inputs::kAnyBits, Comparison::kBits, 0, 75,
       launch_check<F32Operators>},
      {"fmaf, f32 as integer", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<F32Fma>},
      {"f64 + * / sqrt, rounded", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<F64Basic>},
      {"fma, sqrt, f64 to f32", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<F64Fma>},
      {"fma, abs, f64 to integer", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<F64Fma2>},
      {"min max saturate", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<MinMax>},
      {"popc clz ffs brev perm funnel", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<Bits>},
      {"the same in 64 bits", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<WideBits>},
      {"high products", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<HighProducts>},
      {"float to integer", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<ToIntegers>},
      {"integer to float", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<FromIntegers>},
      {"rint floor ceil trunc abs", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<Rounding>},
      {"f16 storage", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<Float16Storage>},
      {"bf16 storage", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<BFloat16Storage>},
      {"to_tf32", Inputs::kAnyBits, Comparison::kBits, 0, 80, launch_check<ToTf32>},
      {"approximate roots, quotient", Inputs::kPositive, Comparison::kFloats, kTwoUnits, 75,
       launch_check<ApproximateRoots>},
      {"approximate exp, log", Inputs::kPositive, Comparison::kFloats, kFastMath, 75,
       launch_check<ApproximateExponentials>},
      {"library exp log log1p expm1", Inputs::kPositive, Comparison::kFloats, kTwoUnits, 75,
       launch_check<LibraryFunctions>},
      {"shuffles", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<Shuffles>},
      {"64-bit shuffles", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<WideShuffles>},
      {"half-warp shuffles and votes", Inputs::kAnyBits, Comparison::kBits, 0, 75,
       launch_check<HalfWarpShuffles>},
      {"votes of warp and block", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<Votes>},
      {"warp reductions", Inputs::kAnyBits, Comparison::kBits, 0, 80, launch_check<WarpReductions>},
      {"matches", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<Matches>},
      {"cp.async", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<AsyncCopies>},
      {"ldmatrix x4", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<LoadMatrices>},
      {"ldmatrix x2", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<LoadMatrixPairs>},
      {"mma f16, integers", Inputs::kSmallIntegers, Comparison::kBits, 0, 75,
       launch_check<Product16<Float16, true>>},
      {"mma bf16, integers", Inputs::kSmallIntegers, Comparison::kBits, 0, 80,
       launch_check<Product16<BFloat16, false>>},
      {"mma tf32, integers", Inputs::kSmallIntegers, Comparison::kBits, 0, 80, launch_check<ProductTf32>},
      {"wgmma f16, integers", Inputs::kSmallIntegers, Comparison::kBits, 0, 90,
       launch_check<WarpgroupProduct>},
      {"bulk copies, barriers in memory", Inputs::kAnyBits, Comparison::kBits, 0, 90,
       launch_check<BulkCopies>},
      // Of positive numbers, so that a sum's error stays small beside it. The order of a tensor core's sum is
      // its own, and it cuts where the emulator rounds: 32 terms of at most one f32 unit each.
      {"mma f16, sums", Inputs::kPositive, Comparison::kFloats, 32 * 0x1p-23, 75,
       launch_check<Product16<Float16, true>>},
      {"mma bf16, sums", Inputs::kPositive, Comparison::kFloats, 32 * 0x1p-23, 80,
       launch_check<Product16<BFloat16, false>>},
      {"mma tf32, sums", Inputs::kPositive, Comparison::kFloats, 32 * 0x1p-23, 80, launch_check<ProductTf32>},
      {"atomics, alone", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_check<AtomicsAlone>},
      {"atomics", Inputs::kAnyBits, Comparison::kBits, 0, 75, launch_atomics},
  };
  return checks;
}

}  // namespace panda::kernels::PANDA_TARGET
