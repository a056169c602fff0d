// gemm and the fully connected layer on the cpu device.
//
// gemm is the pointwise convolution's loop (simd/tile_product.inl) over packed operands: rows of op(a) are
// pixels, K is the channels.
//   for each K range of kKc:                     c is loaded and added to, in this order, so a sum's order is
//   fixed
//     for each N range of kNc:                   B packed once, [N/32][kc][32], shared by all threads (4 MB:
//     L3)
//       for each item = M range of kMc x part of the N range:
//         A packed per thread, [kc/16][m][16]    (140 * 512 * 4 = 287 KB: L2)
//         for each 32 columns: tile_product      (a B panel, 512 * 32 * 4 = 64 KB, streams from L2 at 9 bytes
//         per cycle; the next
//                                                 one comes from L3 meanwhile)
// kKc: each range reads and writes c once more, whose rows lie far apart; 256 cost 8 % at 2048^3, 1024 gained
// nothing. kMc: ten register tiles; 84 and 280 were within the noise. Measured on Zen 5 (48 KB L1, 1 MB L2,
// 32 MB L3).
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
constexpr int64_t kMc = 140;
constexpr int64_t kNc = 2048;
constexpr int64_t kPackedTogether = 8;  // panels of B: reads runs of 1 KB

/// A row-major matrix read as it is or transposed.
struct Operand {
  const float* data;
  int64_t leading;  ///< floats from row to row in memory
  bool transposed;
};

/// op(a)[rows, ks] as [k/16][row][16], zeros after the last k. Walks memory in its own order: a row of a page
/// each is slow otherwise.
void pack_a(const Operand& a, Range rows, Range ks, float* packed) {
  const int64_t block_floats = rows.size() * kChannelBlock;
  const int64_t last_block = (ks.size() - 1) / kChannelBlock;
  if (ks.size() % kChannelBlock != 0) {
    std::memset(packed + last_block * block_floats, 0, static_cast<size_t>(block_floats) * sizeof(float));
  }
  if (a.transposed) {
    for (int64_t k = 0; k < ks.size(); ++k) {
      const float* from = a.data + (ks.begin + k) * a.leading + rows.begin;
      float* to = packed + k / kChannelBlock * block_floats + k % kChannelBlock;
      for (int64_t row = 0; row < rows.size(); ++row) to[row * kChannelBlock] = from[row];
    }
    return;
  }
  for (int64_t row = 0; row < rows.size(); ++row) {
    const float* from = a.data + (rows.begin + row) * a.leading + ks.begin;
    float* to = packed + row * kChannelBlock;
    for (int64_t k = 0; k < ks.size(); k += kChannelBlock, to += block_floats) {
      const int64_t count = std::min(kChannelBlock, ks.size() - k);
      if (count == kChannelBlock) {
        std::memcpy(to, from + k, kChannelBlock * sizeof(float));
      } else {
        std::copy_n(from + k, count, to);
      }
    }
  }
}

/// op(b)[ks, ns] as panels [n/32][k][32], zeros after the last column and up to the next whole block of 16 in
/// k.
void pack_b(const Operand& b, Range ks, Range ns, float* packed) {
  const int64_t k_stored = round_up(ks.size(), kChannelBlock);
  const int64_t panel_floats = k_stored * kFilterBlock;
  const int64_t panels = ceil_div(ns.size(), kFilterBlock);
  if (k_stored != ks.size() || panels * kFilterBlock != ns.size()) {
    std::memset(packed, 0, static_cast<size_t>(panels * panel_floats) * sizeof(float));
  }
  if (b.transposed) {
    for (int64_t n = 0; n < ns.size(); ++n) {
      const float* from = b.data + (ns.begin + n) * b.leading + ks.begin;
      float* to = packed + n / kFilterBlock * panel_floats + n % kFilterBlock;
      for (int64_t k = 0; k < ks.size(); ++k) to[k * kFilterBlock] = from[k];
    }
    return;
  }
  for (int64_t k = 0; k < ks.size(); ++k) {
    const float* from = b.data + (ks.begin + k) * b.leading + ns.begin;
    for (int64_t panel = 0; panel < panels; ++panel) {
      float* to = packed + panel * panel_floats + k * kFilterBlock;
      const int64_t count = std::min(kFilterBlock, ns.size() - panel * kFilterBlock);
      if (count == kFilterBlock) {
        std::memcpy(to, from + panel * kFilterBlock, kFilterBlock * sizeof(float));
      } else {
        std::copy_n(from + panel * kFilterBlock, count, to);
      }
    }
  }
}

/// c[rows, n .. n+columns) (+)= packed A * one packed panel of B. Columns short of 32 go through `edge`, rows
/// x 32.
void multiply_panel(const MicroKernels& micro, const float* packed_a, const float* panel, int64_t rows,
                    int64_t kc, const float* next_panel, float* c, int64_t leading, int64_t columns, bool add,
                    float* edge) {
  static constexpr int64_t kNoOffset[] = {0};
  const bool whole = columns == kFilterBlock;
  micro.tile_product({
      .x = packed_a,
      .rows = 1,
      .pixels = rows,
      .x_row_stride = 0,
      .x_block_stride = rows * kChannelBlock,
      .blocks = ceil_div(kc, kChannelBlock),
      .taps = kNoOffset,
      .tap_count = 1,
      .length = kChannelBlock,
      .w = panel,
      .w_row_stride = 0,
      .w_next = next_panel,
      .w_next_floats = round_up(kc, kChannelBlock) * kFilterBlock,
      .epilogue = {.y = whole ? c : edge,
                   .residual = whole && add ? c : nullptr,
                   .bias = nullptr,
                   .row_stride = 0,
                   .pixel_stride = whole ? leading : kFilterBlock,
                   .half_stride = kChannelBlock,
                   .halves = 2,
                   .relu = false},
  });
  if (whole) return;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < columns; ++i) {
      float& element = c[row * leading + i];
      element = add ? edge[row * kFilterBlock + i] + element : edge[row * kFilterBlock + i];
    }
  }
}

class Gemm {
 public:
  Gemm(CpuDevice& device, const GemmArgs& args)
      : device_(device),
        a_{args.a.data<float>(), args.a.shape()[1], args.transpose_a},
        b_{args.b.data<float>(), args.b.shape()[1], args.transpose_b},
        c_(args.c.data<float>()),
        m_(args.c.shape()[0]),
        n_(args.c.shape()[1]),
        k_(args.a.shape()[args.transpose_a ? 0 : 1]),
        accumulate_(args.accumulate),
        m_block_(std::min(kMc, m_)),
        a_floats_(m_block_ * kKc + m_block_ * kFilterBlock),
        packed_b_(device.scratch().take_array<float>(std::min(round_up(n_, kFilterBlock), kNc) * kKc)),
        packed_a_(device.scratch().take_array<float>(a_floats_ * device.threads().thread_count())) {}

  void run() {
    for (int64_t k = 0; k < k_; k += kKc) {
      const Range ks{k, std::min(k + kKc, k_)};
      for (int64_t n = 0; n < n_; n += kNc) multiply_range(ks, {n, std::min(n + kNc, n_)});
    }
  }

 private:
  void multiply_range(Range ks, Range ns) {
    const int64_t panels = ceil_div(ns.size(), kFilterBlock);
    const int64_t panel_floats = round_up(ks.size(), kChannelBlock) * kFilterBlock;
    ThreadPool& threads = device_.threads();
    const int64_t groups = ceil_div(panels, kPackedTogether);
    threads.parallel_for(groups, [&](int64_t group, int) {
      const int64_t n = ns.begin + group * kPackedTogether * kFilterBlock;
      pack_b(b_, ks, {n, std::min(n + kPackedTogether * kFilterBlock, ns.end)},
             packed_b_.data<float>() + group * kPackedTogether * panel_floats);
    });
    const int64_t m_parts = ceil_div(m_, kMc);
    const int64_t n_parts = parts_for(m_parts, panels, threads.thread_count());
    std::vector<int64_t> packed(static_cast<size_t>(threads.thread_count()), -1);
    threads.parallel_for(m_parts * n_parts, [&](int64_t item, int thread) {
      const int64_t m_part = item / n_parts;
      const Range rows{m_part * kMc, std::min((m_part + 1) * kMc, m_)};
      float* a = packed_a_.data<float>() + thread * a_floats_;
      if (packed[static_cast<size_t>(thread)] != m_part) {
        pack_a(a_, rows, ks, a);
        packed[static_cast<size_t>(thread)] = m_part;
      }
      const Range part = part_of(panels, n_parts, item % n_parts);
      for (int64_t panel = part.begin; panel < part.end; ++panel) {
        const int64_t n = ns.begin + panel * kFilterBlock;
        const float* b = packed_b_.data<float>() + panel * panel_floats;
        multiply_panel(device_.micro(), a, b, rows.size(), ks.size(),
                       panel + 1 < part.end ? b + panel_floats : nullptr, c_ + rows.begin * n_ + n, n_,
                       std::min(kFilterBlock, ns.end - n), accumulate_ || ks.begin > 0, a + m_block_ * kKc);
      }
    });
  }

  CpuDevice& device_;
  Operand a_;
  Operand b_;
  float* c_;
  int64_t m_;
  int64_t n_;
  int64_t k_;
  bool accumulate_;
  int64_t m_block_;
  int64_t a_floats_;  ///< of one thread: packed rows of A, then the edge tile
  Scratch packed_b_;
  Scratch packed_a_;
};

}  // namespace

void gemm(Device& device, const GemmArgs& args) {
  const int64_t k = args.a.shape()[args.transpose_a ? 0 : 1];
  if (k > 0) {
    Gemm(cpu_device(device), args).run();
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
