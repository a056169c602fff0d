// DN2 on real photographs: CIFAR-10, one class normal at a time, against figures made with PyTorch, Pillow
// and faiss. The test split's features are computed once and shared by the classes. Prints one JSON object;
// exit code 1 if a figure is off.
//
//   cifar10_dn2 DATA_ROOT WEIGHTS [--classes airplane,automobile,bird] [--device NAME] [--threads N] [--batch
//   N]
//
// DATA_ROOT holds cifar10/{train,test}/CLASS/*.png; the reference figures belong to a ResNet-18 with product-
// quantised ImageNet weights (resnet18-imagenet.safetensors).

#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "anomaly/auroc.h"
#include "anomaly/feature_extractor.h"
#include "anomaly/scoring.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/parallel.h"
#include "weights/manifest.h"
#include "weights/weights_file.h"

namespace panda {
namespace {

using Json = nlohmann::ordered_json;

struct Reference {
  double knn_percent = 0;     // sum of squares, k = 2
  double center_percent = 0;  // distance to the mean
};
const std::map<std::string, Reference> kReferences = {
    {"airplane", {79.65, 77.29}}, {"automobile", {92.44, 91.63}}, {"bird", {70.12, 63.70}}};
constexpr double kTolerancePoints = 0.05;

struct Options {
  std::string data_root;
  std::string weights;
  std::vector<std::string> classes = {"airplane", "automobile", "bird"};
  kernels::DeviceOptions device;
  int64_t batch = 32;
};

Options parse(int argc, char** argv) {
  PANDA_CHECK(
      argc >= 3 && argc % 2 == 1,
      "usage: cifar10_dn2 DATA_ROOT WEIGHTS [--classes A,B] [--device NAME] [--threads N] [--batch N]");
  Options options;
  options.data_root = argv[1];
  options.weights = argv[2];
  for (int i = 3; i < argc; i += 2) {
    const std::string flag = argv[i];
    const std::string value = argv[i + 1];
    if (flag == "--classes") {
      options.classes.clear();
      std::istringstream names(value);
      for (std::string name; std::getline(names, name, ',');) options.classes.push_back(name);
    } else if (flag == "--device") {
      options.device.name = value;
    } else if (flag == "--threads") {
      options.device.threads = std::stoi(value);
    } else {
      PANDA_CHECK(flag == "--batch", "unknown option ", flag);
      options.batch = std::stoll(value);
    }
  }
  return options;
}

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

class Lines final : public Progress {
 public:
  void update(const char* stage, int64_t done, int64_t total) override {
    if (done % 1000 < 32 || done == total) std::cerr << stage << " " << done << "/" << total << "\n";
  }
};

data::Dataset open(const Options& options, const std::string& class_name, bool train) {
  data::DatasetOptions dataset;
  dataset.kind = "cifar10";
  dataset.directory = options.data_root + "/cifar10";
  dataset.class_name = class_name;
  dataset.need_train = train;
  dataset.need_test = !train;
  return data::open_dataset(dataset);
}

double auroc_percent(const anomaly::FeatureScorer& scorer, const ConstTensorView& features,
                     const std::vector<uint8_t>& labels) {
  return 100 * anomaly::auroc(scorer.score(features), labels).value();
}

struct Checked {
  Json json;
  bool right = false;
};

Checked checked(double percent, double reference) {
  const double off = percent - reference;
  const bool right = !(std::abs(off) > kTolerancePoints);
  return {{{"auroc_percent", percent},
           {"reference_percent", reference},
           {"difference_points", off},
           {"within_0.05", right}},
          right};
}

int run(const Options& options) {
  for (const std::string& name : options.classes)
    PANDA_CHECK(kReferences.count(name) == 1, "no reference figure for class ", name);
  const auto device = kernels::make_device(options.device);
  Stopwatch watch;
  const auto weights = weights::open_weights(options.weights);
  nn::ResnetConfig config = nn::detect_resnet(*weights);
  config.class_count = 0;
  nn::Resnet network(*device, config, *weights);
  Json result = {{"experiment", "dn2 on cifar10, one class normal"},
                 {"arch", config.arch},
                 {"weights_sha256", weights::file_sha256(options.weights)},
                 {"device", device->name()},
                 {"device_description", device->description()},
                 {"batch_size", options.batch}};
  result["seconds"]["load_weights"] = watch.lap();

  Lines progress;
  anomaly::ExtractOptions extract;
  extract.batch_size = options.batch;
  extract.decode_threads = device->threads().thread_count();
  const data::ImageTransform transform;
  const data::Dataset test = open(options, options.classes.at(0), false);
  extract.stage = "test";
  const Tensor test_features = anomaly::extract_features(network, *test.test, transform, extract, &progress);
  const double test_seconds = watch.lap();
  result["n_test"] = test.test->size();
  result["seconds"]["test_features"] = test_seconds;
  result["images_per_second"] = static_cast<double>(test.test->size()) / test_seconds;

  bool right = true;
  for (const std::string& name : options.classes) {
    const data::Dataset train = open(options, name, true);
    extract.stage = name.c_str();
    const Tensor features = anomaly::extract_features(network, *train.train, transform, extract, &progress);
    Json row = {{"n_train", train.train->size()}};
    row["seconds"]["train_features"] = watch.lap();
    std::vector<uint8_t> labels;
    for (int64_t i = 0; i < test.test->size(); ++i)
      labels.push_back(test.test->sample(i).class_name == name ? 0 : 1);
    const auto knn =
        anomaly::FeatureScorer::fit(*device, features, {anomaly::ScoreRule::kKnnSumSq, 2, false});
    const Checked knn_check =
        checked(auroc_percent(knn, test_features, labels), kReferences.at(name).knn_percent);
    row["seconds"]["knn"] = watch.lap();
    const auto center =
        anomaly::FeatureScorer::fit(*device, features, {anomaly::ScoreRule::kCenter, 2, false});
    const Checked center_check =
        checked(auroc_percent(center, test_features, labels), kReferences.at(name).center_percent);
    row["seconds"]["center"] = watch.lap();
    row["knn-sum-sq, k=2"] = knn_check.json;
    row["center"] = center_check.json;
    right = right && knn_check.right && center_check.right;
    result["classes"][name] = row;
    std::cerr << name << ": " << row.dump() << "\n";
  }
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  result["peak_resident_mb"] = static_cast<double>(usage.ru_maxrss) / 1000;
  std::cout << result.dump(2) << "\n";
  return right ? 0 : 1;
}

}  // namespace
}  // namespace panda

int main(int argc, char** argv) {
  try {
    return panda::run(panda::parse(argc, argv));
  } catch (const std::exception& error) {
    std::cerr << "cifar10_dn2: " << error.what() << "\n";
    return 2;
  }
}
