// Top-1 accuracy of a real network on the ImageNet sample, end to end: files, decoder, resize, network.
// Prints one JSON object.
//
//   imagenet_top1 DATA_ROOT WEIGHTS.safetensors [--device NAME] [--threads N] [--images N] [--batch N]

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "kernels/device_registry.h"
#include "tests/support/imagenet_sample.h"
#include "weights/safetensors.h"

namespace {

struct Options {
  std::string data_root;
  std::string weights;
  panda::kernels::DeviceOptions device;
  size_t images = SIZE_MAX;
  size_t batch = 16;
};

Options parse(int argc, char** argv) {
  PANDA_CHECK(argc >= 3,
              "usage: imagenet_top1 DATA_ROOT WEIGHTS.safetensors [--device NAME] [--threads N] [--images N] "
              "[--batch N]");
  Options options;
  options.data_root = argv[1];
  options.weights = argv[2];
  for (int i = 3; i < argc; i += 2) {
    const std::string flag = argv[i];
    PANDA_CHECK(i + 1 < argc, flag, " needs a value");
    if (flag == "--device") {
      options.device.name = argv[i + 1];
    } else if (flag == "--threads") {
      options.device.threads = std::stoi(argv[i + 1]);
    } else if (flag == "--images") {
      options.images = std::stoul(argv[i + 1]);
    } else {
      PANDA_CHECK(flag == "--batch", "unknown option ", flag);
      options.batch = std::max(size_t{1}, static_cast<size_t>(std::stoul(argv[i + 1])));
    }
  }
  return options;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void run(const Options& options) {
  using Clock = std::chrono::steady_clock;
  const auto device = panda::kernels::make_device(options.device);
  const auto load_begin = Clock::now();
  const panda::weights::SafetensorsFile file(options.weights);
  panda::nn::Resnet net(*device, panda::nn::detect_resnet(file), file);
  const double load_s = seconds_since(load_begin);
  const std::vector<std::string> paths = panda::imagenet_sample_paths(options.data_root);
  const size_t count = std::min(options.images, paths.size());
  size_t correct = 0;
  double decode_s = 0;
  double forward_s = 0;
  for (size_t begin = 0; begin < count; begin += options.batch) {
    const size_t end = std::min(begin + options.batch, count);
    const auto decode_begin = Clock::now();
    const panda::Tensor images = panda::load_imagenet_batch(paths, begin, end);
    decode_s += seconds_since(decode_begin);
    const auto forward_begin = Clock::now();
    const std::vector<int64_t> predictions = panda::predict(net, images);
    forward_s += seconds_since(forward_begin);
    for (size_t i = begin; i < end; ++i) correct += predictions[i - begin] == static_cast<int64_t>(i) ? 1 : 0;
  }
  std::printf(
      "{\"network\": \"%s\", \"device\": \"%s\", \"device_description\": \"%s\", \"images\": %zu, "
      "\"correct\": %zu, "
      "\"top1_percent\": %.2f, \"seconds\": {\"load_weights\": %.3f, \"decode_and_resize\": %.3f, "
      "\"forward\": %.3f}}\n",
      net.config().arch.c_str(), device->name().c_str(), device->description().c_str(), count, correct,
      count == 0 ? 0.0 : 100.0 * static_cast<double>(correct) / static_cast<double>(count), load_s, decode_s,
      forward_s);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "imagenet_top1: " << error.what() << "\n";
    return 2;
  }
}
