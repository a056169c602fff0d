// A panel of 32 gallery vectors against tiles of queries: products in registers, compared there with each
// query's threshold.
//
// AVX-512: 14 queries x 32 vectors = 28 accumulators; per group 2 panel loads, 14 broadcasts and 28
// multiply-adds of 16 x 4 bytes. An integer accumulator starts at threshold - c instead of 0, so a pair is
// kept where its sign bit stays clear: the test of the whole tile is the AND of its accumulators, one
// instruction per two of them.

typedef uint32_t VU __attribute__((vector_size(kLanes * 4)));
typedef int32_t VIUnaligned __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

PANDA_INLINE VI load_words(const void* p) {
  return *reinterpret_cast<const VIUnaligned*>(p);
}
PANDA_INLINE void store_words(int32_t* p, VI v) {
  *reinterpret_cast<VIUnaligned*>(p) = v;
}
PANDA_INLINE VI splat_word(int32_t value) {
  return value - VI{};
}

/// What products of a code are summed in.
template <KnnCode kCode>
struct Accumulator {
  typedef VI Type;
};
template <>
struct Accumulator<KnnCode::kF32> {
  typedef V Type;
};

/// sum + products of one group.
template <KnnCode kCode>
PANDA_INLINE typename Accumulator<kCode>::Type multiply_add(typename Accumulator<kCode>::Type sum, VI x,
                                                            VI q) {
  if constexpr (kCode == KnnCode::kF32) {
    return sum + reinterpret_cast<V>(x) * reinterpret_cast<V>(q);
  } else if constexpr (kCode == KnnCode::kI16) {
#if defined(__AVX512VNNI__)
    return reinterpret_cast<VI>(_mm512_dpwssd_epi32(
        reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(q)));
#elif defined(__AVX512F__)
    return reinterpret_cast<VI>(
        _mm512_add_epi32(reinterpret_cast<__m512i>(sum),
                         _mm512_madd_epi16(reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(q))));
#elif defined(__AVX2__)
    return reinterpret_cast<VI>(
        _mm256_add_epi32(reinterpret_cast<__m256i>(sum),
                         _mm256_madd_epi16(reinterpret_cast<__m256i>(x), reinterpret_cast<__m256i>(q))));
#elif defined(__SSE2__)
    return reinterpret_cast<VI>(
        _mm_add_epi32(reinterpret_cast<__m128i>(sum),
                      _mm_madd_epi16(reinterpret_cast<__m128i>(x), reinterpret_cast<__m128i>(q))));
#else
    return sum + ((x << 16) >> 16) * ((q << 16) >> 16) + (x >> 16) * (q >> 16);
#endif
  } else {
#if defined(__AVX512VNNI__)
    return reinterpret_cast<VI>(_mm512_dpbusd_epi32(
        reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(q)));
#else
    return sum;
#endif
  }
}

/// Bit j: the sign bit of lane j is clear.
PANDA_INLINE uint32_t positive_lanes(VI v) {
#if defined(__AVX512F__)
  return 0xffffu ^ _mm512_movepi32_mask(reinterpret_cast<__m512i>(v));
#elif defined(__AVX2__)
  return 0xffu ^ static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(v)));
#elif defined(__SSE2__)
  return 0xfu ^ static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(v)));
#else
  uint32_t mask = 0;
  for (int j = 0; j < kLanes; ++j) mask |= static_cast<uint32_t>(v[j] >= 0) << j;
  return mask;
#endif
}

/// sum[t][h] += products of kTile queries and the two vectors of lanes at x.
template <KnnCode kCode, int kTile>
PANDA_INLINE void add_products(typename Accumulator<kCode>::Type (&sum)[kTile][2], const char* x,
                               const char* q, int64_t groups) {
#pragma GCC unroll 1
  for (int64_t g = 0; g < groups; ++g) {
    const VI x0 = load_words(x);
    const VI x1 = load_words(x + kLanes * 4);
#pragma GCC unroll 14
    for (int t = 0; t < kTile; ++t) {
      int32_t word;
      __builtin_memcpy(&word, q + t * 4, 4);
      const VI value = splat_word(word);
      sum[t][0] = multiply_add<kCode>(sum[t][0], x0, value);
      sum[t][1] = multiply_add<kCode>(sum[t][1], x1, value);
    }
    x += kKnnPanel * 4;
    q += kTile * 4;
  }
}

/// Of kTile queries and 2 * kLanes vectors from `lane` on: writes product and margin ("keep" where its sign
/// bit is clear) and returns true if there is anything to keep. Integer codes: product and margin are the
/// same word.
template <KnnCode kCode, int kTile>
__attribute__((noinline)) bool filter_tile(const char* panel, const char* queries, int64_t groups,
                                           const int32_t* c, const int32_t* thresholds, int lane,
                                           int32_t* products, int32_t* margins) {
  typedef typename Accumulator<kCode>::Type A;
  A sum[kTile][2];
#pragma GCC unroll 14
  for (int t = 0; t < kTile; ++t) {
    if constexpr (kCode == KnnCode::kF32) {
      sum[t][0] = sum[t][1] = V{};
    } else {
      const VU threshold = reinterpret_cast<VU>(splat_word(thresholds[t]));
      sum[t][0] = reinterpret_cast<VI>(threshold - reinterpret_cast<VU>(load_words(c + lane)));
      sum[t][1] = reinterpret_cast<VI>(threshold - reinterpret_cast<VU>(load_words(c + lane + kLanes)));
    }
  }
  add_products<kCode, kTile>(sum, panel + lane * 4, queries, groups);
  VI all = splat_word(-1);
#pragma GCC unroll 14
  for (int t = 0; t < kTile; ++t) {
    if constexpr (kCode == KnnCode::kF32) {
      // Stored in any case: a product's margin needs the product again.
      const V threshold = splat(__builtin_bit_cast(float, thresholds[t]));
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const VI margin = reinterpret_cast<VI>(
            (sum[t][h] - reinterpret_cast<V>(load_words(c + lane + h * kLanes))) + threshold);
        all &= margin;
        store_words(products + t * kKnnPanel + lane + h * kLanes, reinterpret_cast<VI>(sum[t][h]));
        store_words(margins + t * kKnnPanel + lane + h * kLanes, margin);
      }
    } else {
      all &= sum[t][0] & sum[t][1];
    }
  }
  if (__builtin_expect(positive_lanes(all) == 0, 1)) return false;
  if constexpr (kCode != KnnCode::kF32) {
#pragma GCC unroll 14
    for (int t = 0; t < kTile; ++t) {
      store_words(products + t * kKnnPanel + lane, sum[t][0]);
      store_words(products + t * kKnnPanel + lane + kLanes, sum[t][1]);
    }
  }
  return true;
}

#if defined(__AVX512F__)
#define PANDA_TILES(F, C)                                                                               \
  {                                                                                                     \
    nullptr, F<C, 1>, F<C, 2>, F<C, 3>, F<C, 4>, F<C, 5>, F<C, 6>, F<C, 7>, F<C, 8>, F<C, 9>, F<C, 10>, \
        F<C, 11>, F<C, 12>, F<C, 13>, F<C, 14>                                                          \
  }
#elif defined(__aarch64__)
#define PANDA_TILES(F, C)                                                                               \
  {                                                                                                     \
    nullptr, F<C, 1>, F<C, 2>, F<C, 3>, F<C, 4>, F<C, 5>, F<C, 6>, F<C, 7>, F<C, 8>, F<C, 9>, F<C, 10>, \
        F<C, 11>, F<C, 12>                                                                              \
  }
#else
#define PANDA_TILES(F, C) \
  { nullptr, F<C, 1>, F<C, 2>, F<C, 3>, F<C, 4>, F<C, 5>, F<C, 6> }
#endif

using FilterTile = bool (*)(const char*, const char*, int64_t, const int32_t*, const int32_t*, int, int32_t*,
                            int32_t*);

template <KnnCode kCode>
int64_t filter_panel(const KnnFilterArgs& a) {
  count_call();
  static constexpr FilterTile kFilterTiles[kMaxTile + 1] = PANDA_TILES(filter_tile, kCode);
  alignas(64) int32_t c[kKnnPanel];
  alignas(64) int32_t products[kMaxTile * kKnnPanel];
  alignas(64) int32_t margins[kCode == KnnCode::kF32 ? kMaxTile * kKnnPanel : 1];
  make_thresholds<kCode>(a, c);
  const int32_t* kept = kCode == KnnCode::kF32 ? margins : products;
  const int64_t tiles = (a.query_count + kMaxTile - 1) / kMaxTile;
  const int64_t share = (a.groups * kKnnPanel * 4 / tiles + 63) / 64 * 64;
  int64_t hits = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t first = tile * kMaxTile;
    const int64_t count = first + kMaxTile < a.query_count ? kMaxTile : a.query_count - first;
    if (a.next_panel != nullptr) {
      const char* next = static_cast<const char*>(a.next_panel) + tile * share;
      for (int64_t i = 0; i < share; i += 64) __builtin_prefetch(next + i, 0, 2);
    }
    for (int lane = 0; lane < kKnnPanel; lane += 2 * kLanes) {
      if (!kFilterTiles[count](static_cast<const char*>(a.panel),
                               static_cast<const char*>(a.queries) + first * a.groups * 4, a.groups, c,
                               a.thresholds + first, lane, products, margins)) {
        continue;
      }
      for (int64_t t = 0; t < count; ++t) {
        uint32_t lanes = positive_lanes(load_words(kept + t * kKnnPanel + lane)) |
                         positive_lanes(load_words(kept + t * kKnnPanel + lane + kLanes)) << kLanes;
        for (; lanes != 0; lanes &= lanes - 1) {
          const int j = lane + __builtin_ctz(lanes);
          const int64_t at = t * kKnnPanel + j;
          double product;
          if (kCode == KnnCode::kF32) {
            product = static_cast<double>(__builtin_bit_cast(float, products[at]));
          } else {
            // The accumulator held product + bias + threshold - c, modulo 2^32.
            uint32_t word = static_cast<uint32_t>(products[at]) -
                            static_cast<uint32_t>(a.thresholds[first + t]) + static_cast<uint32_t>(c[j]);
            if (kCode == KnnCode::kI8) word -= static_cast<uint32_t>(a.bias[first + t]);
            product = static_cast<double>(static_cast<int32_t>(word));
          }
          a.hits[hits++] = {static_cast<int32_t>(first + t), j, product};
        }
      }
    }
  }
  return hits;
}

/// Products of kTile queries and the panel's vectors from `lane` on into `words`, one row of `stride` per
/// query.
template <KnnCode kCode, int kTile>
__attribute__((noinline)) void product_tile(const char* panel, const char* queries, int64_t groups,
                                            const int32_t* bias, int lane, int64_t stride, int32_t* words) {
  typename Accumulator<kCode>::Type sum[kTile][2];
#pragma GCC unroll 14
  for (int t = 0; t < kTile; ++t) {
    if constexpr (kCode == KnnCode::kF32) {
      sum[t][0] = sum[t][1] = V{};
    } else {
      sum[t][0] = sum[t][1] = splat_word(-bias[t]);
    }
  }
  add_products<kCode, kTile>(sum, panel + lane * 4, queries, groups);
#pragma GCC unroll 14
  for (int t = 0; t < kTile; ++t) {
    store_words(words + t * stride + lane, reinterpret_cast<VI>(sum[t][0]));
    store_words(words + t * stride + lane + kLanes, reinterpret_cast<VI>(sum[t][1]));
  }
}

using ProductTile = void (*)(const char*, const char*, int64_t, const int32_t*, int, int64_t, int32_t*);

template <KnnCode kCode>
void panel_products(const KnnProductsArgs& a) {
  count_call();
  static constexpr ProductTile kProductTiles[kMaxTile + 1] = PANDA_TILES(product_tile, kCode);
  for (int64_t first = 0; first < a.query_count; first += kMaxTile) {
    const int64_t count = first + kMaxTile < a.query_count ? kMaxTile : a.query_count - first;
    for (int lane = 0; lane < kKnnPanel; lane += 2 * kLanes) {
      kProductTiles[count](static_cast<const char*>(a.panel),
                           static_cast<const char*>(a.queries) + first * a.groups * 4, a.groups,
                           a.bias + first, lane, a.stride, a.words + first * a.stride);
    }
  }
}
