#include "anomaly/trunk_features.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/elementwise.h"
#include "kernels/tensor/checked_math.h"

namespace panda::anomaly {

using autograd::Tape;
using autograd::Variable;
using autograd::Workspace;

namespace {

constexpr std::array<std::pair<TrunkCache, const char*>, 3> kNames = {
    {{TrunkCache::kNone, "none"}, {TrunkCache::kF32, "f32"}, {TrunkCache::kF16, "f16"}}};

}  // namespace

const char* trunk_cache_name(TrunkCache cache) {
  for (const auto& [value, name] : kNames) {
    if (value == cache) return name;
  }
  return "unknown";
}

TrunkCache trunk_cache_from_name(const std::string& name) {
  for (const auto& [value, known] : kNames) {
    if (name == known) return value;
  }
  throw InvalidArgument(text("no trunk cache '", printable(name), "', expected none, f32 or f16"));
}

TrunkFeatures::TrunkFeatures(nn::TrainableResnet& network, const data::ImageSet& images,
                             const data::ImageTransform& transform, const TrunkCacheOptions& options,
                             const ExtractOptions& extract, Progress* progress)
    : network_(&network),
      images_(&images),
      transform_(transform),
      options_(options),
      decode_threads_(extract.decode_threads),
      first_stage_(network.first_trainable_stage()),
      kept_(options.precision != TrunkCache::kNone) {
  PANDA_CHECK(first_stage_ <= nn::kResnetStages, "the network trains none of its stages");
  PANDA_CHECK(network.config().input_channels == transform.channels, "the network takes ",
              network.config().input_channels, " channels but the transform gives ", transform.channels);
  PANDA_CHECK(!extract.skip_bad, "training needs every image, so none is skipped");
  if (!kept_) return;
  for_each_batch(images, transform, extract, progress, [this](const data::Batch& batch) { keep(batch); });
}

std::string TrunkFeatures::file(int64_t image) const {
  return printable(images_->sample(image).file);
}

Tensor TrunkFeatures::run_trunk(const ConstTensorView& images) const {
  Tensor input = clone_to(images, network_->device(), "images");
  if (first_stage_ == 0) return input;
  Workspace workspace(network_->device());
  Tape tape(workspace);
  Variable x = network_->stem(tape, tape.constant(input));
  if (first_stage_ > 1) x = network_->stages(tape, std::move(x), 1, first_stage_ - 1);
  return clone_to(x.view(), network_->device(), "trunk features");
}

void TrunkFeatures::choose_place(const ConstTensorView& rows) {
  layout_ = rows.layout();
  dtype_ = rows.dtype();
  std::vector<int64_t> extents = rows.shape().to_vector();
  extents[0] = 1;
  item_ = Shape(extents);
  item_bytes_ = checked_mul(stored_numel(item_, layout_), dtype_bytes(dtype_));
  const int64_t total = checked_mul(item_bytes_, size());
  if (total > options_.memory_bytes) {
    file_ = std::make_unique<ScratchFile>(options_.scratch_directory);
  } else {
    memory_ = Tensor(host(), DType::kU8, {total}, "trunk features");
  }
}

void TrunkFeatures::keep(const data::Batch& batch) {
  Tensor rows = run_trunk(batch.images);
  if (options_.precision == TrunkCache::kF16) {
    Tensor half(network_->device(), DType::kF16, rows.shape(), "trunk features", rows.layout());
    kernels::convert(network_->device(), {rows, half});
    rows = std::move(half);
  }
  if (item_bytes_ == 0) choose_place(rows);
  const Tensor here = clone_to(rows, host(), "trunk features");
  if (file_ != nullptr) {
    file_->append(here.view().raw(), here.bytes());
  } else {
    std::memcpy(memory_.data<uint8_t>() + batch.first * item_bytes_, here.view().raw(),
                static_cast<size_t>(here.bytes()));
  }
}

Tensor TrunkFeatures::computed_rows(const std::vector<int64_t>& images) const {
  data::LoaderOptions loading;
  loading.batch_size = static_cast<int64_t>(images.size());
  loading.threads = decode_threads_;
  loading.order = images;
  data::BatchLoader loader(*images_, transform_, loading);
  return run_trunk(loader.next()->images);
}

Tensor TrunkFeatures::rows(const std::vector<int64_t>& images) const {
  PANDA_CHECK(!images.empty(), "no images to take rows of");
  if (!kept_) return computed_rows(images);
  std::vector<int64_t> extents = item_.to_vector();
  extents[0] = static_cast<int64_t>(images.size());
  const Tensor gathered(host(), dtype_, Shape(extents), "trunk features", layout_);
  auto* out = static_cast<uint8_t*>(gathered.view().raw());
  for (const int64_t image : images) {
    PANDA_CHECK(image >= 0 && image < size(), "image ", image, " of ", size());
    if (file_ != nullptr) {
      file_->read(image * item_bytes_, out, item_bytes_);
    } else {
      std::memcpy(out, memory_.data<uint8_t>() + image * item_bytes_, static_cast<size_t>(item_bytes_));
    }
    out += item_bytes_;
  }
  Device& device = network_->device();
  Tensor rows = clone_to(gathered, device, "trunk features");
  if (dtype_ == DType::kF32) return rows;
  Tensor wide(device, DType::kF32, rows.shape(), "trunk features", layout_);
  kernels::convert(device, {rows, wide});
  return wide;
}

Variable trained_features(nn::TrainableResnet& network, Tape& tape, Variable rows) {
  const int first = network.first_trainable_stage();
  if (first == 0) return network.features(tape, rows);
  return network.pooled(network.stages(tape, std::move(rows), first, nn::kResnetStages));
}

Tensor current_features(nn::TrainableResnet& network, const TrunkFeatures& trunk,
                        const std::vector<int64_t>& images, int64_t batch_size, const char* stage,
                        Progress* progress) {
  const auto n = static_cast<int64_t>(images.size());
  Tensor features(network.device(), DType::kF32, {n, network.config().feature_channels()}, "features");
  for (int64_t first = 0; first < n; first += batch_size) {
    data::Batch batch;
    batch.first = first;
    batch.indices.assign(images.begin() + first, images.begin() + std::min(n, first + batch_size));
    const Tensor rows = trunk.rows(batch.indices);
    Workspace workspace(network.device());
    Tape tape(workspace);
    const Variable block = trained_features(network, tape, tape.constant(rows));
    check_finite(block.view(), batch, trunk.images());
    copy(block.view(), features.view().rows(first, first + static_cast<int64_t>(batch.indices.size())));
    report_progress(progress, stage, std::min(n, first + batch_size), n);
  }
  return features;
}

}  // namespace panda::anomaly
