// The methods that train, as a user runs them: fit, score, kill, resume; and everything that can be wrong.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernels/tensor/random.h"
#include "nn/init.h"
#include "tests/cli/expect.h"
#include "weights/safetensors.h"

namespace panda::test {
namespace {

namespace fs = std::filesystem;

class PandaCommand : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TemporaryDirectory;
    ASSERT_EQ(run_panda_command({"synth", "--out", set(), "--count", "40", "--size", "48"}).exit_code, 0);
    write_seeded(weights(), [](const std::string&, Tensor&) {});
    // Squares of gradients, as far as the fit can tell: 0 or above, one per parameter.
    write_seeded(fisher(), [](const std::string& name, Tensor& tensor) {
      for (int64_t i = 0; i < tensor.numel(); ++i)
        tensor.data<float>()[i] *= name.empty() ? 0 : tensor.data<float>()[i];
    });
  }
  static void TearDownTestSuite() { delete shared_; }

  static void write_seeded(const std::string& path,
                           const std::function<void(const std::string&, Tensor&)>& change) {
    const nn::SeededResnetParameters seeded(nn::resnet_config("resnet18", 0.125), 5,
                                            nn::BatchNormInit::kRandomized);
    weights::SafetensorsWriter writer(path, seeded.list());
    for (const TensorInfo& info : writer.order()) {
      Tensor tensor = seeded.load(info.name);
      change(info.name, tensor);
      writer.write(tensor);
    }
    writer.commit();
  }
  static std::string set() { return shared_->path("set"); }
  static std::string weights() { return shared_->path("w.safetensors"); }
  static std::string fisher() { return shared_->path("f.safetensors"); }
  static Words fit(const std::string& method, const std::string& out, const Words& more = {}) {
    Words words = {"fit", method,     "--data", set(),    "--weights", weights(),      "--out",
                   out,   "--resize", "40",     "--crop", "32",        "--batch-size", "8"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  /// The flags that a method cannot do without.
  static Words needed(const std::string& method) {
    if (method == "panda-ewc") return {"--fisher", fisher()};
    if (method == "panda-oe") return {"--outliers", set() + "/test"};
    if (method == "jo") return {"--aux-data", set() + "/test"};
    if (method == "panda-ses") return {"--copy-every", "2"};
    return {};
  }
  static Words fit_of(const std::string& method, const std::string& out, Words more = {}) {
    const Words own = needed(method);
    more.insert(more.end(), own.begin(), own.end());
    return fit(method, out, more);
  }

 private:
  static TemporaryDirectory* shared_;
};
TemporaryDirectory* PandaCommand::shared_ = nullptr;

TEST_F(PandaCommand, DoesTheWholeJobWithEveryMethod) {
  for (const std::string method : {"panda-early", "panda-ses", "panda-ewc", "panda-oe", "jo"}) {
    SCOPED_TRACE(method);
    const TemporaryDirectory folder;
    const Json fitted = json_of(fit_of(
        method, folder.path("m"), {"--minibatches", "5", "--log", folder.path("log.csv"), "--log-auroc"}));
    EXPECT_EQ(fitted.at("method"), method);
    EXPECT_EQ(fitted.at("n_train"), 24);
    EXPECT_EQ(fitted.at("n_adapted"), 18);
    EXPECT_EQ(fitted.at("copies"), method == "panda-ses" ? 2 : 1);
    EXPECT_TRUE(fitted.at("loss").is_number());
    EXPECT_EQ(fitted.at("threshold").at("false_alarm_rate"), 1.0 / 7);
    const Json evaluated = json_of({"eval", folder.path("m"), "--data", set()});
    const double auroc = evaluated.at("image_auroc");
    EXPECT_TRUE(auroc > 0 && auroc <= 1) << auroc;
    // The log ends with what the model does, where a model is one network.
    const std::string log = content_of(folder.path("log.csv"));
    EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 7);
    if (method != "panda-ses") {
      EXPECT_EQ(std::stod(log.substr(log.find_last_of(',') + 1)), auroc);
    }
    const Json scored = json_of({"score", folder.path("m"), set() + "/test/good/000.png"});
    EXPECT_TRUE(scored.at(0).at("anomalous").is_boolean());
    // Nothing but the model and the log is left.
    EXPECT_EQ(list_directory(folder.path()), (Words{"log.csv", "m"}));
  }
}

TEST_F(PandaCommand, DrawsTheCurvesOfTheTraining) {
  const TemporaryDirectory folder;
  const std::string model = folder.path("m");
  const std::string log = folder.path("log.csv");
  json_of(fit("panda-early", model,
              {"--minibatches", "5", "--log", log, "--curves", folder.path("c.svg"), "--log-auroc"}));
  const std::string svg = content_of(folder.path("c.svg"));
  const std::vector<std::string> titles = {"Loss", "Norm of the gradient", "Effective rank of the features",
                                           "ROCAUC of the test split"};
  for (const std::string& title : titles) EXPECT_NE(svg.find(title), std::string::npos) << title;
  json_of({"eval", model, "--data", set(), "--report", folder.path("r.html"), "--training-log", log});
  const std::string html = content_of(folder.path("r.html"));
  EXPECT_NE(html.find("<h2>Training</h2>"), std::string::npos);
  for (const std::string& title : titles) EXPECT_NE(html.find(title), std::string::npos) << title;

  expect_refused({"eval", model, "--data", set(), "--training-log", log}, "give --report");
  folder.write("no.csv", "file,score\n");
  expect_refused({"eval", model, "--data", set(), "--report", folder.path("s.html"), "--training-log",
                  folder.path("no.csv")},
                 "no.csv: the first column is 'file'");
  EXPECT_FALSE(path_exists(folder.path("s.html")));
  expect_refused(fit("dn2", folder.path("n"), {"--curves", folder.path("d.svg")}),
                 "--curves: dn2 trains nothing");
  expect_refused(fit("dn2", folder.path("n"), {"--log", folder.path("l.csv")}), "--log: dn2 trains nothing");
  expect_refused(fit("panda-early", folder.path("n"), {"--curves", folder.path("none/d.svg")}), "none");
}

TEST_F(PandaCommand, FollowsItsFlagsAndPresets) {
  const TemporaryDirectory folder;
  const Json official = json_of(fit("panda-early", folder.path("a"), {"--hold-out", "0", "-q"}));
  EXPECT_EQ(official.at("minibatches"), 15 * 3);
  EXPECT_EQ(official.at("score"), "knn-sum-sq");
  EXPECT_EQ(official.at("train_blocks"), (Json{3, 4}));
  EXPECT_TRUE(official.at("threshold").is_null());
  const Json paper = json_of(
      fit_of("panda-oe", folder.path("b"), {"--preset", "paper", "--epochs", "1", "--hold-out", "4"}));
  EXPECT_EQ(paper.at("minibatches"), 3);
  EXPECT_EQ(paper.at("train_blocks"), (Json{4}));
  EXPECT_EQ(paper.at("score"), "logit");
  EXPECT_EQ(paper.at("n_held_out"), 4);
  const Json center = json_of(
      fit_of("panda-ses", folder.path("c"), {"--ses", "center", "--epochs", "2", "--train-blocks", "2,4"}));
  EXPECT_EQ(center.at("score"), "center");
  EXPECT_EQ(center.at("train_blocks"), (Json{2, 4}));
  const Json none = json_of(fit("panda-early", folder.path("d"), {"--minibatches", "0"}));
  EXPECT_TRUE(none.at("loss").is_null());
  EXPECT_EQ(none.at("s_before"), none.at("s_after"));
}

TEST_F(PandaCommand, RefusesFlagsThatAreMissingOrOfAnotherMethod) {
  const TemporaryDirectory folder;
  const std::string out = folder.path("m");
  expect_refused(fit("panda-ewc", out), "fit panda-ewc needs --fisher");
  expect_refused(fit("panda-oe", out), "fit panda-oe needs --outliers");
  expect_refused(fit("jo", out), "fit jo needs --aux-data");
  expect_refused(fit("dn2", out, {"--fisher", "uniform"}), "--fisher is for panda-ewc, not for dn2");
  expect_refused(fit("panda-early", out, {"--epochs", "1", "--minibatches", "1"}), "exclude each other");
  expect_refused(fit("panda-early", out, {"--train-blocks", "5"}), "--train-blocks");
  expect_refused(fit("panda-early", out, {"--hold-out", "24"}), "24 of 24 training images held out");
  expect_refused(fit("panda-early", out, {"--lr", "0"}), "a rate of 0");
  fs::create_directory(folder.path("empty"));
  expect_refused(fit("panda-oe", out, {"--outliers", folder.path("empty")}), "empty: no images");
  expect_refused(fit("jo", out, {"--aux-data", folder.path("empty")}), "empty: no folders");
  fs::create_directories(folder.path("one/class"));
  fs::copy(set() + "/test/good/000.png", folder.path("one/class/000.png"));
  expect_refused(fit("jo", out, {"--aux-data", folder.path("one")}), "expected at least 2");
  EXPECT_EQ(list_directory(folder.path()), (Words{"empty", "one"}));
}

TEST_F(PandaCommand, RefusesTheFisherDiagonalOfAnotherNetwork) {
  const TemporaryDirectory folder;
  const auto refused = [&](const std::string& name, const std::string& part) {
    expect_refused(fit("panda-ewc", folder.path("m"), {"--fisher", folder.path(name)}), part);
  };
  refused("missing", "missing");
  folder.write("text", "no tensors");
  refused("text", "text: ");
  const std::vector<float> two = {1, 2};
  weights::write_safetensors(folder.path("few"),
                             {{"layer3.0.conv1.weight", Tensor::from<float>({2}, two.data())}});
  refused("few", "layer3.0.conv1.weight");
  weights::write_safetensors(folder.path("other"), {{"layer9.weight", Tensor::from<float>({2}, two.data())}});
  refused("other", "has no layer3.0.conv1.weight");
  EXPECT_FALSE(path_exists(folder.path("m")));
}

TEST_F(PandaCommand, NamesTheImageOfALossThatIsNotFinite) {
  const TemporaryDirectory folder;
  expect_refused(fit("panda-early", folder.path("m"),
                     {"--minibatches", "20", "--lr", "1e25", "--clip", "0", "--compactness", "sum"}),
                 "is not finite");
  EXPECT_FALSE(path_exists(folder.path("m")));
}

TEST_F(PandaCommand, GoesOnAfterCtrlC) {
  const TemporaryDirectory folder;
  // 40 minibatches in checkpoints of their own take long enough to be interrupted.
  const Words more = {"--minibatches", "40", "--checkpoint-every", "1"};
  ASSERT_EQ(run_panda_command(fit("panda-early", folder.path("whole"), more)).exit_code, 0);
  RunOptions options;
  options.while_running = [&](pid_t child) {
    EXPECT_TRUE(wait_until([&] { return path_exists(folder.path("m.checkpoint")); }));
    ::kill(child, SIGINT);
  };
  const Outcome outcome = run_panda_command(fit("panda-early", folder.path("m"), more), options);
  EXPECT_EQ(outcome.exit_code, 130) << outcome.standard_error;
  EXPECT_FALSE(path_exists(folder.path("m")));
  expect_refused(fit("panda-early", folder.path("m"), more), "--resume goes on from it");
  Words other = more;
  other.insert(other.end(), {"--resume", "--lr", "0.5"});
  expect_refused(fit("panda-early", folder.path("m"), other),
                 "is the checkpoint of another fit: option.lr is 0.01 there and 0.5 here");
  Words resume = more;
  resume.push_back("--resume");
  folder.write("m.checkpoint.part-abcdef", "what a kill leaves of a checkpoint");
  const Json resumed = json_of(fit("panda-early", folder.path("m"), resume));
  EXPECT_GE(resumed.at("resumed_at").get<int64_t>(), 1);
  EXPECT_TRUE(content_of(folder.path("m")) == content_of(folder.path("whole")));
  EXPECT_EQ(list_directory(folder.path()), (Words{"m", "whole"}));
}

TEST_F(PandaCommand, GivesTheSameBytesHoweverOftenItIsKilled) {
  const TemporaryDirectory folder;
  const std::string model = folder.path("m");
  const std::string checkpoint = folder.path("m.checkpoint");
  const Words more = {"--minibatches", "12", "--checkpoint-every", "1", "--fisher", fisher()};
  ASSERT_EQ(run_panda_command(fit("panda-ewc", folder.path("whole"), more)).exit_code, 0);
  Words resume = more;
  resume.push_back("--resume");
  // Which file stands there: each checkpoint is a new one.
  const auto identity = [&] {
    struct stat status {};
    return ::stat(checkpoint.c_str(), &status) == 0 ? status.st_ino : ino_t{0};
  };
  Random random(11);
  int killed = 0;
  for (int attempt = 0; attempt < 20 && !path_exists(model); ++attempt) {
    RunOptions options;
    options.while_running = [&](pid_t child) {
      // First anywhere before the first checkpoint, then anywhere after a further one.
      const ino_t old = identity();
      if (attempt > 0) (void)wait_until([&] { return identity() != old || path_exists(model); });
      std::this_thread::sleep_for(std::chrono::microseconds(random.next_below(30'000)));
      ::kill(child, SIGKILL);
    };
    const Outcome outcome = run_panda_command(fit("panda-ewc", model, resume), options);
    killed += outcome.signal_number == SIGKILL ? 1 : 0;
  }
  if (!path_exists(model)) {
    ASSERT_EQ(run_panda_command(fit("panda-ewc", model, resume)).exit_code, 0);
  }
  EXPECT_GE(killed, 2);
  EXPECT_TRUE(content_of(model) == content_of(folder.path("whole")));
}

TEST_F(PandaCommand, KeepsTheLastCheckpointWhenTheDiskIsFull) {
  const TemporaryDirectory folder;
  const Words more = {"--minibatches", "6", "--checkpoint-every", "2"};
  ASSERT_EQ(run_panda_command(fit("panda-early", folder.path("whole"), more)).exit_code, 0);
  // No file may grow beyond 4 KiB: as a full disk, seen from where it is written.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto with_full_disk = [&](const Words& words) {
    const auto handler = ::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{4096, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
    const Outcome outcome = run_panda_command(words);
    ::setrlimit(RLIMIT_FSIZE, &before);
    ::signal(SIGXFSZ, handler);
    return outcome;
  };
  Outcome outcome = with_full_disk(fit("panda-early", folder.path("m"), more));
  EXPECT_EQ(outcome.exit_code, 3) << outcome.standard_error;
  EXPECT_EQ(outcome.error_lines(), 1) << outcome.standard_error;
  EXPECT_NE(outcome.standard_error.find("m.checkpoint"), std::string::npos) << outcome.standard_error;
  EXPECT_EQ(list_directory(folder.path()), Words{"whole"});
  // With a checkpoint there: it stays as it is.
  RunOptions stop;
  stop.while_running = [&](pid_t child) {
    EXPECT_TRUE(wait_until([&] { return path_exists(folder.path("m.checkpoint")); }));
    ::kill(child, SIGKILL);
  };
  const Words slow = {"--minibatches", "400", "--checkpoint-every", "1"};
  (void)run_panda_command(fit("panda-early", folder.path("m"), slow), stop);
  const std::string kept = content_of(folder.path("m.checkpoint"));
  Words resume = slow;
  resume.push_back("--resume");
  outcome = with_full_disk(fit("panda-early", folder.path("m"), resume));
  EXPECT_EQ(outcome.exit_code, 3) << outcome.standard_error;
  EXPECT_TRUE(content_of(folder.path("m.checkpoint")) == kept);
}

}  // namespace
}  // namespace panda::test
