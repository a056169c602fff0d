#include "anomaly/feature_extractor.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "kernels/tensor/error.h"

namespace panda::anomaly {

void check_finite(const ConstTensorView& features, const data::Batch& batch, const data::ImageSet& images) {
  Tensor copy;
  ConstTensorView rows = features;
  if (!rows.device().host_accessible()) {
    copy = clone_to(features, host(), "features");
    rows = copy;
  }
  const auto* x = rows.data<float>();
  const int64_t d = rows.shape()[1];
  for (int64_t i = 0; i < rows.numel(); ++i) {
    if (std::isfinite(x[i])) continue;
    const std::string& file = images.sample(batch.indices[static_cast<size_t>(i / d)]).file;
    throw InvalidArgument(
        text(printable(file), ": feature ", i % d, " of this image is ", x[i], ", expected a finite number"));
  }
}

nn::ResnetConfig feature_config(const NamedTensors& weights, const data::ImageTransform& transform) {
  nn::ResnetConfig config = nn::detect_resnet(weights);
  config.class_count = 0;
  config.input_channels = transform.channels;
  return config;
}

void for_each_batch(const data::ImageSet& images, const data::ImageTransform& transform,
                    const ExtractOptions& options, Progress* progress,
                    const std::function<void(const data::Batch&)>& consume) {
  data::LoaderOptions loading;
  loading.batch_size = options.batch_size;
  loading.threads = options.decode_threads;
  loading.order = options.order;
  loading.skip_bad = options.skip_bad;
  data::BatchLoader loader(images, transform, loading);
  const int64_t total = loader.size();
  report_progress(progress, options.stage, 0, total);
  int64_t done = 0;
  while (const std::optional<data::Batch> batch = loader.next()) {
    if (!batch->indices.empty()) consume(*batch);
    done = std::min(total, done + options.batch_size);
    report_progress(progress, options.stage, done, total);
  }
  if (options.failures == nullptr) return;
  for (const data::LoadFailure& failure : loader.failures()) options.failures->push_back(failure.message);
}

Tensor extract_features(nn::Resnet& network, const data::ImageSet& images,
                        const data::ImageTransform& transform, const ExtractOptions& options,
                        Progress* progress) {
  PANDA_CHECK(network.config().input_channels == transform.channels, "extract_features: the network takes ",
              network.config().input_channels, " channels but the transform gives ", transform.channels);
  PANDA_CHECK(!options.skip_bad, "extract_features: every image is needed, so none is skipped");
  const int64_t n = options.order.empty() ? images.size() : static_cast<int64_t>(options.order.size());
  Tensor features(network.device(), DType::kF32, {n, network.config().feature_channels()}, "features");
  for_each_batch(images, transform, options, progress, [&](const data::Batch& batch) {
    const auto count = static_cast<int64_t>(batch.indices.size());
    const Tensor block = network.features(batch.images);
    check_finite(block, batch, images);
    copy(block, features.view().rows(batch.first, batch.first + count));
  });
  return features;
}

}  // namespace panda::anomaly
