#include "kernels/resize.h"

#include <algorithm>

#include "kernels/checks.h"

namespace panda::kernels {

namespace {

void check_axis(const char* name, const ResampleAxis& axis, int64_t extent) {
  PANDA_CHECK(axis.size == 0 || (axis.first != nullptr && axis.count != nullptr && axis.weights != nullptr),
              "resize_forward: ", name, " has no tables");
  for (int64_t i = 0; i < axis.size; ++i) {
    const int64_t first = axis.first[i];
    const int64_t count = axis.count[i];
    PANDA_CHECK(
        count >= 1 && count <= axis.stride && first >= 0 && count <= extent && first <= extent - count,
        "resize_forward: position ", i, " of ", name, " reads ", count, " samples from ", first, " of ",
        extent, " (stride ", axis.stride, ")");
    int64_t sum = 0;
    for (int64_t t = 0; t < count; ++t) {
      const int32_t weight = axis.weights[i * axis.stride + t];
      PANDA_CHECK(weight >= 0, "resize_forward: weight ", t, " of position ", i, " of ", name, " is ", weight,
                  ", expected >= 0");
      sum += weight;
    }
    PANDA_CHECK(sum < int64_t{1} << (kResampleFractionBits + 1), "resize_forward: the weights of position ",
                i, " of ", name, " sum to ", sum, ", expected less than 2^23");
  }
}

}  // namespace

ResampleSource resample_source(const ResampleAxis& axis) {
  int64_t begin = INT64_MAX;
  int64_t end = 0;
  for (int64_t i = 0; i < axis.size; ++i) {
    begin = std::min(begin, axis.first[i]);
    end = std::max(end, axis.first[i] + axis.count[i]);
  }
  return {begin, end - begin};
}

void resize_forward(Device& device, const ResizeForwardArgs& args) {
  const OperandCheck check("resize_forward", device);
  check.present("image", args.image, 3, {DType::kU8});
  check.dense("image", args.image);
  const Shape& image = args.image.shape();
  PANDA_CHECK(image[2] >= 1 && image[2] <= 4, "resize_forward: image is ", args.image.to_string(),
              ", expected 1 to 4 channels");
  check.present("levels", args.levels, 2);
  check.dense("levels", args.levels);
  const int64_t channels = args.levels.shape()[0];
  check.shape("levels", args.levels, {image[2] == 1 ? channels : image[2], 256});
  check_axis("along_height", args.along_height, image[0]);
  check_axis("along_width", args.along_width, image[1]);
  check.image("y", args.y, {1, channels, args.along_height.size, args.along_width.size});
  check.no_overlap("y", args.y, "image", args.image);
  check.no_overlap("y", args.y, "levels", args.levels);
  if (args.y.numel() == 0) return;
  launch("resize_forward", device.kernels().resize_forward, device, args);
}

}  // namespace panda::kernels
