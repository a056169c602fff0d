// Progress of long work on standard error: a line with rate and remaining time for a person at a terminal, or
// one key=value line per report for another program.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "kernels/tensor/progress.h"

namespace panda::tools {

enum class ProgressStyle {
  kNone,
  kLine,     ///< one line, rewritten in place, gone at the end
  kKeyValue  ///< "stage=reading_images done=3 total=60 eta_seconds=1.5"; the last line is "progress=end"
};

/// Writes at most ten times a second, and always the last report of a stage.
class ProgressLine : public Progress {
 public:
  using Write = std::function<void(const std::string& bytes)>;
  using Clock = std::function<double()>;  ///< seconds, never going back

  ProgressLine(ProgressStyle style, Write write, Clock clock);

  void update(const char* stage, int64_t done, int64_t total) override;
  /// Removes the line, so that other text may be written; the next report draws it again.
  void clear();
  /// No more reports will come: removes the line, or writes "progress=end".
  void finish();

 private:
  void draw(const std::string& stage, int64_t done, int64_t total, double elapsed);

  ProgressStyle style_;
  Write write_;
  Clock clock_;
  std::string stage_;
  int64_t last_done_ = 0;
  double stage_start_ = 0;
  double last_drawn_ = 0;
  bool anything_drawn_ = false;  // of this stage
  bool line_visible_ = false;
  bool finished_ = false;
};

}  // namespace panda::tools
