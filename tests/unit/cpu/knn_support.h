// For the kNN tests of the cpu device: searches, the reference's answer, devices with and without tiles.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/knn.h"
#include "tests/support/knn_data.h"
#include "tests/unit/cpu/support.h"

namespace panda::kernels::cpu {

using Answer = test::KnnAnswer;
using Data = test::KnnData;
using test::kAllKnnData;
using test::knn_answer;
using test::make_knn_data;

inline Answer search(Device& device, const ConstTensorView& queries, const KnnGallery& gallery, int64_t k,
                     KnnStatistics* statistics = nullptr, int64_t workspace = KnnOptions().workspace_bytes) {
  const Tensor distances(host(), DType::kF64, {queries.shape()[0], k}, "d");
  const Tensor indices(host(), DType::kI64, {queries.shape()[0], k}, "i");
  knn_gallery_search(device, {.queries = queries,
                              .gallery = &gallery,
                              .k = k,
                              .distances = distances,
                              .indices = indices,
                              .options = {.workspace_bytes = workspace},
                              .statistics = statistics});
  return knn_answer(distances, indices);
}

inline Answer reference_answer(const ConstTensorView& queries, const Tensor& rows, int64_t k,
                               KnnMetric metric) {
  return search(reference_device(), queries, KnnGallery(reference_device(), rows, metric), k);
}

inline CpuDevice& best_device() {
  static CpuDevice device(2, supported_isas().back());
  return device;
}

/// An instruction set, with AMX's tiles or without: each that this machine has.
struct Instructions {
  Isa isa;
  bool tiles;
  [[nodiscard]] std::string name() const { return text(isa_name(isa), tiles ? " with tiles" : ""); }
};
inline const std::vector<Instructions>& all_instructions() {
  static const std::vector<Instructions> all = [] {
    std::vector<Instructions> found;
    for (const Isa isa : supported_isas()) {
      found.push_back({isa, false});
      if (knn_tile_kernels(isa) != nullptr) found.push_back({isa, true});
    }
    return found;
  }();
  return all;
}

/// A device of each.
inline std::vector<std::unique_ptr<CpuDevice>> with_and_without_tiles() {
  std::vector<std::unique_ptr<CpuDevice>> devices;
  for (const Instructions& one : all_instructions())
    devices.push_back(std::make_unique<CpuDevice>(2, one.isa, one.tiles));
  return devices;
}

/// The best instruction set, with and without tiles.
inline const std::vector<std::unique_ptr<CpuDevice>>& best_devices() {
  static const std::vector<std::unique_ptr<CpuDevice>> devices = [] {
    std::vector<std::unique_ptr<CpuDevice>> made;
    for (const Instructions& one : all_instructions()) {
      if (one.isa == supported_isas().back())
        made.push_back(std::make_unique<CpuDevice>(2, one.isa, one.tiles));
    }
    return made;
  }();
  return devices;
}

}  // namespace panda::kernels::cpu
