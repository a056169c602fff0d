// Vectors made to break a certified kNN search, and what a search answered.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/knn.h"
#include "kernels/tensor/random.h"

namespace panda::test {

enum class KnnData {
  kNormal,
  kClustered,
  kDuplicates,
  kConstant,
  kIntegers,
  kDenormal,
  kTiny,
  kHuge,
  kAllScales,
  kOutlier,
  kOneSided,
};
inline constexpr KnnData kAllKnnData[] = {KnnData::kNormal,   KnnData::kClustered, KnnData::kDuplicates,
                                          KnnData::kConstant, KnnData::kIntegers,  KnnData::kDenormal,
                                          KnnData::kTiny,     KnnData::kHuge,      KnnData::kAllScales,
                                          KnnData::kOutlier,  KnnData::kOneSided};

/// Rows 0 .. n-1 of the data set, f32 n,d. Queries and gallery are different rows of the same set.
inline Tensor make_knn_data(KnnData data, int64_t n, int64_t d, uint64_t seed) {
  Random random(seed);
  Tensor x(host(), DType::kF32, {n, d}, "data");
  float* p = x.data<float>();
  std::vector<float> centers(static_cast<size_t>(5 * d));
  for (float& c : centers) c = static_cast<float>(100 * random.next_normal());
  for (int64_t i = 0; i < n; ++i) {
    const double row_scale = std::exp2(random.next_uniform(-90, 90));
    const int64_t cluster = random.next_below(5);
    const bool copy_of_another = i > 0 && random.next_below(10) == 0;
    const int64_t other = i > 0 ? random.next_below(i) : 0;
    for (int64_t j = 0; j < d; ++j) {
      const double z = random.next_normal();
      double value = z;
      if (data == KnnData::kClustered) value = centers[static_cast<size_t>(cluster * d + j)] + 0.01 * z;
      if (data == KnnData::kConstant) value = 0.1;
      if (data == KnnData::kIntegers) value = static_cast<double>(random.next_below(3));
      if (data == KnnData::kDenormal) value = 1e-41 * z;
      if (data == KnnData::kTiny) value = 1e-30 * z;
      if (data == KnnData::kHuge) value = 1e30 * z;
      if (data == KnnData::kAllScales) value = row_scale * z;
      if (data == KnnData::kOutlier) value = i == n / 2 ? 1e6 : z;
      if (data == KnnData::kOneSided) value = 1000 + std::max(z, 0.0);
      p[i * d + j] = static_cast<float>(value);
      if (data == KnnData::kDuplicates && copy_of_another) p[i * d + j] = p[other * d + j];
    }
  }
  return x;
}

struct KnnAnswer {
  std::vector<int64_t> indices;
  std::vector<double> distances;
  friend bool operator==(const KnnAnswer& a, const KnnAnswer& b) {
    return a.indices == b.indices && a.distances.size() == b.distances.size() &&
           std::memcmp(a.distances.data(), b.distances.data(), a.distances.size() * sizeof(double)) == 0;
  }
};

/// Both on the host.
inline KnnAnswer knn_answer(const Tensor& distances, const Tensor& indices) {
  return {{indices.data<int64_t>(), indices.data<int64_t>() + indices.numel()},
          {distances.data<double>(), distances.data<double>() + distances.numel()}};
}

}  // namespace panda::test
