#include "anomaly/symmetric_eigen.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "anomaly/chained_sums.h"
#include "kernels/tensor/error.h"

namespace panda::anomaly {

namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
constexpr int64_t kRowsPerItem = 32;      // of work for one thread at a time
constexpr int64_t kColumnsPerItem = 128;  // a strip of all rows fits a second-level cache up to n = 2048
/// QL steps for one eigenvalue. Two are usual; no matrix is known that needs more than a few.
constexpr int kMaxSteps = 100;
constexpr int64_t kColumnsPerReport = 64;
/// Sums of squares below this, of a matrix whose largest element is about 1, are nothing; and where they
/// begin to lose digits is far below.
constexpr double kNothing = 1e-200;

struct Rotation {
  int64_t row;  ///< with the next
  double cosine;
  double sine;
};

class Solver {
 public:
  Solver(const ConstTensorView& matrix, ThreadPool& threads, const char* stage, Progress* progress)
      : n_(matrix.shape()[0]),
        threads_(threads),
        stage_(stage),
        progress_(progress),
        a_(static_cast<size_t>(n_ * n_)),
        q_(host(), DType::kF64, {n_, n_}, "eigenvectors"),
        scale_(static_cast<size_t>(n_)),
        diagonal_(static_cast<size_t>(n_)),
        beside_(static_cast<size_t>(n_)) {
    const auto* from = matrix.data<double>();
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        PANDA_CHECK(std::isfinite(from[i * n_ + j]), "symmetric_eigen: element ", i, ",", j, " is ",
                    from[i * n_ + j]);
        largest_ = std::max(largest_, std::abs(from[i * n_ + j]));
      }
    }
    // A power of two near the largest element: squares neither overflow nor vanish, and nothing is rounded.
    int exponent = 0;
    static_cast<void>(std::frexp(largest_, &exponent));
    unit_ = largest_ > 0 ? std::ldexp(1.0, std::max(exponent, -1000)) : 1;
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t j = 0; j <= i; ++j) a(i, j) = a(j, i) = from[i * n_ + j] / unit_;
    }
  }

  SymmetricEigen solve() {
    if (n_ == 0) return {{}, std::move(q_)};
    reduce();
    form_reflections();
    diagonalize();
    return sorted();
  }

 private:
  double& a(int64_t i, int64_t j) { return a_[static_cast<size_t>(i * n_ + j)]; }
  double* q(int64_t i) { return q_.data<double>() + i * n_; }

  /// body(i) for begin <= i < n, rows dealt out in blocks.
  template <typename Body>
  void for_rows(int64_t begin, Body body) {
    const int64_t rows = n_ - begin;
    threads_.parallel_for((rows + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item, int) {
      const int64_t first = begin + item * kRowsPerItem;
      for (int64_t i = first; i < std::min(n_, first + kRowsPerItem); ++i) body(i);
    });
  }

  /// A = Q T Q^T. Column k is reflected by H = I - s v v^T on the indices after k; row k then keeps v. With
  /// p = s A v and w = p - s/2 (p.v) v, H A H = A - v w^T - w v^T.
  void reduce() {
    std::vector<double> p(static_cast<size_t>(n_));
    for (int64_t k = 0; k + 2 < n_; ++k) {
      double* const v = &a(k, 0);
      const int64_t begin = k + 1;
      const int64_t count = n_ - begin;
      const double tail = chained_dot(v + begin + 1, v + begin + 1, count - 1);
      diagonal_[static_cast<size_t>(k)] = v[k];
      beside_[static_cast<size_t>(k)] = v[begin];
      if (k % kColumnsPerReport == 0) report_progress(progress_, stage_, k, 2 * n_);
      if (tail < kNothing) continue;  // as it should be already: scale_ stays 0
      const double head = v[begin];
      const double norm = std::sqrt(head * head + tail);
      const double reflected = head > 0 ? -norm : norm;  // no cancellation in the next line
      beside_[static_cast<size_t>(k)] = reflected;
      v[begin] = head - reflected;
      const double s = 2 / (v[begin] * v[begin] + tail);
      scale_[static_cast<size_t>(k)] = s;
      for_rows(begin, [&](int64_t i) {
        p[static_cast<size_t>(i)] = s * chained_dot(&a(i, begin), v + begin, count);
      });
      const double half = s / 2 * chained_dot(p.data() + begin, v + begin, count);
      for (int64_t i = begin; i < n_; ++i) p[static_cast<size_t>(i)] -= half * v[i];
      const double* const w = p.data();
      for_rows(begin, [&](int64_t i) {
        double* const row = &a(i, 0);
        const double vi = v[i];
        const double wi = w[i];
        for (int64_t j = begin; j < n_; ++j) row[j] -= vi * w[j] + wi * v[j];
      });
    }
    if (n_ >= 2) {
      diagonal_[static_cast<size_t>(n_ - 2)] = a(n_ - 2, n_ - 2);
      beside_[static_cast<size_t>(n_ - 2)] = a(n_ - 2, n_ - 1);
    }
    diagonal_[static_cast<size_t>(n_ - 1)] = a(n_ - 1, n_ - 1);
  }

  /// q_ = Q^T = H_{n-3} ... H_0: from the last on, each changes only rows and columns after its own.
  void form_reflections() {
    std::fill_n(q_.data<double>(), n_ * n_, 0.0);
    for (int64_t i = 0; i < n_; ++i) q(i)[i] = 1;
    for (int64_t k = n_ - 3; k >= 0; --k) {
      const double s = scale_[static_cast<size_t>(k)];
      if (s == 0) continue;
      const int64_t begin = k + 1;
      const double* const v = &a(k, 0);
      for_rows(begin, [&](int64_t i) {
        double* const row = q(i);
        const double factor = s * chained_dot(row + begin, v + begin, n_ - begin);
        for (int64_t j = begin; j < n_; ++j) row[j] -= factor * v[j];
      });
    }
  }

  /// The first m >= l whose element beside the diagonal is nothing beside the matrix' norm.
  [[nodiscard]] int64_t end_of_block(int64_t l, double norm) const {
    int64_t m = l;
    while (m + 1 < n_ && std::abs(beside_[static_cast<size_t>(m)]) > kEpsilon * norm) ++m;
    return m;
  }

  void diagonalize() {
    double norm = 0;
    for (int64_t i = 0; i < n_; ++i) {
      const double left = i > 0 ? std::abs(beside_[static_cast<size_t>(i - 1)]) : 0;
      const double right = i + 1 < n_ ? std::abs(beside_[static_cast<size_t>(i)]) : 0;
      norm = std::max(norm, left + std::abs(diagonal_[static_cast<size_t>(i)]) + right);
    }
    std::vector<Rotation> rotations;
    for (int64_t l = 0; l < n_; ++l) {
      int steps = 0;
      for (int64_t m = end_of_block(l, norm); m > l; m = end_of_block(l, norm)) {
        PANDA_INTERNAL_ASSERT(++steps <= kMaxSteps, n_, " ", l);
        rotations.clear();
        step(l, m, rotations);
        apply(rotations);
      }
      if (l % kColumnsPerReport == 0) report_progress(progress_, stage_, n_ + l, 2 * n_);
    }
    report_progress(progress_, stage_, 2 * n_, 2 * n_);
  }

  /// One QL step on the block l..m: a rotation of rows m-1 and m as a QL step with shift would begin, then
  /// those that chase the element outside the three diagonals up and out.
  void step(int64_t l, int64_t m, std::vector<Rotation>& rotations) {
    double* const d = diagonal_.data();
    double* const e = beside_.data();
    // Wilkinson's shift: the eigenvalue of the block's first 2 x 2 that is nearer to d_l.
    const double half = (d[l + 1] - d[l]) / 2;
    const double root = std::hypot(half, e[l]);
    const double shift = d[l] - e[l] * (e[l] / (half + (half >= 0 ? root : -root)));
    double x = d[m] - shift;
    double z = e[m - 1];
    for (int64_t i = m - 1; i >= l; --i) {
      // The rotation (x, z) -> (r, 0), on rows and columns i + 1 and i.
      const double r = std::hypot(x, z);
      const double c = r == 0 ? 1 : x / r;
      const double s = r == 0 ? 0 : z / r;
      if (i + 1 < m) e[i + 1] = r;
      const double lower = d[i + 1];
      const double upper = d[i];
      const double cross = e[i];
      d[i + 1] = c * c * lower + 2 * c * s * cross + s * s * upper;
      d[i] = s * s * lower - 2 * c * s * cross + c * c * upper;
      e[i] = c * s * (upper - lower) + (c * c - s * s) * cross;
      rotations.push_back({i, c, s});
      if (i == l) break;
      x = e[i];
      z = s * e[i - 1];  // what the rotation brought beside the three diagonals
      e[i - 1] *= c;
    }
  }

  /// Rows i + 1 and i of q_ become c r_{i+1} + s r_i and c r_i - s r_{i+1}, rotation after rotation.
  void apply(const std::vector<Rotation>& rotations) {
    threads_.parallel_for((n_ + kColumnsPerItem - 1) / kColumnsPerItem, [&](int64_t item, int) {
      const int64_t begin = item * kColumnsPerItem;
      const int64_t end = std::min(n_, begin + kColumnsPerItem);
      for (const Rotation& rotation : rotations) {
        double* const upper = q(rotation.row);
        double* const lower = q(rotation.row + 1);
        for (int64_t j = begin; j < end; ++j) {
          const double u = upper[j];
          const double w = lower[j];
          lower[j] = rotation.cosine * w + rotation.sine * u;
          upper[j] = rotation.cosine * u - rotation.sine * w;
        }
      }
    });
  }

  SymmetricEigen sorted() {
    std::vector<int64_t> order(static_cast<size_t>(n_));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
      return diagonal_[static_cast<size_t>(i)] > diagonal_[static_cast<size_t>(j)];
    });
    SymmetricEigen result{{}, Tensor(host(), DType::kF64, {n_, n_}, "eigenvectors")};
    for (const int64_t i : order) {
      std::copy_n(q(i), n_, result.vectors.data<double>() + static_cast<int64_t>(result.values.size()) * n_);
      result.values.push_back(diagonal_[static_cast<size_t>(i)] * unit_);
    }
    return result;
  }

  int64_t n_;
  ThreadPool& threads_;
  const char* stage_;
  Progress* progress_;
  double largest_ = 0;
  double unit_ = 1;
  std::vector<double> a_;
  Tensor q_;
  std::vector<double> scale_;     // s of each reflection, 0 for none
  std::vector<double> diagonal_;  // of T, then the eigenvalues
  std::vector<double> beside_;    // beside_[i]: element i, i + 1 of T
};

}  // namespace

SymmetricEigen symmetric_eigen(const ConstTensorView& matrix, ThreadPool& threads, const char* stage,
                               Progress* progress) {
  PANDA_CHECK(matrix.shape().rank() == 2 && matrix.shape()[0] == matrix.shape()[1] &&
                  matrix.dtype() == DType::kF64 && matrix.layout() == Layout::kDense,
              "symmetric_eigen: the matrix is ", matrix.to_string(), ", expected f64 n,n");
  return Solver(matrix, threads, stage, progress).solve();
}

}  // namespace panda::anomaly
