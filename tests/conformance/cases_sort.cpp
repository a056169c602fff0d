#include <limits>

#include "kernels/sort.h"
#include "kernels/tensor/random.h"
#include "tests/conformance/suite.h"

namespace panda::test {
namespace {

enum class Spread {
  kAll,      ///< every bit pattern, the smallest and the largest among them
  kByte,     ///< 256 values, so that one byte differs
  kScores,   ///< keys of f32 scores from 0 to 1
  kSorted,   ///< falling already
  kRising,   ///< the other way round
  kTopOnly,  ///< the smallest or the largest: differs in all bits, two digits
  kEqual
};
constexpr const char* kSpreadNames[] = {"all", "byte", "scores", "sorted", "rising", "top_only", "equal"};

template <typename T>
std::vector<T> draw(int64_t n, Spread spread) {
  constexpr T kLargest = std::numeric_limits<T>::max();
  constexpr T kSmallest = std::numeric_limits<T>::min();
  Random random(static_cast<uint64_t>(n));
  std::vector<T> values;
  for (int64_t i = 0; i < n; ++i) {
    switch (spread) {
      case Spread::kAll: {
        const uint64_t low = static_cast<uint64_t>(random.next_below(int64_t{1} << 32));
        const T drawn =
            static_cast<T>(static_cast<uint64_t>(random.next_below(int64_t{1} << 32)) << 32 | low);
        values.push_back(i == n / 2 ? kSmallest : i == n / 3 ? kLargest : drawn);
        break;
      }
      case Spread::kByte:
        values.push_back(static_cast<T>(0x12345600 + random.next_below(256)));
        break;
      case Spread::kScores:
        values.push_back(static_cast<T>(random.next_below(0x3f800000)));
        break;
      case Spread::kSorted:
        values.push_back(static_cast<T>(n / 2 - i / 3));
        break;
      case Spread::kRising:
        values.push_back(static_cast<T>(i / 2 - n / 3));
        break;
      case Spread::kTopOnly:
        values.push_back(random.next_below(2) == 0 ? kSmallest : kLargest);
        break;
      case Spread::kEqual:
        values.push_back(T{-7});
        break;
    }
  }
  return values;
}

template <typename T>
void run_sort(const Subject& s, int64_t n, Spread spread, Alignment alignment) {
  const std::vector<T> drawn = draw<T>(n, spread);
  const Tensor expected = Tensor::from<T>({n}, drawn.data());
  kernels::sort_descending(s.oracle, {expected});
  const GuardedTensor values = output(s, {n}, Layout::kDense, alignment, DTypeOf<T>::value);
  copy(Tensor::from<T>({n}, drawn.data()), values.view());
  kernels::sort_descending(s.device, {values.view()});
  // The contract is equality: same bits on every device.
  const Tensor actual = clone_to(values.view(), host());
  EXPECT_EQ(std::vector<T>(actual.data<T>(), actual.data<T>() + n),
            std::vector<T>(expected.data<T>(), expected.data<T>() + n));
  EXPECT_EQ(values.damage(), "");
}

const RegisterCases sort_cases([](std::vector<Case>& cases) {
  const auto add = [&](CaseKind kind, DType dtype, int64_t n, Spread spread,
                       Alignment alignment = Alignment::kAligned) {
    cases.push_back({"sort_descending", kind,
                     text(dtype_name(dtype), "_n", n, "_", kSpreadNames[static_cast<int>(spread)]),
                     [=](const Subject& s) {
                       if (dtype == DType::kI32) {
                         run_sort<int32_t>(s, n, spread, alignment);
                       } else {
                         run_sort<int64_t>(s, n, spread, alignment);
                       }
                     }});
  };
  // Around a warp, a block, the cpu's choice of comparisons, and a tile of either type.
  for (const int64_t n : {1, 31, 32, 33, 255, 257, 1023, 1024, 4095, 4096, 4097, 8195})
    add(CaseKind::kSweep, DType::kI32, n, Spread::kAll);
  for (const int64_t n : {2, 33, 257, 2047, 2048, 2049, 4099})
    add(CaseKind::kSweep, DType::kI64, n, Spread::kAll);
  for (const Spread spread :
       {Spread::kByte, Spread::kScores, Spread::kSorted, Spread::kRising, Spread::kTopOnly, Spread::kEqual}) {
    add(CaseKind::kSweep, DType::kI32, 9001, spread);
    add(CaseKind::kSweep, DType::kI64, 5001, spread);
  }
  // More tiles than a warp adds up at once, and parts for every thread.
  add(CaseKind::kSweep, DType::kI64, int64_t{2048} * 32 + 5, Spread::kByte);
  add(CaseKind::kSweep, DType::kI32, 30001, Spread::kAll);
  add(CaseKind::kMisaligned, DType::kI32, 5003, Spread::kAll, Alignment::kMisaligned);
  add(CaseKind::kMisaligned, DType::kI64, 2503, Spread::kAll, Alignment::kMisaligned);
  cases.push_back({"sort_descending", CaseKind::kEmpty, "no_values", [](const Subject& s) {
                     run_sort<int32_t>(s, 0, Spread::kAll, Alignment::kAligned);
                     run_sort<int64_t>(s, 0, Spread::kAll, Alignment::kAligned);
                   }});
  cases.push_back(
      {"sort_descending", CaseKind::kError, "dtype_and_rank", [](const Subject& s) {
         expect_error<InvalidArgument>("sort_descending: values is absent",
                                       [&] { kernels::sort_descending(s.device, {}); });
         expect_error<InvalidArgument>("sort_descending: values is f32 3, expected i32 or i64", [&] {
           kernels::sort_descending(s.device, {place(s, make_tensor({3}, 1)).view()});
         });
         const GuardedTensor square = output(s, {2, 2}, Layout::kDense, Alignment::kAligned, DType::kI32);
         expect_error<InvalidArgument>("sort_descending: values is i32 2x2, expected rank 1",
                                       [&] { kernels::sort_descending(s.device, {square.view()}); });
         const TensorView long_one(square.view().raw(), DType::kI32, {int64_t{1} << 31}, s.device);
         expect_error<InvalidArgument>("sort_descending: 2147483648 values, expected fewer than 2^31",
                                       [&] { kernels::sort_descending(s.device, {long_one}); });
       }});
});

}  // namespace
}  // namespace panda::test
