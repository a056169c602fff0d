// The vector type of the instruction set this file is compiled for, with GCC's vector extensions: one source
// for all of them. Included inside the namespace of that set, within an unnamed namespace: nothing here has
// external linkage.

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr const char* kIsaName = "avx512";  // from the compiler's own macros, not from the build file
constexpr int kMaxTile = 14;                // 28 accumulators, 2 filter vectors, 1 broadcast of 32 registers
#elif defined(__AVX2__)
constexpr int kLanes = 8;
constexpr const char* kIsaName = "avx2";
constexpr int kMaxTile = 6;  // 12 + 2 + 1 of 16
#elif defined(__aarch64__)
constexpr int kLanes = 4;
constexpr const char* kIsaName = "baseline";
constexpr int kMaxTile = 12;  // 24 + 2 + 1 of 32
#else
constexpr int kLanes = 4;
constexpr const char* kIsaName = "baseline";
constexpr int kMaxTile = 6;  // 12 + 2 + 1 of 16
#endif

#define PANDA_INLINE static inline __attribute__((always_inline))

typedef float V __attribute__((vector_size(kLanes * 4)));
typedef float VUnaligned __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef int32_t VI __attribute__((vector_size(kLanes * 4)));
constexpr int kDoubleLanes = kLanes / 2;
typedef double VD __attribute__((vector_size(kLanes * 4)));
typedef int64_t VL __attribute__((vector_size(kLanes * 4)));
typedef double VDUnaligned __attribute__((vector_size(kLanes * 4), aligned(8), may_alias));
typedef float VHalf __attribute__((vector_size(kLanes * 2)));
typedef float VHalfUnaligned __attribute__((vector_size(kLanes * 2), aligned(4), may_alias));

PANDA_INLINE V load(const float* p) {
  return *reinterpret_cast<const VUnaligned*>(p);
}
PANDA_INLINE void store(float* p, V v) {
  *reinterpret_cast<VUnaligned*>(p) = v;
}
/// Minus zero, not plus: x - 0 is x for every x, so the compiler sees a plain broadcast; -0 + 0 would be +0.
PANDA_INLINE V splat(float value) {
  return value - V{};
}
PANDA_INLINE VD load_double(const double* p) {
  return *reinterpret_cast<const VDUnaligned*>(p);
}
PANDA_INLINE VD widen(const float* p) {
  // GCC 12 takes a conversion of vectors apart into halves.
#if defined(__AVX512F__)
  return reinterpret_cast<VD>(_mm512_cvtps_pd(_mm256_loadu_ps(p)));
#elif defined(__AVX2__)
  return reinterpret_cast<VD>(_mm256_cvtps_pd(_mm_loadu_ps(p)));
#else
  return __builtin_convertvector(*reinterpret_cast<const VHalfUnaligned*>(p), VD);
#endif
}
/// x where x >= 0 or NaN, else 0: -0 stays.
PANDA_INLINE V relu_of(V x) {
  return x < V{} ? V{} : x;
}

int64_t call_count = 0;
PANDA_INLINE void count_call() {
  __atomic_fetch_add(&call_count, 1, __ATOMIC_RELAXED);
}
