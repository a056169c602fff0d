#include "kernels/knn.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

namespace {

void check_finite(const char* name, const ConstTensorView& rows) {
  const auto* x = rows.data<float>();
  const int64_t d = rows.shape()[1];
  for (int64_t i = 0; i < rows.numel(); ++i) {
    PANDA_CHECK(std::isfinite(x[i]), "knn_search: ", name, " row ", i / d, " holds ", x[i], " at component ",
                i % d);
  }
}

/// D(q, x) of kernels/knn.h.
double squared_distance(const float* q, const float* x, int64_t d) {
  std::array<double, 16> sums{};
  for (int64_t i = 0; i < d; ++i) {
    const double difference = double{q[i]} - double{x[i]};
    sums[static_cast<size_t>(i % 16)] += difference * difference;
  }
  for (size_t half = 8; half >= 1; half /= 2) {
    for (size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

}  // namespace

void knn_search(Device&, const KnnSearchArgs& args) {
  check_finite("queries", args.queries);
  check_finite("gallery", args.gallery);
  const int64_t d = args.queries.shape()[1];
  const int64_t nb = args.gallery.shape()[0];
  const int64_t k = args.k;
  std::vector<std::pair<double, int64_t>> candidates(static_cast<size_t>(nb));
  for (int64_t i = 0; i < args.queries.shape()[0]; ++i) {
    for (int64_t j = 0; j < nb; ++j) {
      candidates[static_cast<size_t>(j)] = {
          squared_distance(args.queries.data<float>() + i * d, args.gallery.data<float>() + j * d, d), j};
    }
    std::partial_sort(candidates.begin(), candidates.begin() + k, candidates.end());
    for (int64_t j = 0; j < k; ++j) {
      const auto& [distance, index] = candidates[static_cast<size_t>(j)];
      args.indices.data<int64_t>()[i * k + j] = index;
      if (args.distances.dtype() == DType::kF64) {
        args.distances.data<double>()[i * k + j] = distance;
      } else {
        args.distances.data<float>()[i * k + j] = static_cast<float>(distance);
      }
    }
  }
}

}  // namespace panda::kernels::reference
