// gemm and the fully connected layer on the cpu device.
//
// gemm, of M rows, N columns and depth K, with panels of 64 columns (AVX-512) and tiles of 6 rows:
//   for each K range of kKc:
//     for each N range of kNc:           op(b) packed once, [N/64][kc][64], shared by all threads (4 MB: L3)
//       for each item = rows (about kMc) x part of the N range:
//         for each panel of 64 columns:  128 KB, from L2, asked for while the last one is used
//           for each tile of rows        op(a) where it lies, or packed: 393 KB, from L2 (simd/gemm.inl)
// An element is one chain of multiply-adds over the whole K, begun with c or zero: it passes from one K range
// to the next through c. So its bits depend on its row of op(a), its column of op(b) and the vector unit
// alone: not on threads, blocking, or which of these paths is taken:
//   - rows of op(a) that are contiguous in k are not packed: 6 streams, each line used up when it is left;
//   - few rows: op(b) is read once per 6 rows, so it is not packed either, unless it lies the other way;
//   - few rows times op(b) stored as N,K: c^T = op(b)^T op(a)^T is computed, few columns, whose rows lie
//     well. So it is for few columns with op(a) stored as K,M;
//   - one to four columns, rows of op(a) contiguous in k: the rows are in the lanes (gemm_narrow).
// Figures and what else was tried: docs/decisions/cpu-gemm.md. Measured on Emerald Rapids (48 KB L1, 2 MB L2)
// and Zen 4 (32 KB, 1 MB).
#include "kernels/gemm.h"

#include <array>
#include <cstring>
#include <vector>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

constexpr int64_t kKc = 512;
constexpr int64_t kMc = 192;
constexpr int64_t kNc = 2048;
constexpr int64_t kFewRows = 48;  // up to here packing op(b) costs more than it saves
// op(b) where it lies, rows of it at a time: often as many pages, and the first TLB has 72 entries or more
constexpr int64_t kFewRowsKc = 64;
constexpr int64_t kFewColumnsKc = 2048;   // one vector of columns: bound by reading op(a), in runs of 8 KB
constexpr int64_t kSharedColumns = 512;   // per thread, where all rows are one item: packed, 1 MB stays in L2
constexpr int64_t kPackedTogether = 8;    // panels of op(b): reads runs of 2 KB
constexpr int64_t kRowUnit = 12;          // parts of the rows are multiples: the largest tiles fit
constexpr int64_t kPackedRow = kKc + 16;  // of op(a); rows 2 KB apart would share a few cache sets
constexpr int64_t kEdgeRows = 48;         // at a time, so that the edge tile (12 KB) stays in L1

/// A matrix of lines (rows of op(a), columns of op(b)) by k.
struct Operand {
  const float* data;
  int64_t line_stride;
  int64_t k_stride;
  [[nodiscard]] const float* at(int64_t line, int64_t k) const {
    return data + line * line_stride + k * k_stride;
  }
};

struct Product {
  Operand a;
  Operand b;
  float* c;
  int64_t c_row;     ///< floats from row to row of c
  int64_t c_column;  ///< 1; where this product is the transposed one, the row stride of the caller's c
  bool transposed;
  int64_t m;
  int64_t n;
  int64_t k;
  bool accumulate;
};

Product product_of(const GemmArgs& args) {
  const int64_t a_row = args.a.shape()[1];
  const int64_t b_row = args.b.shape()[1];
  Product p{};
  p.m = args.c.shape()[0];
  p.n = args.c.shape()[1];
  p.k = args.a.shape()[args.transpose_a ? 0 : 1];
  p.a = args.transpose_a ? Operand{args.a.data<float>(), 1, a_row} : Operand{args.a.data<float>(), a_row, 1};
  p.b = args.transpose_b ? Operand{args.b.data<float>(), b_row, 1} : Operand{args.b.data<float>(), 1, b_row};
  p.c = args.c.data<float>();
  p.c_row = p.n;
  p.c_column = 1;
  p.accumulate = args.accumulate;
  p.transposed = p.m < p.n ? args.transpose_b && p.m <= kFewRows : args.transpose_a && p.n <= kFewRows;
  if (p.transposed) {
    std::swap(p.a, p.b);
    std::swap(p.m, p.n);
    std::swap(p.c_row, p.c_column);
  }
  return p;
}

/// op(b)[ks, ns] as panels [n/width][k][width], the last one [k][columns rounded up to whole vectors] with
/// zeros after the last column.
void pack_b(const MicroKernels& micro, const Operand& b, Range ks, Range ns, float* packed) {
  const int64_t width = micro.gemm_columns;
  const int64_t whole = ns.size() / width;
  const int64_t rest = ns.size() % width;
  const int64_t rest_width = round_up(rest, micro.vector_floats);
  float* last = packed + whole * ks.size() * width;
  if (rest != rest_width) std::memset(last, 0, static_cast<size_t>(ks.size() * rest_width) * sizeof(float));
  if (b.line_stride != 1) {
    for (int64_t panel = 0; panel < whole; ++panel) {
      micro.transpose(b.at(ns.begin + panel * width, ks.begin), b.line_stride, width, ks.size(),
                      packed + panel * ks.size() * width, width);
    }
    micro.transpose(b.at(ns.begin + whole * width, ks.begin), b.line_stride, rest, ks.size(), last,
                    rest_width);
    return;
  }
  for (int64_t k = 0; k < ks.size(); ++k) {
    const float* from = b.at(ns.begin, ks.begin + k);
    for (int64_t panel = 0; panel < whole; ++panel) {
      std::memcpy(packed + (panel * ks.size() + k) * width, from + panel * width,
                  static_cast<size_t>(width) * sizeof(float));
    }
    std::memcpy(last + k * rest_width, from + whole * width, static_cast<size_t>(rest) * sizeof(float));
  }
}

class Gemm {
 public:
  Gemm(CpuDevice& device, const Product& product)
      : device_(device),
        micro_(device.micro()),
        threads_(device.threads()),
        p_(product),
        width_(micro_.gemm_columns),
        panels_(ceil_div(p_.n, width_)),
        narrow_(p_.n <= kGemmNarrow && p_.a.k_stride == 1),
        few_rows_(p_.m <= kFewRows && p_.b.line_stride == 1),
        packs_a_(!few_rows_ && p_.a.k_stride != 1),
        m_parts_(count_m_parts()),
        edge_floats_(p_.transposed || p_.n % micro_.vector_floats != 0 ? kEdgeRows * width_ : 0) {
    if (narrow_) return;
    // Per thread: an edge tile, then what it packs of its own: rows of op(a), or few rows' last panel of
    // op(b).
    const int64_t rows = ceil_div(ceil_div(p_.m, kRowUnit), m_parts_) * kRowUnit;
    const int64_t own = few_rows_ ? kKc * width_ : packs_a_ ? rows * kPackedRow : 0;
    thread_floats_ = edge_floats_ + own;
    own_ = device.scratch().take_array<float>(thread_floats_ * threads_.thread_count());
    // Lanes beyond the last column are computed too: from zeros, since what memory held could be slow to
    // multiply.
    for (int thread = 0; thread < threads_.thread_count() && edge_floats_ > 0; ++thread) {
      std::memset(edge(thread), 0, static_cast<size_t>(edge_floats_) * sizeof(float));
    }
  }

  void run() {
    if (narrow_) return run_narrow();
    if (few_rows_) return run_few_rows();
    const int64_t ranges = ceil_div(p_.k, p_.n <= micro_.vector_floats && !packs_a_ ? kFewColumnsKc : kKc);
    const int64_t together = m_parts_ == 1 ? std::min(kNc, kSharedColumns * threads_.thread_count()) : kNc;
    const int64_t nc = std::min(together, panels_ * width_);
    packed_b_ = device_.scratch().take_array<float>(nc * ceil_div(p_.k, ranges));
    for (int64_t i = 0; i < ranges; ++i) {
      const Range ks = part_of(p_.k, ranges, i);
      for (int64_t n = 0; n < p_.n; n += nc) multiply_range(ks, {n, std::min(n + nc, p_.n)});
    }
  }

 private:
  /// Parts of about kMc rows; more where they are all there is to share out.
  [[nodiscard]] int64_t count_m_parts() const {
    const int64_t fitting = std::max<int64_t>(1, (p_.m + kMc / 2) / kMc);
    if (threads_.thread_count() == 1) return fitting;
    const int64_t wanted = ceil_div(kItemsPerThread * threads_.thread_count(), panels_);
    return std::max(fitting, std::min(wanted, ceil_div(p_.m, kRowUnit)));
  }
  [[nodiscard]] Range columns_of(int64_t panel, Range ns) const {
    return {ns.begin + panel * width_, std::min(ns.begin + (panel + 1) * width_, ns.end)};
  }
  /// Floats from k to k + 1 in a packed panel of these columns.
  [[nodiscard]] int64_t packed_width(Range columns) const {
    return round_up(columns.size(), micro_.vector_floats);
  }
  [[nodiscard]] float* edge(int thread) const { return own_.data<float>() + thread * thread_floats_; }
  [[nodiscard]] float* own(int thread) const { return edge(thread) + edge_floats_; }

  /// Both operands where they lie.
  void run_narrow() {
    const int64_t units = ceil_div(p_.m, micro_.vector_floats);
    const int64_t parts = parts_for(1, units, threads_.thread_count());
    threads_.parallel_for(parts, [&](int64_t item, int) {
      const Range part = part_of(units, parts, item);
      const Range rows{part.begin * micro_.vector_floats, std::min(part.end * micro_.vector_floats, p_.m)};
      micro_.gemm_narrow({.a = p_.a.at(rows.begin, 0),
                          .a_row_stride = p_.a.line_stride,
                          .rows = rows.size(),
                          .k = p_.k,
                          .b = p_.b.data,
                          .b_k_stride = p_.b.k_stride,
                          .b_column_stride = p_.b.line_stride,
                          .columns = p_.n,
                          .c = p_.c + rows.begin * p_.c_row,
                          .c_row_stride = p_.c_row,
                          .c_column_stride = p_.c_column,
                          .add = p_.accumulate});
    });
  }

  /// op(b) where it lies. One part of the columns per thread: a row of op(b) is read in runs as long as can
  /// be had. A last panel that a vector would overrun is packed along the way, and multiplied when kKc rows
  /// have come together: its c goes through the edge tile each time.
  void run_few_rows() {
    const int64_t parts = std::min<int64_t>(panels_, threads_.thread_count());
    threads_.parallel_for(parts, [&](int64_t item, int thread) {
      const Range part = part_of(panels_, parts, item);
      const bool packs = part.end == panels_ && p_.n % micro_.vector_floats != 0;
      const int64_t panels_end = packs ? part.end - 1 : part.end;
      const Range last = columns_of(panels_end, {0, p_.n});
      int64_t packed_from = 0;
      for (int64_t k = 0; k < p_.k; k += kFewRowsKc) {
        const Range ks{k, std::min(k + kFewRowsKc, p_.k)};
        for (int64_t panel = part.begin; panel < panels_end; ++panel) {
          GemmPanelArgs args = rows_of_a({0, p_.m}, ks);
          args.b = p_.b.at(panel * width_, k);
          args.b_k_stride = p_.b.k_stride;
          args.b_next_k_stride = p_.b.k_stride;
          if (panel + 1 < panels_end) {
            args.b_next = args.b + width_;
          } else if (k + 2 * kFewRowsKc <= p_.k) {
            args.b_next = p_.b.at(part.begin * width_, k + kFewRowsKc);
          }
          multiply_panel(args, {0, p_.m}, columns_of(panel, {0, p_.n}), edge(thread));
        }
        if (!packs) continue;
        pack_b(micro_, p_.b, ks, last, own(thread) + (k - packed_from) * packed_width(last));
        if (ks.end < p_.k && ks.end - packed_from + kFewRowsKc <= kKc) continue;
        GemmPanelArgs args = rows_of_a({0, p_.m}, {packed_from, ks.end});
        args.b = own(thread);
        args.b_k_stride = packed_width(last);
        multiply_panel(args, {0, p_.m}, last, edge(thread));
        packed_from = ks.end;
      }
    });
  }

  void multiply_range(Range ks, Range ns) {
    const int64_t panels = ceil_div(ns.size(), width_);
    const int64_t panel_floats = ks.size() * width_;
    auto* packed_b = packed_b_.data<float>();
    const int64_t groups =
        std::max(ceil_div(panels, kPackedTogether), std::min<int64_t>(panels, threads_.thread_count()));
    threads_.parallel_for(groups, [&](int64_t group, int) {
      const Range part = part_of(panels, groups, group);
      pack_b(micro_, p_.b, ks,
             {ns.begin + part.begin * width_, std::min(ns.begin + part.end * width_, ns.end)},
             packed_b + part.begin * panel_floats);
    });
    const int64_t n_parts = parts_for(m_parts_, panels, threads_.thread_count());
    std::vector<int64_t> packed(static_cast<size_t>(threads_.thread_count()), -1);
    threads_.parallel_for(m_parts_ * n_parts, [&](int64_t item, int thread) {
      const int64_t m_part = item / n_parts;
      const Range units = part_of(ceil_div(p_.m, kRowUnit), m_parts_, m_part);
      const Range rows{units.begin * kRowUnit, std::min(units.end * kRowUnit, p_.m)};
      GemmPanelArgs args = rows_of_a(rows, ks);
      if (packs_a_) {
        if (packed[static_cast<size_t>(thread)] != m_part) {
          micro_.transpose(args.a, p_.a.k_stride, ks.size(), rows.size(), own(thread), kPackedRow);
          packed[static_cast<size_t>(thread)] = m_part;
        }
        args.a = own(thread);
        args.a_row_stride = kPackedRow;
        args.a_k_stride = 1;
      }
      const Range part = part_of(panels, n_parts, item % n_parts);
      for (int64_t panel = part.begin; panel < part.end; ++panel) {
        const Range columns = columns_of(panel, ns);
        args.b = packed_b + panel * panel_floats;
        args.b_k_stride = packed_width(columns);
        args.b_next = panel + 1 < part.end ? args.b + panel_floats : nullptr;
        args.b_next_k_stride = width_;
        multiply_panel(args, rows, columns, edge(thread));
      }
    });
  }

  [[nodiscard]] GemmPanelArgs rows_of_a(Range rows, Range ks) const {
    GemmPanelArgs args{};
    args.a = p_.a.at(rows.begin, ks.begin);
    args.a_row_stride = p_.a.line_stride;
    args.a_k_stride = p_.a.k_stride;
    args.rows = rows.size();
    args.k = ks.size();
    args.add = p_.accumulate || ks.begin > 0;
    return args;
  }

  /// c[rows, ns] from `args`, which has all but the output: in place, or through `edge` where vectors would
  /// overrun the columns or this product is the transposed one.
  void multiply_panel(GemmPanelArgs args, Range rows, Range ns, float* edge) const {
    float* c = p_.c + rows.begin * p_.c_row + ns.begin * p_.c_column;
    args.columns = ns.size();
    if (!p_.transposed && ns.size() % micro_.vector_floats == 0) {
      args.c = c;
      args.c_row_stride = p_.c_row;
      micro_.gemm_panel(args);
      return;
    }
    args.c = edge;
    args.c_row_stride = width_;
    for (int64_t row = 0; row < rows.size(); row += kEdgeRows) {
      args.rows = std::min(kEdgeRows, rows.size() - row);
      if (args.add) copy_edge<false>(edge, c, args.rows, ns.size());
      micro_.gemm_panel(args);
      copy_edge<true>(edge, c, args.rows, ns.size());
      args.a += kEdgeRows * args.a_row_stride;
      args.b_next = nullptr;  // asked for once
      c += kEdgeRows * p_.c_row;
    }
  }

  /// From the edge tile to c, or back.
  template <bool kToC>
  void copy_edge(float* edge, float* c, int64_t rows, int64_t columns) const {
    if (p_.transposed) {
      if (kToC) {
        micro_.transpose(edge, width_, rows, columns, c, p_.c_column);
      } else {
        micro_.transpose(c, p_.c_column, columns, rows, edge, width_);
      }
      return;
    }
    for (int64_t row = 0; row < rows; ++row) {
      float* to = kToC ? c + row * p_.c_row : edge + row * width_;
      const float* from = kToC ? edge + row * width_ : c + row * p_.c_row;
      std::memcpy(to, from, static_cast<size_t>(columns) * sizeof(float));
    }
  }

  CpuDevice& device_;
  const MicroKernels& micro_;
  ThreadPool& threads_;
  Product p_;
  int64_t width_;
  int64_t panels_;
  bool narrow_;
  bool few_rows_;
  bool packs_a_;
  int64_t m_parts_;
  int64_t edge_floats_;
  int64_t thread_floats_ = 0;
  Scratch own_;
  Scratch packed_b_;
};

}  // namespace

void gemm(Device& device, const GemmArgs& args) {
  const int64_t k = args.a.shape()[args.transpose_a ? 0 : 1];
  if (k > 0) {
    Gemm(cpu_device(device), product_of(args)).run();
  } else if (!args.accumulate) {
    device.fill(args.c.raw(), 0, args.c.bytes());
  }
}

void linear_forward(Device& base, const LinearForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  // Parts of at least 16 outputs, each a contiguous piece of the weight.
  const int64_t k = args.weight.shape()[0];
  const int64_t parts = parts_for(1, ceil_div(k, 16), device.threads().thread_count());
  device.threads().parallel_for(parts, [&](int64_t part, int) {
    const Range ks = part_of(k, parts, part);
    device.micro().linear({.x = args.x.data<float>(),
                           .weight = args.weight.data<float>(),
                           .bias = args.bias.present() ? args.bias.data<float>() : nullptr,
                           .y = args.y.data<float>(),
                           .n = args.x.shape()[0],
                           .c = args.x.shape()[1],
                           .k = k,
                           .k_begin = ks.begin,
                           .k_end = ks.end});
  });
}

}  // namespace panda::kernels::cpu
