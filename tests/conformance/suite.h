// The conformance suite: kernel list x devices x cases. A case runs one kernel on a subject (a device under
// test) and compares with the reference device, or, for the reference device itself, with the same oracle run
// through its public call (its own truth is shown by closed forms and golden files in tests/unit). Every
// kernel needs a case of each kind, or the coverage check fails.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "kernels/kernel_table.h"
#include "tests/support/compare.h"
#include "tests/support/guarded_tensor.h"

namespace panda::test {

struct Subject {
  Device& device;
  Device& oracle;
  std::string name;  ///< "cpu_avx512_3threads"
  /// A vendor's library may sum in another order for another batch: kernels/gemm.h, kernels/conv2d.h.
  bool batch_changes_bits = false;
};

enum class CaseKind {
  kSweep,       ///< sizes: 1, tile - 1, tile, tile + 1, primes, one large
  kEmpty,       ///< an extent of 0: returns, touches nothing, or gives the neutral element
  kError,       ///< the caller's mistakes: exception and message
  kMisaligned,  ///< operands one element past any vector alignment
};
inline constexpr CaseKind kAllCaseKinds[] = {CaseKind::kSweep, CaseKind::kEmpty, CaseKind::kError,
                                             CaseKind::kMisaligned};
[[nodiscard]] const char* case_kind_name(CaseKind kind);

struct Case {
  std::string kernel;  ///< as in kernel_list.def
  CaseKind kind;
  std::string name;  ///< the parameters, readable and unique within kernel and kind
  std::function<void(const Subject&)> run;
};

/// All cases, filled by static registration in cases_<op>.cpp.
[[nodiscard]] std::vector<Case>& all_cases();

struct RegisterCases {
  explicit RegisterCases(const std::function<void(std::vector<Case>&)>& add) { add(all_cases()); }
};

/// How the elements of an operand are drawn; the seed is the only source of randomness, so a case repeats
/// exactly.
enum class Values { kNormal, kSmallIntegers, kPositive };
[[nodiscard]] Tensor make_tensor(const Shape& shape, uint64_t seed, Values values = Values::kNormal);

/// Each f32 element rounded to the subject's precision: the device's products of such operands are exact, so
/// that a tolerance needs to cover nothing but the sums. (tf32: to 10 mantissa bits, which rounding and
/// cutting both keep.)
[[nodiscard]] Tensor rounded(const Subject& subject, const Tensor& values);
/// make_tensor, rounded so.
[[nodiscard]] Tensor make_operand(const Subject& subject, const Shape& shape, uint64_t seed,
                                  Values values = Values::kNormal);
/// Largest relative error that storing in `layout` adds: half a unit of the activation dtype where that has
/// 16 bits, 0 in f32 (whose rounding the tolerances of sums hold already).
[[nodiscard]] double storage_roundoff(const Subject& subject, Layout layout);
/// What a GPU's tensor cores lose of a sum of `terms`, relative: they cut the running sum where the emulator
/// rounds it. A step of 8 terms (tf32; 16 in 16 bits) loses half a unit in the last place on average, 2^-24
/// of a running sum that is smaller than the last one; all in one direction, so the error grows with the
/// steps. Measured on an H200: 0.55 (4608 terms) and 0.56 (2304) of this. 0 elsewhere.
[[nodiscard]] double tensor_core_truncation(const Subject& subject, int64_t terms);
/// `tolerance` widened by the roundoff of storage of each element of `expected`.
[[nodiscard]] std::vector<double> stored_tolerance(const Subject& subject, Layout layout,
                                                   const ConstTensorView& expected,
                                                   std::vector<double> tolerance);

/// The elements of `dense` on the subject's device, in `layout` (and that layout's dtype), between guard
/// bands.
[[nodiscard]] GuardedTensor place(const Subject& subject, const Tensor& dense, Layout layout = Layout::kDense,
                                  Alignment alignment = Alignment::kAligned);
/// An output on the subject's device: `dtype` where it is dense, the activation dtype elsewhere.
[[nodiscard]] GuardedTensor output(const Subject& subject, const Shape& shape, Layout layout = Layout::kDense,
                                   Alignment alignment = Alignment::kAligned, DType dtype = DType::kF32);

/// |actual - expected| <= tolerance element by element, guard bands whole, padding zero.
void expect_matches(const GuardedTensor& actual, const ConstTensorView& expected,
                    const std::vector<double>& tolerance, Zeros zeros = Zeros::kRefused);
/// The same with one tolerance for all: 0 demands equality.
void expect_matches(const GuardedTensor& actual, const ConstTensorView& expected, double tolerance,
                    Zeros zeros = Zeros::kRefused);
/// c * eps * sum|terms| element by element, where `magnitudes` holds sum|terms| (a run of the oracle on
/// absolute values) and c grows as the square root of the number of terms: rounding errors of a sum are
/// independent enough for that, and a dropped or doubled term, or a 16-bit product, is far outside.
[[nodiscard]] std::vector<double> sum_tolerance(const ConstTensorView& magnitudes, int64_t terms);

/// |x| of every element.
[[nodiscard]] Tensor absolute(const Tensor& x);

/// The body throws Exception with exactly this message.
template <typename Exception, typename Body>
void expect_error(const std::string& message, Body&& body) {
  try {
    body();
    ADD_FAILURE() << "no error, expected: " << message;
  } catch (const Exception& error) {
    EXPECT_EQ(std::string(error.what()), message);
  }
}

}  // namespace panda::test
