#include "tools/image_source.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <map>
#include <thread>
#include <utility>

#include "data/dataset.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"
#include "kernels/tensor/progress.h"

namespace panda::tools {

namespace {

class ListedImages final : public ImageSource {
 public:
  explicit ListedImages(std::vector<std::string> files) : files_(std::move(files)) {}
  std::vector<std::string> next() override { return std::exchange(files_, {}); }

 private:
  std::vector<std::string> files_;
};

class LineImages final : public ImageSource {
 public:
  LineImages(int descriptor, int64_t most) : descriptor_(descriptor), most_(static_cast<size_t>(most)) {}

  std::vector<std::string> next() override {
    std::vector<std::string> files;
    while (true) {
      take_lines(files);
      if (files.size() == most_ || ended_ || (!files.empty() && !more_waits())) return files;
      read_more();
    }
  }

 private:
  static constexpr size_t kBlockBytes = 64 << 10;
  static constexpr size_t kLongestPath = 1 << 20;

  void take_lines(std::vector<std::string>& files) {
    while (files.size() < most_) {
      const size_t end = rest_.find('\n');
      if (end == std::string::npos && !(ended_ && !rest_.empty())) return;
      std::string line = rest_.substr(0, end);
      rest_.erase(0, end == std::string::npos ? end : end + 1);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (!line.empty()) files.push_back(std::move(line));
    }
  }
  [[nodiscard]] bool more_waits() const {
    pollfd waiting{descriptor_, POLLIN, 0};
    return ::poll(&waiting, 1, 0) > 0;
  }
  void read_more() {
    PANDA_CHECK(rest_.size() < kLongestPath, "standard input: a line of more than ", kLongestPath,
                " bytes, expected a path per line");
    std::string block(kBlockBytes, '\0');
    const ssize_t got = ::read(descriptor_, block.data(), block.size());
    check_interrupt();
    if (got < 0 && errno != EINTR) throw IoError("standard input", "read", errno);
    if (got == 0) ended_ = true;
    if (got > 0) rest_.append(block, 0, static_cast<size_t>(got));
  }

  int descriptor_;
  size_t most_;
  std::string rest_;
  bool ended_ = false;
};

class WatchedImages final : public ImageSource {
 public:
  WatchedImages(std::vector<std::string> directories, double look_seconds, double idle_seconds)
      : directories_(std::move(directories)), look_seconds_(look_seconds), idle_seconds_(idle_seconds) {}

  std::vector<std::string> next() override {
    double idle = 0;
    while (true) {
      check_interrupt();
      std::vector<std::string> ready = look();
      if (!ready.empty()) return ready;
      if (idle_seconds_ > 0 && idle >= idle_seconds_) return {};
      std::this_thread::sleep_for(std::chrono::duration<double>(look_seconds_));
      idle += look_seconds_;
    }
  }

 private:
  struct State {
    uintmax_t bytes = 0;
    std::filesystem::file_time_type time;
    friend bool operator==(const State&, const State&) = default;
  };

  /// Files that have not changed since the last look and were not given as they are. What is no longer there
  /// is forgotten, so memory does not grow with what came and went.
  std::vector<std::string> look() {
    std::vector<std::string> ready;
    std::map<std::string, State> waiting;
    std::map<std::string, State> given;
    for (const std::string& file : files_there()) {
      std::error_code gone;
      State state;
      state.bytes = std::filesystem::file_size(file, gone);
      if (!gone) state.time = std::filesystem::last_write_time(file, gone);
      if (gone) continue;
      if (holds(given_, file, state)) {
        given[file] = state;
      } else if (holds(waiting_, file, state)) {
        given[file] = state;
        ready.push_back(file);
      } else {
        waiting[file] = state;
      }
    }
    waiting_ = std::move(waiting);
    given_ = std::move(given);
    return ready;
  }
  static bool holds(const std::map<std::string, State>& states, const std::string& file, const State& state) {
    const auto found = states.find(file);
    return found != states.end() && found->second == state;
  }
  /// All images below the directories. A folder that is removed meanwhile is looked for again; one that
  /// cannot be read is an error.
  [[nodiscard]] std::vector<std::string> files_there() const {
    constexpr int kTries = 100;
    for (int tries = 1;; ++tries) {
      std::vector<std::string> files;
      try {
        for (const std::string& directory : directories_) {
          const std::vector<std::string> found = data::images_below_directory(directory);
          files.insert(files.end(), found.begin(), found.end());
        }
        return files;
      } catch (const IoError&) {
        if (tries == kTries || !std::all_of(directories_.begin(), directories_.end(), is_directory)) throw;
      }
      check_interrupt();
    }
  }

  std::vector<std::string> directories_;
  double look_seconds_;
  double idle_seconds_;
  std::map<std::string, State> waiting_;  // seen once as they are
  std::map<std::string, State> given_;    // and there still
};

}  // namespace

std::unique_ptr<ImageSource> listed_images(const std::vector<std::string>& paths) {
  return std::make_unique<ListedImages>(data::list_images(paths));
}

std::unique_ptr<ImageSource> images_from_lines(int descriptor, int64_t most) {
  PANDA_CHECK(most >= 1, "images from lines: ", most, " at a time, expected at least 1");
  return std::make_unique<LineImages>(descriptor, most);
}

std::unique_ptr<ImageSource> watched_images(const std::vector<std::string>& directories, double look_seconds,
                                            double idle_seconds) {
  for (const std::string& directory : directories) {
    PANDA_CHECK(is_directory(directory), printable(directory), ": is no directory, expected one to watch");
  }
  return std::make_unique<WatchedImages>(directories, look_seconds, idle_seconds);
}

}  // namespace panda::tools
