#include <algorithm>
#include <cmath>

#include "kernels/kmeans.h"
#include "kernels/tensor/random.h"
#include "tests/conformance/suite.h"

namespace panda::test {
namespace {

struct KmeansCase {
  int64_t n, d, k;
  bool weighted = false;
  int64_t members = -1;  ///< of the n points; -1: all
};

/// Members of k clusters of very different sizes (some empty), in a drawn order.
struct Members {
  std::vector<int64_t> members;
  std::vector<int64_t> offsets;
};

Members draw_members(const KmeansCase& one) {
  Random random(7);
  Members drawn;
  drawn.members = random.permutation(one.n);
  if (one.members >= 0) drawn.members.resize(static_cast<size_t>(one.members));
  const auto count = static_cast<int64_t>(drawn.members.size());
  for (int64_t j = 1; j < one.k; ++j) drawn.offsets.push_back(random.next_below(count + 1));
  drawn.offsets.push_back(0);
  drawn.offsets.push_back(count);
  std::sort(drawn.offsets.begin(), drawn.offsets.end());
  return drawn;
}

Tensor as_f64(const Tensor& x) {
  Tensor result(host(), DType::kF64, x.shape(), "sums");
  for (int64_t i = 0; i < x.numel(); ++i) result.data<double>()[i] = x.data<float>()[i];
  return result;
}

void run_accumulate(const Subject& s, const KmeansCase& one, Alignment alignment) {
  const Members drawn = draw_members(one);
  const Tensor points = make_tensor({one.n, one.d}, 131);
  const Tensor weights = make_tensor({one.n}, 132, Values::kPositive);
  const Tensor before = as_f64(make_tensor({one.k, one.d}, 133));
  const Tensor expected = clone_to(before, host());
  kernels::kmeans_accumulate(s.oracle, {points, one.weighted ? weights.view() : ConstTensorView(),
                                        drawn.members, drawn.offsets, expected});
  const GuardedTensor sums = output(s, before.shape(), Layout::kDense, Alignment::kAligned, DType::kF64);
  copy(before, sums.view());
  const GuardedTensor placed_points = place(s, points, Layout::kDense, alignment);
  const GuardedTensor placed_weights = place(s, weights, Layout::kDense, alignment);
  kernels::kmeans_accumulate(s.device,
                             {placed_points.view(), one.weighted ? placed_weights.view() : ConstTensorView(),
                              drawn.members, drawn.offsets, sums.view()});
  // The contract is equality: same bits on every device.
  expect_matches(sums, expected, 0.0);
}

/// The largest size of each column.
std::vector<float> column_sizes(const Tensor& points) {
  const int64_t d = points.shape()[1];
  std::vector<float> sizes(static_cast<size_t>(d), 0.0F);
  for (int64_t i = 0; i < points.numel(); ++i) {
    float& size = sizes[static_cast<size_t>(i % d)];
    size = std::max(size, std::abs(points.data<float>()[i]));
  }
  return sizes;
}

struct ExchangeCase {
  int64_t n, d, k;
  bool weighted = false;
};

Tensor i64_tensor(const std::vector<int64_t>& values) {
  return Tensor::from({static_cast<int64_t>(values.size())}, values.data());
}

/// Points of all sizes: coarse parts alone would not do.
void run_exchange(const Subject& s, const ExchangeCase& one, Alignment alignment) {
  const Tensor points = make_tensor({one.n, one.d}, 141);
  for (int64_t i = 0; i < points.numel(); ++i)
    points.data<float>()[i] = std::ldexp(points.data<float>()[i], -static_cast<int>(i % 31));
  const Tensor weights = make_tensor({one.n}, 142, Values::kPositive);
  float* const first = weights.data<float>();
  for (int64_t i = 3; i < one.n; i += 5) first[i] = 0;
  const double heaviest = one.weighted && one.n > 0 ? *std::max_element(first, first + one.n) : 1.0;
  const Tensor grid = kernels::kmeans_grid(column_sizes(points), heaviest, one.n);
  const Tensor expected(host(), DType::kF64, {2, one.k, one.d}, "sums");
  // With no points, what is there stays.
  const int64_t there = one.n == 0 ? 1 : 0;
  std::fill_n(expected.data<double>(), expected.numel(), static_cast<double>(there));
  const Tensor expected_counts = i64_tensor(std::vector<int64_t>(static_cast<size_t>(one.k), there));
  const GuardedTensor sums = output(s, expected.shape(), Layout::kDense, Alignment::kAligned, DType::kF64);
  const GuardedTensor counts = output(s, {one.k}, Layout::kDense, Alignment::kAligned, DType::kI64);
  copy(expected, sums.view());
  copy(expected_counts, counts.view());
  const GuardedTensor placed_points = place(s, points, Layout::kDense, alignment);
  const GuardedTensor placed_weights = place(s, weights, Layout::kDense, alignment);
  const Tensor placed_grid = clone_to(grid, s.device, "grid");

  Random random(7);
  std::vector<int64_t> labels(static_cast<size_t>(one.n), -1);
  const auto exchange = [&](const std::vector<int64_t>& next) {
    const Tensor before = i64_tensor(labels);
    const Tensor after = i64_tensor(next);
    kernels::kmeans_exchange(s.oracle, {points, one.weighted ? weights.view() : ConstTensorView(), before,
                                        after, grid, expected, expected_counts});
    kernels::kmeans_exchange(
        s.device, {placed_points.view(), one.weighted ? placed_weights.view() : ConstTensorView(),
                   clone_to(before, s.device, "before"), clone_to(after, s.device, "after"), placed_grid,
                   sums.view(), counts.view()});
    labels = next;
    expect_matches(sums, expected, 0.0);
    expect_matches(counts, expected_counts, 0.0);
  };
  std::vector<int64_t> next(labels.size());
  for (int64_t& label : next) label = random.next_below(one.k);
  exchange(next);
  for (int64_t& label : next) label = random.next_below(4) == 0 ? random.next_below(one.k) : label;
  exchange(next);
  if (one.n == 0 || one.k == 1) return;
  // Of a cluster that all leave nothing is left.
  for (int64_t& label : next) label = std::max<int64_t>(label, 1);
  exchange(next);
  const Tensor left = clone_to(sums.view(), host());
  for (int64_t i = 0; i < 2 * one.d; ++i)
    EXPECT_EQ(left.data<double>()[i / one.d * one.k * one.d + i % one.d], 0.0);
}

const RegisterCases kmeans_exchange_cases([](std::vector<Case>& cases) {
  const auto add = [&](CaseKind kind, const ExchangeCase& one, Alignment alignment = Alignment::kAligned) {
    cases.push_back({"kmeans_exchange", kind,
                     text("n", one.n, "_d", one.d, "_k", one.k, one.weighted ? "_weighted" : ""),
                     [=](const Subject& s) { run_exchange(s, one, alignment); }});
  };
  for (const int64_t d : {1, 2, 15, 16, 17, 31, 33, 127, 511, 512, 513}) add(CaseKind::kSweep, {67, d, 5});
  for (const int64_t k : {1, 7, 8, 9, 33}) add(CaseKind::kSweep, {200, 24, k, true});
  for (const int64_t n : {1, 2, 63, 64, 65, 1031}) add(CaseKind::kSweep, {n, 19, 3, true});
  add(CaseKind::kMisaligned, {97, 37, 4, true}, Alignment::kMisaligned);
  cases.push_back({"kmeans_exchange", CaseKind::kEmpty, "no_points_no_components", [](const Subject& s) {
                     run_exchange(s, {0, 4, 3}, Alignment::kAligned);
                     run_exchange(s, {10, 0, 3}, Alignment::kAligned);
                   }});
  cases.push_back({"kmeans_exchange", CaseKind::kError, "shapes", [](const Subject& s) {
                     const GuardedTensor points = place(s, make_tensor({4, 3}, 1));
                     const auto call = [&](int64_t labels, const Shape& grid, const Shape& sums) {
                       const auto there = [&](const Shape& shape, DType dtype) {
                         return output(s, shape, Layout::kDense, Alignment::kAligned, dtype);
                       };
                       const GuardedTensor before = there({labels}, DType::kI64);
                       const GuardedTensor after = there({4}, DType::kI64);
                       const GuardedTensor of_grid = there(grid, DType::kF64);
                       const GuardedTensor of_sums = there(sums, DType::kF64);
                       const GuardedTensor counts = there({2}, DType::kI64);
                       kernels::kmeans_exchange(s.device, {points.view(),
                                                           {},
                                                           before.view(),
                                                           after.view(),
                                                           of_grid.view(),
                                                           of_sums.view(),
                                                           counts.view()});
                     };
                     expect_error<InvalidArgument>("kmeans_exchange: before is i64 3, expected 4", [&] {
                       call(3, {2, 3}, {2, 2, 3});
                     });
                     expect_error<InvalidArgument>("kmeans_exchange: grid is f64 1x3, expected 2x3", [&] {
                       call(4, {1, 3}, {2, 2, 3});
                     });
                     expect_error<InvalidArgument>("kmeans_exchange: sums is f64 1x2x3, expected 2x2x3", [&] {
                       call(4, {2, 3}, {1, 2, 3});
                     });
                     expect_error<InvalidArgument>("kmeans_exchange: counts is i64 2, expected 3", [&] {
                       call(4, {2, 3}, {2, 3, 3});
                     });
                   }});
});

const RegisterCases kmeans_cases([](std::vector<Case>& cases) {
  const auto add = [&](CaseKind kind, const KmeansCase& one, Alignment alignment = Alignment::kAligned) {
    cases.push_back({"kmeans_accumulate", kind,
                     text("n", one.n, "_d", one.d, "_k", one.k, one.weighted ? "_weighted" : "",
                          one.members >= 0 ? text("_members", one.members) : ""),
                     [=](const Subject& s) { run_accumulate(s, one, alignment); }});
  };
  for (const int64_t d : {1, 2, 15, 16, 17, 127, 511, 512, 513}) add(CaseKind::kSweep, {67, d, 5});
  for (const int64_t k : {1, 7, 8, 9, 33}) add(CaseKind::kSweep, {200, 24, k, true});
  for (const int64_t n : {1, 2, 1031}) add(CaseKind::kSweep, {n, 19, 3, true});
  add(CaseKind::kSweep, {300, 20, 6, true, 40});
  add(CaseKind::kMisaligned, {97, 37, 4, true}, Alignment::kMisaligned);
  cases.push_back(
      {"kmeans_accumulate", CaseKind::kEmpty, "no_members_no_clusters_no_components", [](const Subject& s) {
         run_accumulate(s, {10, 4, 3, false, 0}, Alignment::kAligned);
         run_accumulate(s, {10, 0, 3}, Alignment::kAligned);
       }});
  cases.push_back(
      {"kmeans_accumulate", CaseKind::kError, "shapes_members_and_offsets", [](const Subject& s) {
         const GuardedTensor points = place(s, make_tensor({4, 3}, 1));
         const GuardedTensor sums = output(s, {2, 3}, Layout::kDense, Alignment::kAligned, DType::kF64);
         const auto call = [&](const std::vector<int64_t>& members, const std::vector<int64_t>& offsets) {
           kernels::kmeans_accumulate(s.device, {points.view(), {}, members, offsets, sums.view()});
         };
         expect_error<InvalidArgument>("kmeans_accumulate: 2 offsets for 2 clusters, expected 3", [&] {
           call({0, 1}, {0, 2});
         });
         expect_error<InvalidArgument>("kmeans_accumulate: offsets run from 0 to 1, expected from 0 to 2",
                                       [&] {
                                         call({0, 1}, {0, 1, 1});
                                       });
         expect_error<InvalidArgument>(
             "kmeans_accumulate: cluster 1 from offset 3 to 2, expected rising offsets", [&] {
               call({0, 1}, {0, 3, 2});
             });
         expect_error<InvalidArgument>("kmeans_accumulate: member 4, expected 0 <= member < 4", [&] {
           call({0, 4}, {0, 1, 2});
         });
         const std::vector<int64_t> members = {0};
         const std::vector<int64_t> offsets = {0, 1, 1};
         expect_error<InvalidArgument>("kmeans_accumulate: sums is f64 2x5, expected 2x3", [&] {
           kernels::kmeans_accumulate(
               s.device, {points.view(),
                          {},
                          members,
                          offsets,
                          output(s, {2, 5}, Layout::kDense, Alignment::kAligned, DType::kF64).view()});
         });
         expect_error<InvalidArgument>("kmeans_accumulate: weights is f32 3, expected 4", [&] {
           kernels::kmeans_accumulate(s.device, {points.view(), place(s, make_tensor({3}, 1)).view(), members,
                                                 offsets, sums.view()});
         });
       }});
});

}  // namespace
}  // namespace panda::test
