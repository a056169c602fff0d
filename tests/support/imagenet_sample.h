// The ImageNet sample of $PANDA_DATA: one image per class, in the order of the sorted folder names, which is
// the order of the classes.
#pragma once

#include <string>
#include <vector>

#include "data/image_decode.h"
#include "data/transforms.h"
#include "kernels/tensor/file.h"
#include "nn/resnet.h"

namespace panda {

/// Path of image i of class i.
inline std::vector<std::string> imagenet_sample_paths(const std::string& data_root) {
  const std::string root = join_path(data_root, "imagenet-sample");
  std::vector<std::string> paths;
  for (const std::string& folder : list_directory(root)) {
    const std::string directory = join_path(root, folder);
    const std::vector<std::string> names = list_directory(directory);
    PANDA_CHECK(names.size() == 1, directory, " holds ", names.size(), " files, expected 1");
    paths.push_back(join_path(directory, names[0]));
  }
  return paths;
}

/// The images [begin, end) as the networks take them: f32 N,3,224,224.
inline Tensor load_imagenet_batch(const std::vector<std::string>& paths, size_t begin, size_t end) {
  const data::ImageTransform transform;
  const int64_t image_numel = transform.channels * transform.crop * transform.crop;
  const auto count = static_cast<int64_t>(end - begin);
  Tensor batch(host(), DType::kF32, {count, transform.channels, transform.crop, transform.crop}, "images");
  for (size_t i = begin; i < end; ++i) {
    transform.apply(data::load_image(paths[i]),
                    batch.data<float>() + static_cast<int64_t>(i - begin) * image_numel);
  }
  return batch;
}

/// Class with the largest logit of each image; the first of equal ones.
inline std::vector<int64_t> predict(nn::Resnet& net, const ConstTensorView& images) {
  nn::ResnetRequest request;
  request.logits = true;
  const Tensor logits = clone_to(net.forward(images, request).logits, host());
  const int64_t classes = logits.shape()[1];
  std::vector<int64_t> predictions;
  for (int64_t n = 0; n < logits.shape()[0]; ++n) {
    const float* row = logits.data<float>() + n * classes;
    int64_t best = 0;
    for (int64_t c = 1; c < classes; ++c) {
      if (row[c] > row[best]) best = c;
    }
    predictions.push_back(best);
  }
  return predictions;
}

}  // namespace panda
