// The whole job as a user runs it: synth, fit, score, eval; and everything that can be wrong with what they
// are given.

#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/tensor/error.h"
#include "nn/init.h"
#include "tests/cli/expect.h"
#include "weights/safetensors.h"

namespace panda::test {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTrain = 24;  // of 40 synthetic pictures
constexpr int64_t kTest = 16;

/// Seeded weights of a ResNet-18 of this width; `spoil` may change a tensor.
void write_weights(const std::string& path, double width = 0.125,
                   const std::function<void(const std::string& name, Tensor& tensor)>& spoil = {}) {
  const nn::SeededResnetParameters seeded(nn::resnet_config("resnet18", width), 5,
                                          nn::BatchNormInit::kRandomized);
  weights::SafetensorsWriter writer(path, seeded.list());
  for (const TensorInfo& info : writer.order()) {
    Tensor tensor = seeded.load(info.name);
    if (spoil) spoil(info.name, tensor);
    writer.write(tensor);
  }
  writer.commit();
}

/// A synthetic data set and weights, made once.
class Detector : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TemporaryDirectory;
    ASSERT_EQ(run_panda_command({"synth", "--out", shared_->path("set"), "--count", "40", "--size", "48"})
                  .exit_code,
              0);
    write_weights(shared_->path("w.safetensors"));
    ASSERT_EQ(run_panda_command(fit(shared_->path("model"))).exit_code, 0);
  }
  static void TearDownTestSuite() { delete shared_; }

  static std::string set() { return shared_->path("set"); }
  static std::string weights() { return shared_->path("w.safetensors"); }
  static std::string model() { return shared_->path("model"); }

  static Words fit(const std::string& out, const Words& more = {}, const std::string& data = set(),
                   const std::string& w = weights()) {
    Words words = {"fit",   "dn2", "--data",   data, "--weights", w,
                   "--out", out,   "--resize", "40", "--crop",    "32"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  /// A refused fit leaves its folder empty.
  static void expect_fit_refused(const Words& more, const std::string& part, const std::string& data = set(),
                                 const std::string& w = weights(), int exit_code = 2) {
    const TemporaryDirectory folder;
    expect_refused(fit(folder.path("model"), more, data, w), part, exit_code);
    EXPECT_TRUE(list_directory(folder.path()).empty()) << part;
  }

 private:
  static TemporaryDirectory* shared_;
};
TemporaryDirectory* Detector::shared_ = nullptr;

TEST_F(Detector, DoesTheWholeJob) {
  const TemporaryDirectory folder;
  const Json fitted = json_of(fit(folder.path("m")));
  EXPECT_EQ(fitted.at("n_train"), kTrain);
  EXPECT_EQ(fitted.at("arch"), "resnet18");
  EXPECT_EQ(fitted.at("score"), "knn-sum-sq");
  EXPECT_EQ(fitted.at("threshold").at("false_alarm_rate"), 0.05);

  const Json evaluated = json_of({"eval", folder.path("m"), "--data", set()});
  EXPECT_EQ(evaluated.at("n_test"), kTest);
  EXPECT_EQ(evaluated.at("n_train"), kTrain);
  EXPECT_EQ(evaluated.at("n_anomalous"), 10);
  EXPECT_TRUE(evaluated.at("pixel_auroc").is_null());
  EXPECT_TRUE(evaluated.at("pro").is_null());
  EXPECT_TRUE(evaluated.at("seconds").at("total").is_number());
  EXPECT_TRUE(evaluated.at("device").is_string());
  ASSERT_EQ(evaluated.at("per_image").size(), static_cast<size_t>(kTest));

  // The reported value is that of the reported scores, by the definition.
  double wins = 0;
  for (const Json& a : evaluated.at("per_image")) {
    for (const Json& n : evaluated.at("per_image")) {
      if (a.at("label") != 1 || n.at("label") != 0) continue;
      const double difference = a.at("score").get<double>() - n.at("score").get<double>();
      wins += difference > 0 ? 1 : difference == 0 ? 0.5 : 0;
    }
  }
  EXPECT_EQ(evaluated.at("image_auroc").get<double>(), wins / 60);
  EXPECT_GT(wins / 60, 0.5);

  // score gives the same numbers, and verdicts by the threshold of the fit.
  const Json scored = json_of({"score", folder.path("m"), set() + "/test"});
  ASSERT_EQ(scored.size(), static_cast<size_t>(kTest));
  const double threshold = fitted.at("threshold").at("value");
  std::map<std::string, double> scores;
  for (const Json& image : evaluated.at("per_image")) scores[image.at("file")] = image.at("score");
  for (const Json& image : scored) {
    const double score = image.at("score");
    EXPECT_EQ(score, scores.at(image.at("file")));
    EXPECT_EQ(image.at("anomalous").get<bool>(), score > threshold);
    EXPECT_TRUE(image.at("map").is_null());
  }
}

TEST_F(Detector, DoesTheWholeJobThroughTheEmulatedGpuKernels) {
  const TemporaryDirectory folder;
  const Json fitted = json_of(fit(folder.path("m"), {"--device", "simt"}));
  EXPECT_EQ(fitted.at("n_train"), kTrain);
  const Json evaluated = json_of({"eval", folder.path("m"), "--data", set(), "--device", "simt"});
  EXPECT_NE(evaluated.at("device").get<std::string>().find("simt"), std::string::npos)
      << evaluated.at("device");
  // The cpu device's model and scores. The bound proper is in tests/unit/anomaly/dn2_simt_test.cpp; here a
  // job that went another way than the cpu's is to be told from one that was rounded otherwise.
  const Json expected = json_of({"eval", model(), "--data", set()});
  ASSERT_EQ(evaluated.at("per_image").size(), expected.at("per_image").size());
  for (size_t i = 0; i < expected.at("per_image").size(); ++i) {
    const Json& image = expected.at("per_image")[i];
    EXPECT_EQ(evaluated.at("per_image")[i].at("file"), image.at("file"));
    const double score = image.at("score");
    EXPECT_NEAR(evaluated.at("per_image")[i].at("score").get<double>(), score, 1e-4 * score);
  }
}

TEST_F(Detector, WritesTheSameModelForAnyThreadsAndBatch) {
  const TemporaryDirectory folder;
  const std::string expected = content_of(model());
  for (const Words& more :
       {Words{"--threads", "1"}, Words{"--threads", "3", "--batch-size", "5"}, Words{"--batch-size", "1"}}) {
    const std::string path = folder.path(more.back() + more.front());
    ASSERT_EQ(run_panda_command(fit(path, more)).exit_code, 0);
    EXPECT_TRUE(content_of(path) == expected) << more.front() << more.back();
  }
}

TEST_F(Detector, FollowsItsScoringFlags) {
  const TemporaryDirectory folder;
  EXPECT_EQ(json_of(fit(folder.path("a"), {"--preset", "paper"})).at("score"), "knn-mean");
  EXPECT_EQ(json_of(fit(folder.path("b"), {"--preset", "paper", "--score", "center"})).at("score"), "center");
  const Json normalized =
      json_of(fit(folder.path("c"), {"--normalize", "--k", "5", "--false-alarm-rate", "0.2"}));
  EXPECT_EQ(normalized.at("normalize"), true);
  EXPECT_EQ(normalized.at("k"), 5);
  EXPECT_EQ(normalized.at("threshold").at("false_alarm_rate"), 0.2);
  for (const char* name : {"a", "b", "c"}) {
    const double auroc = json_of({"eval", folder.path(name), "--data", set()}).at("image_auroc");
    EXPECT_TRUE(auroc > 0.5 && auroc <= 1) << name << " " << auroc;
  }
}

TEST_F(Detector, ScoresByKmeansCenters) {
  const TemporaryDirectory folder;
  const Json fitted = json_of(fit(folder.path("m"), {"--score", "kmeans", "--clusters", "6"}));
  EXPECT_EQ(fitted.at("score"), "kmeans");
  EXPECT_EQ(fitted.at("clusters"), 6);
  EXPECT_EQ(fitted.at("threshold").at("meaning").get<std::string>().substr(0, 15), "about, at most ");
  // As many centers as images are the images themselves.
  json_of(fit(folder.path("1"), {"--k", "1"}));
  ASSERT_EQ(run_panda_command(fit(folder.path("24"), {"--score", "kmeans", "--clusters", "24"})).exit_code,
            0);
  EXPECT_EQ(json_of({"eval", folder.path("24"), "--data", set()}).at("per_image"),
            json_of({"eval", folder.path("1"), "--data", set()}).at("per_image"));
  for (const Json& image : json_of({"score", folder.path("m"), set() + "/test"}))
    EXPECT_EQ(image.at("anomalous"),
              image.at("score").get<double>() > fitted.at("threshold").at("value").get<double>());
  // The same fit writes the same bytes for any number of threads; another seed finds other centers.
  ASSERT_EQ(
      run_panda_command(fit(folder.path("n"), {"--score", "kmeans", "--clusters", "6", "--threads", "1"}))
          .exit_code,
      0);
  EXPECT_TRUE(content_of(folder.path("m")) == content_of(folder.path("n")));
  const Json other = json_of(fit(folder.path("o"), {"--score", "kmeans", "--clusters", "6", "--seed", "9"}));
  EXPECT_NE(other.at("threshold").at("value"), fitted.at("threshold").at("value"));

  const auto refused = [&](const Words& more, const std::string& part) {
    const Outcome outcome = run_panda_command(fit(folder.path("x"), more));
    EXPECT_EQ(outcome.exit_code, 2) << part;
    EXPECT_EQ(outcome.error_lines(), 1) << outcome.standard_error;
    EXPECT_NE(outcome.standard_error.find(part), std::string::npos) << outcome.standard_error;
  };
  refused({"--score", "kmeans"}, "--score kmeans: expected --clusters N");
  refused({"--clusters", "5"}, "--clusters is for dn2 --score kmeans and for spade, but the score is of");
  refused({"--score", "kmeans", "--clusters", "25"}, "dn2: 24 training images are fewer than clusters=25");
  refused({"--score", "kmeans", "--clusters", "0"}, "--clusters");
  Words words = fit(folder.path("x"), {"--score", "kmeans", "--clusters", "5"});
  words[1] = "panda-early";
  const Outcome outcome = run_panda_command(words);
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.standard_error.find("--score kmeans is for dn2, not for panda-early"), std::string::npos)
      << outcome.standard_error;
}

TEST_F(Detector, ScoresByMahalanobisDistances) {
  const TemporaryDirectory folder;
  const Json fitted = json_of(fit(folder.path("m"), {"--score", "mahalanobis"}));
  EXPECT_EQ(fitted.at("score"), "mahalanobis");
  EXPECT_EQ(fitted.at("whitening").at("directions"), kTrain - 1);  // fewer images than features
  const double shrinkage = fitted.at("whitening").at("shrinkage");
  EXPECT_TRUE(shrinkage > 0 && shrinkage < 1) << shrinkage;
  const Json few =
      json_of(fit(folder.path("few"), {"--score", "mahalanobis", "--components", "5", "--shrinkage", "0.0"}));
  EXPECT_EQ(few.at("whitening"), (Json{{"directions", 5}, {"shrinkage", 0.0}}));
  EXPECT_NE(few.at("threshold").at("meaning").get<std::string>().find("left out by tenths"),
            std::string::npos);
  for (const char* name : {"m", "few"}) {
    const double auroc = json_of({"eval", folder.path(name), "--data", set()}).at("image_auroc");
    EXPECT_TRUE(auroc > 0.5 && auroc <= 1) << name << " " << auroc;
  }
  for (const Json& image : json_of({"score", folder.path("m"), set() + "/test"}))
    EXPECT_EQ(image.at("anomalous"),
              image.at("score").get<double>() > fitted.at("threshold").at("value").get<double>());
  json_of(fit(folder.path("n"), {"--score", "mahalanobis", "--threads", "1"}));
  EXPECT_TRUE(content_of(folder.path("m")) == content_of(folder.path("n")));
  EXPECT_TRUE(json_of(fit(folder.path("k"))).at("whitening").is_null());

  expect_fit_refused({"--components", "5"}, "--components is for --score mahalanobis");
  expect_fit_refused({"--shrinkage", "0.5"}, "--shrinkage is for --score mahalanobis");
  expect_fit_refused({"--score", "mahalanobis", "--shrinkage", "1.5"}, "ledoit-wolf or a number from 0 to 1");
  expect_fit_refused({"--score", "mahalanobis", "--components", "24"},
                     "dn2: 24 training images are fewer than the 25 that components=24 needs");
  Words words = fit(folder.path("x"), {"--score", "mahalanobis"});
  words[1] = "spade";
  expect_refused(words, "--score mahalanobis is for dn2", 2);
}

TEST_F(Detector, ScoresByAOneClassSvm) {
  const TemporaryDirectory folder;
  const auto svm_fit = [&](const std::string& name, const Words& more) {
    Words words = fit(folder.path(name), more);
    words[1] = "oc-svm";
    return words;
  };
  const Json fitted = json_of(svm_fit("m", {"--nu", "0.3", "--gamma", "0.05"}));
  EXPECT_EQ(fitted.at("method"), "oc-svm");
  EXPECT_TRUE(fitted.at("k").is_null());
  EXPECT_EQ(fitted.at("svm").at("gamma"), 0.05);
  EXPECT_FALSE(fitted.at("svm").at("chosen_by_labels").get<bool>());
  EXPECT_GE(fitted.at("svm").at("support_vectors").get<double>(), 0.3 * kTrain);
  const std::string meaning = fitted.at("threshold").at("meaning");
  EXPECT_EQ(meaning.substr(0, 15), "about, at most ");
  EXPECT_NE(meaning.find("left out by tenths"), std::string::npos);
  for (const Json& image : json_of({"score", folder.path("m"), set() + "/test"}))
    EXPECT_EQ(image.at("anomalous"),
              image.at("score").get<double>() > fitted.at("threshold").at("value").get<double>());
  json_of(svm_fit("n", {"--nu", "0.3", "--gamma", "0.05", "--threads", "1", "--kernel-memory", "1"}));
  EXPECT_TRUE(content_of(folder.path("m")) == content_of(folder.path("n")));

  // The grid's best point is what eval then measures, and the user is told how it was found.
  const Outcome searched = run_panda_command(svm_fit("g", {"--grid", "-o", "json"}));
  ASSERT_EQ(searched.exit_code, 0) << searched.standard_error;
  EXPECT_NE(searched.standard_error.find("chosen by the labels of the test split"), std::string::npos);
  const Json grid = Json::parse(searched.standard_output).at("svm");
  EXPECT_TRUE(grid.at("chosen_by_labels").get<bool>());
  ASSERT_EQ(grid.at("grid").size(), 90u);
  double best = 0;
  for (const Json& point : grid.at("grid")) best = std::max(best, point.at("auroc").get<double>());
  EXPECT_NEAR(json_of({"eval", folder.path("g"), "--data", set()}).at("image_auroc").get<double>(), best,
              1e-12);
  EXPECT_GT(best, 0.5);
  const Outcome table = run_panda_command({"eval", folder.path("g"), "--data", set()});
  EXPECT_NE(table.standard_output.find("chosen by labels"), std::string::npos) << table.standard_output;

  expect_refused(svm_fit("x", {"--grid", "--nu", "0.5"}), "--grid and --nu exclude each other", 2);
  expect_refused(svm_fit("x", {"--gamma", "0"}), "scale or a number above 0", 2);
  expect_refused(svm_fit("x", {"--nu", "1.5"}), "--nu", 2);
  expect_refused(svm_fit("x", {"--score", "center"}), "--score is not for oc-svm", 2);
  expect_fit_refused({"--nu", "0.5"}, "--nu is for oc-svm, not for dn2");
}

TEST_F(Detector, PrintsTablesForPeopleAndCsv) {
  const Outcome evaluated = run_panda_command({"eval", model(), "--data", set()});
  for (const char* part : {"ROCAUC", "at most 5 % of normal images", "false alarms",
                           "24 fitted on; 16 tested: 6 normal, 10 anomalous"}) {
    EXPECT_NE(evaluated.standard_output.find(part), std::string::npos) << part;
  }
  const Outcome scored = run_panda_command({"score", model(), set() + "/test/good", "-o", "csv"});
  EXPECT_EQ(scored.standard_output.substr(0, 25), "file,score,anomalous,map\n");
  EXPECT_EQ(std::count(scored.standard_output.begin(), scored.standard_output.end(), '\n'), 7);
}

TEST_F(Detector, ExitsWithOneOnlyWhenAskedAndFound) {
  const std::string good = set() + "/test/good/000.png";
  const auto exit_code = [&](Words more) {
    Words words = {"score", model(), good};
    words.insert(words.end(), more.begin(), more.end());
    return run_panda_command(words).exit_code;
  };
  EXPECT_EQ(exit_code({"--threshold=-1"}), 0);
  EXPECT_EQ(exit_code({"--threshold=-1", "--fail-on-anomaly"}), 1);
  EXPECT_EQ(exit_code({"--threshold", "1e30", "--fail-on-anomaly"}), 0);
  EXPECT_EQ(exit_code({"--false-alarm-rate", "0.5"}), 0);
  expect_refused({"score", model(), good, "--false-alarm-rate", "0.5", "--threshold", "1"},
                 "exclude each other");
  expect_refused({"score", model(), good, "--false-alarm-rate", "0.001"}, "needs 999 images");
}

TEST_F(Detector, RefusesBadDataSets) {
  const TemporaryDirectory folder;
  expect_fit_refused({}, "missing", folder.path("missing"));
  fs::create_directories(folder.path("empty/train/good"));
  fs::create_directories(folder.path("empty/test"));
  expect_fit_refused({}, "empty", folder.path("empty"));
  fs::create_directories(folder.path("one/train/good"));
  fs::create_directories(folder.path("one/test"));
  fs::copy(set() + "/train/good/000.png", folder.path("one/train/good/000.png"));
  expect_fit_refused({}, "dn2: 1 training image is fewer than k=2", folder.path("one"));
  expect_fit_refused({"--k", "25"}, "dn2: 24 training images are fewer than k=25");
  expect_fit_refused({"--class", "nothing", "--dataset", "folder"}, "nothing");
  expect_fit_refused({"--false-alarm-rate", "0.01"}, "24 normal images cannot promise 1 % false alarms");
  expect_fit_refused({"--crop", "64"}, "--crop 64 is larger than --resize 40");

  fs::copy(set(), folder.path("broken"), fs::copy_options::recursive);
  fs::resize_file(folder.path("broken/train/good/005.png"), 100);
  expect_fit_refused({}, "005.png: ", folder.path("broken"));
  fs::copy(set(), folder.path("text"), fs::copy_options::recursive);
  folder.write("text/train/good/007.png", "no picture");
  expect_fit_refused({}, "007.png: ", folder.path("text"));
  expect_refused({"eval", model(), "--data", folder.path("one")}, "one");
  expect_refused({"score", model(), folder.path("empty")}, "empty");
  expect_refused({"score", model(), folder.path("nowhere.png")}, "nowhere.png");
}

TEST_F(Detector, ScoresButDoesNotJudgeWhenImagesAreTooFew) {
  const TemporaryDirectory folder;
  fs::create_directories(folder.path("two/train/good"));
  fs::create_directories(folder.path("two/test"));
  for (const char* name : {"000.png", "001.png"})
    fs::copy(set() + "/train/good/" + name, folder.path("two/train/good/") + name);
  const Outcome fitted = run_panda_command(fit(folder.path("m"), {}, folder.path("two")));
  EXPECT_EQ(fitted.exit_code, 0);
  EXPECT_NE(fitted.standard_error.find("warning: 2 images are too few for a threshold"), std::string::npos);
  const Json scored = json_of({"score", folder.path("m"), set() + "/test/good/000.png"});
  EXPECT_TRUE(scored.at(0).at("anomalous").is_null());
  expect_refused({"score", folder.path("m"), set() + "/test/good", "--fail-on-anomaly"}, "has no threshold");
}

TEST_F(Detector, RefusesBadWeights) {
  const TemporaryDirectory folder;
  const std::string bad = folder.path("bad.safetensors");
  expect_fit_refused({}, "missing.safetensors", set(), folder.path("missing.safetensors"));
  write_weights(bad, 0.125, [](const std::string& name, Tensor& tensor) {
    if (name == "layer2.0.conv1.weight") tensor.data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  });
  expect_fit_refused({}, "layer2.0.conv1.weight", set(), bad);
  const std::string whole = content_of(weights());
  folder.write("cut.safetensors", whole.substr(0, whole.size() / 2));
  expect_fit_refused({}, "cut.safetensors", set(), folder.path("cut.safetensors"));
  folder.write("text.safetensors", "<html>not found</html>");
  expect_fit_refused({}, "text.safetensors", set(), folder.path("text.safetensors"));
  expect_fit_refused({"--arch", "resnet50"}, "holds a resnet18, but --arch asks for a resnet50");
  expect_fit_refused({"--precision", "f16"}, "computes in f32 only");
}

TEST_F(Detector, RefusesBadModels) {
  const TemporaryDirectory folder;
  const std::string whole = content_of(model());
  const std::string image = set() + "/test/good/000.png";
  const auto refused = [&](const std::string& content, const std::string& part) {
    expect_refused({"score", folder.write("m", content), image}, part);
    expect_refused({"eval", folder.path("m"), "--data", set()}, part);
  };
  refused("", "m: ");
  refused(whole.substr(0, 100), "m: ");
  refused(whole.substr(0, whole.size() - 1), "m: ");
  refused(whole + "x", "m: ");
  std::string changed = whole;
  changed[whole.size() - 5] ^= 4;
  refused(changed, "does not match its SHA-256");
  changed = whole;
  changed[whole.find("\"version\":\"1\"") + 11] = '9';
  refused(changed, "a fitted model of version 9, but this panda reads versions 1 to 2");
  refused(content_of(weights()), "not a fitted model");
  expect_refused({"score", folder.path(), image}, folder.path());
  expect_refused({"score", folder.path("missing"), image}, "missing");
}

TEST_F(Detector, RefusesBadOutputsBeforeTheWork) {
  const TemporaryDirectory folder;
  const std::string kept = folder.write("kept", "precious");
  expect_refused(fit(kept), "kept: exists, expected a new file (--force replaces it)");
  EXPECT_EQ(content_of(kept), "precious");
  expect_refused(fit(folder.path()), "is a directory");
  expect_refused(fit(folder.path(), {"--force"}), "is a directory");
  expect_refused(fit(folder.path("nowhere/model")), "nowhere/model");
  expect_refused(fit("/proc/model"), "/proc/model");
  expect_refused(fit(weights(), {"--force"}), "is the weights file");
  EXPECT_EQ(list_directory(folder.path()), Words{"kept"});
  EXPECT_EQ(run_panda_command(fit(kept, {"--force"})).exit_code, 0);
  EXPECT_EQ(content_of(kept), content_of(model()));
}

TEST_F(Detector, NamesMethodsThatAreNotInThisBuild) {
  const TemporaryDirectory folder;
  for (const char* method : {"deep-svdd", "mhrot"}) {
    Words words = fit(folder.path("model"));
    words[1] = method;
    expect_refused(words, std::string(method) + ": this method is not in this build");
  }
  EXPECT_TRUE(list_directory(folder.path()).empty());
}

TEST_F(Detector, LeavesNothingWhenInterrupted) {
  const TemporaryDirectory folder;
  const std::string large = folder.path("w.safetensors");
  write_weights(large, 1.0);
  fs::create_directory(folder.path("out"));
  // A whole ResNet-18, one picture at a time: seconds, of which the first report is the beginning.
  Words words = {"fit",          "dn2", "--data",     set(),
                 "--weights",    large, "--out",      folder.path("out/model"),
                 "--batch-size", "1",   "--progress", "keyvalue"};
  RunOptions options;
  options.while_running = [](pid_t child) {
    EXPECT_TRUE(wait_until([child] {
      try {
        return content_of("/proc/" + std::to_string(child) + "/fd/2").find("stage=extracting_features") !=
               std::string::npos;
      } catch (const Error&) {
        return false;  // not yet our program
      }
    }));
    ::kill(child, SIGINT);
  };
  const Outcome outcome = run_panda_command(words, options);
  EXPECT_EQ(outcome.exit_code, 130) << outcome.standard_error;
  EXPECT_NE(outcome.standard_error.find("panda: interrupted\n"), std::string::npos);
  EXPECT_EQ(outcome.standard_output, "");
  EXPECT_TRUE(list_directory(folder.path("out")).empty());
}

}  // namespace
}  // namespace panda::test
