// DN2 with a ResNet-18 through the CUDA kernels, which the emulator runs: features and scores beside the cpu
// device's, from weights and images on.
//
// The stated bound. Features of one device differ from another's by at most eps = e max|f|, with e:
//   f32   1e-5: a sum of d terms, one after the other, is off by some sqrt(d) 2^-24, 4e-6 where d = 512 3 3
//   (4
//         layers), half of that at 256 3 3 (4), and so on: the root of the squares' sum is 1e-5
//   tf32, f16   4e-3: each of 18 layers rounds weights and inputs to 11 bits, an error of 2^-11 / sqrt(3)
//   each,
//               independent of the others: sqrt(2 * 18) * 2.8e-4 = 1.7e-3; twice that and some
//   bf16  8 times that: 8 bits
// A distance then moves by at most 2 eps, and so does the j-th smallest of them. A sum S of k squared
// distances moves by at most sum_j (4 eps sqrt(D_j) + 4 eps^2) <= 4 eps sqrt(k S) + 4 k eps^2.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "anomaly/dn2.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/file.h"
#include "nn/init.h"
#include "tests/support/real_data.h"
#include "tests/unit/anomaly/noise_images.h"
#include "weights/safetensors.h"

namespace panda::anomaly {
namespace {

double feature_error_bound(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return 1e-5;
    case Precision::kTf32:
    case Precision::kF16:
      return 4e-3;
    case Precision::kBF16:
      return 32e-3;
  }
  return 0;
}

std::unique_ptr<Device> make(const std::string& name, Precision precision = Precision::kF32) {
  kernels::DeviceOptions options;
  options.name = name;
  options.precision = precision;
  return kernels::make_device(options);
}

/// What one device makes of the images.
struct Outcome {
  Tensor features;  ///< of the scored images, on the host
  std::vector<double> scores;
};
struct Job {
  const NamedTensors& weights;
  const data::ImageSet& training;
  const data::ImageSet& scored;
  Dn2Options options;
};
Outcome run(Device& device, const Job& job) {
  nn::Resnet network(device, nn::detect_resnet(job.weights), job.weights);
  const Dn2 model = Dn2::fit(device, job.weights, job.training, job.options);
  const Tensor features = extract_features(network, job.scored, job.options.transform);
  return {clone_to(features, host()), model.score_features(features)};
}

double norm(const float* x, const float* y, int64_t d) {
  double sum = 0;
  for (int64_t i = 0; i < d; ++i) {
    const double difference = double{x[i]} - (y == nullptr ? 0.0 : double{y[i]});
    sum += difference * difference;
  }
  return std::sqrt(sum);
}

void expect_same_job(const Job& job, Precision precision) {
  SCOPED_TRACE(precision_name(precision));
  const auto cpu = make("cpu");
  const auto simt = make("simt", precision);
  const Outcome expected = run(*cpu, job);
  const Outcome actual = run(*simt, job);

  const int64_t n = expected.features.shape()[0];
  const int64_t d = expected.features.shape()[1];
  ASSERT_EQ(actual.features.shape(), expected.features.shape());
  const auto* e = expected.features.data<float>();
  const auto* a = actual.features.data<float>();
  const double bound = feature_error_bound(precision);
  double largest_norm = 0;
  double largest_error = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double length = norm(e + i * d, nullptr, d);
    ASSERT_GT(length, 0);
    const double error = norm(a + i * d, e + i * d, d) / length;
    EXPECT_TRUE(error <= bound) << "image " << i << ": features differ by " << error;
    largest_norm = std::max(largest_norm, length);
    largest_error = std::max(largest_error, error);
  }
  testing::Test::RecordProperty(text("largest_feature_error_", precision_name(precision)),
                                text(largest_error));

  const double eps = bound * largest_norm;
  const auto k = static_cast<double>(job.options.score.k);
  ASSERT_EQ(actual.scores.size(), expected.scores.size());
  for (size_t i = 0; i < expected.scores.size(); ++i) {
    const double score = expected.scores[i];
    EXPECT_GT(score, 0);
    const double tolerance = 4 * eps * std::sqrt(k * score) + 4 * k * eps * eps;
    EXPECT_TRUE(std::abs(actual.scores[i] - score) <= tolerance)
        << "image " << i << ": score " << actual.scores[i] << ", on the cpu " << score << ", tolerance "
        << tolerance;
  }
}

constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kTf32, Precision::kF16, Precision::kBF16};

TEST(Dn2OnSimt, GivesTheCpusFeaturesAndScoresForSeededWeights) {
  const nn::SeededResnetParameters weights(nn::resnet_config("resnet18", 0.25), 3,
                                           nn::BatchNormInit::kRandomized);
  Dn2Options options;
  options.transform.resize = 40;
  options.transform.crop = 33;
  const NoiseImages training(5, false, 1);
  const NoiseImages anomalies(3, true, 2);
  for (const Precision precision : kPrecisions)
    expect_same_job({weights, training, anomalies, options}, precision);
}

/// The first `count` images of a class of CIFAR-10.
std::vector<std::string> cifar10_images(const std::string& root, const std::string& folder, size_t count) {
  const std::string directory = join_path(root, "cifar10/" + folder);
  std::vector<std::string> files;
  for (const std::string& name : list_directory(directory)) {
    if (files.size() < count) files.push_back(join_path(directory, name));
  }
  return files;
}

TEST(Dn2OnSimt, GivesTheCpusScoresForARealNetworkAndRealImages) {
  const std::string root = test::real_data();
  if (root.empty()) GTEST_SKIP() << "PANDA_DATA is not set: no real weights and images";
  const weights::SafetensorsFile weights(join_path(root, "weights/resnet18-imagenet.safetensors"));
  const auto training = data::open_image_files(cifar10_images(root, "train/airplane", 4));
  std::vector<std::string> files = cifar10_images(root, "test/airplane", 2);
  for (const std::string& file : cifar10_images(root, "test/automobile", 2)) files.push_back(file);
  const auto scored = data::open_image_files(files);
  Dn2Options options;
  options.transform.resize = 64;
  options.transform.crop = 64;
  for (const Precision precision : {Precision::kF32, Precision::kF16})
    expect_same_job({weights, *training, *scored, options}, precision);
}

}  // namespace
}  // namespace panda::anomaly
