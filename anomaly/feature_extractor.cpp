#include "anomaly/feature_extractor.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "kernels/tensor/error.h"

namespace panda::anomaly {

namespace {

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

}  // namespace

Tensor extract_features(nn::Resnet& network, const data::ImageSet& images,
                        const data::ImageTransform& transform, const ExtractOptions& options,
                        Progress* progress) {
  PANDA_CHECK(network.config().input_channels == transform.channels, "extract_features: the network takes ",
              network.config().input_channels, " channels but the transform gives ", transform.channels);
  const int64_t n = images.size();
  Tensor features(network.device(), DType::kF32, {n, network.config().feature_channels()}, "features");
  data::LoaderOptions loading;
  loading.batch_size = options.batch_size;
  loading.threads = options.decode_threads;
  data::BatchLoader loader(images, transform, loading);
  report_progress(progress, options.stage, 0, n);
  while (const std::optional<data::Batch> batch = loader.next()) {
    const auto count = static_cast<int64_t>(batch->indices.size());
    const Tensor block = network.features(batch->images);
    check_finite(block, *batch, images);
    copy(block, features.view().rows(batch->first, batch->first + count));
    report_progress(progress, options.stage, batch->first + count, n);
  }
  return features;
}

}  // namespace panda::anomaly
