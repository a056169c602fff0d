#include <cmath>

#include "kernels/knn.h"
#include "tests/conformance/suite.h"

namespace panda::test {
namespace {

struct KnnCase {
  int64_t nq, nb, d, k;
  Values values = Values::kNormal;
  DType distances = DType::kF64;
};

void run_knn(const Subject& s, const Tensor& queries, const Tensor& gallery, int64_t k, DType dtype,
             Alignment alignment) {
  const Shape shape{queries.shape()[0], k};
  const Tensor distances(host(), dtype, shape, "expected");
  const Tensor indices(host(), DType::kI64, shape, "expected");
  kernels::knn_search(s.oracle, {queries, gallery, k, distances, indices});
  const GuardedTensor d = output(s, shape, Layout::kDense, alignment, dtype);
  const GuardedTensor i = output(s, shape, Layout::kDense, Alignment::kAligned, DType::kI64);
  kernels::knn_search(s.device, {place(s, queries, Layout::kDense, alignment).view(),
                                 place(s, gallery, Layout::kDense, alignment).view(), k, d.view(), i.view()});
  // The contract is equality: same bits on every device.
  expect_matches(i, indices, 0.0, Zeros::kExpected);
  expect_matches(d, distances, 0.0, Zeros::kExpected);
}

const RegisterCases knn_cases([](std::vector<Case>& cases) {
  const auto add = [&](const KnnCase& one) {
    cases.push_back({"knn_search", CaseKind::kSweep,
                     text("nq", one.nq, "_nb", one.nb, "_d", one.d, "_k", one.k,
                          one.values == Values::kSmallIntegers ? "_ties" : "",
                          one.distances == DType::kF32 ? "_f32" : ""),
                     [=](const Subject& s) {
                       run_knn(s, make_tensor({one.nq, one.d}, 101, one.values),
                               make_tensor({one.nb, one.d}, 102, one.values), one.k, one.distances,
                               Alignment::kAligned);
                     }});
  };
  for (const int64_t d : {1, 2, 3, 15, 16, 17, 31, 33, 127, 128, 129, 512}) add({13, 67, d, 5});
  for (const int64_t k : {1, 2, 10, 64, 65, 100}) add({7, 100, 24, k});
  for (const int64_t nb : {1, 2, 7, 8, 9, 31, 33, 257, 1025}) add({3, nb, 19, 1});
  for (const int64_t nq : {1, 2, 5, 16, 33, 129}) add({nq, 50, 20, 2, Values::kNormal, DType::kF32});
  add({18, 300, 3, 20, Values::kSmallIntegers});  // 343 possible points: ties everywhere, broken by index
  add({3, 200, 1, 200, Values::kSmallIntegers, DType::kF32});
  cases.push_back({"knn_search", CaseKind::kSweep, "copies_tiny_and_huge", [](const Subject& s) {
                     const Tensor gallery = make_tensor({60, 21}, 103);
                     const Tensor queries = make_tensor({12, 21}, 104);
                     for (int64_t i = 0; i < 21; ++i) {
                       gallery.data<float>()[7 * 21 + i] = gallery.data<float>()[50 * 21 + i] =
                           queries.data<float>()[3 * 21 + i];
                       gallery.data<float>()[9 * 21 + i] *= 1e30f;
                       gallery.data<float>()[11 * 21 + i] *= 1e-30f;
                       queries.data<float>()[5 * 21 + i] *= 1e-30f;
                       queries.data<float>()[6 * 21 + i] *= 1e-41f;
                       queries.data<float>()[8 * 21 + i] *= 1e30f;
                     }
                     run_knn(s, queries, gallery, 9, DType::kF64, Alignment::kAligned);
                   }});
  cases.push_back({"knn_search", CaseKind::kMisaligned, "nq5_nb40_d23_k3", [](const Subject& s) {
                     run_knn(s, make_tensor({5, 23}, 105), make_tensor({40, 23}, 106), 3, DType::kF64,
                             Alignment::kMisaligned);
                   }});
  cases.push_back(
      {"knn_search", CaseKind::kEmpty, "no_queries_and_no_dimensions", [](const Subject& s) {
         const GuardedTensor none = output(s, {0, 2}, Layout::kDense, Alignment::kAligned, DType::kI64);
         kernels::knn_search(s.device, {output(s, {0, 3}).view(), place(s, make_tensor({4, 3}, 1)).view(), 2,
                                        output(s, {0, 2}).view(), none.view()});
         run_knn(s, make_tensor({2, 0}, 1), make_tensor({3, 0}, 1), 2, DType::kF64, Alignment::kAligned);
       }});
  cases.push_back(
      {"knn_search", CaseKind::kError, "shapes_k_and_nan", [](const Subject& s) {
         const GuardedTensor queries = place(s, make_tensor({2, 3}, 1));
         const GuardedTensor gallery = place(s, make_tensor({4, 3}, 2));
         const GuardedTensor distances = output(s, {2, 5});
         const GuardedTensor indices = output(s, {2, 5}, Layout::kDense, Alignment::kAligned, DType::kI64);
         expect_error<InvalidArgument>(
             "knn_search: k=5 with a gallery of 4 vectors, expected 1 <= k <= 4", [&] {
               kernels::knn_search(s.device,
                                   {queries.view(), gallery.view(), 5, distances.view(), indices.view()});
             });
         expect_error<InvalidArgument>("knn_search: queries have d=3 but the gallery has d=7", [&] {
           kernels::knn_search(s.device, {queries.view(), place(s, make_tensor({4, 7}, 2)).view(), 2,
                                          distances.view(), indices.view()});
         });
         expect_error<InvalidArgument>("knn_search: distances is f32 2x5, expected 2x2", [&] {
           kernels::knn_search(s.device,
                               {queries.view(), gallery.view(), 2, distances.view(), indices.view()});
         });
         const Tensor with_nan = make_tensor({4, 3}, 2);
         with_nan.data<float>()[7] = NAN;
         const GuardedTensor two = output(s, {2, 2});
         const GuardedTensor two_indices =
             output(s, {2, 2}, Layout::kDense, Alignment::kAligned, DType::kI64);
         expect_error<InvalidArgument>("knn_search: gallery row 2 holds nan at component 1", [&] {
           kernels::knn_search(
               s.device, {queries.view(), place(s, with_nan).view(), 2, two.view(), two_indices.view()});
         });
         with_nan.data<float>()[7] = -INFINITY;
         expect_error<InvalidArgument>("knn_search: queries row 2 holds -inf at component 1", [&] {
           kernels::knn_search(s.device,
                               {place(s, with_nan).view(), gallery.view(), 2, output(s, {4, 2}).view(),
                                output(s, {4, 2}, Layout::kDense, Alignment::kAligned, DType::kI64).view()});
         });
       }});
});

}  // namespace
}  // namespace panda::test
