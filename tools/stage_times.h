// How long each stage of long work took, measured from its progress reports.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kernels/tensor/progress.h"
#include "tools/output.h"

namespace panda::tools {

/// Passes progress on, and measures: a stage lasts from the end of the one before (or from construction or
/// `next`) to its last report.
class StageTimes final : public Progress {
 public:
  explicit StageTimes(Progress* forward) : forward_(forward), last_(now()) {}

  void update(const char* stage, int64_t done, int64_t total) override;
  /// Ends a stage that does not report: the time since the last report is its.
  void add(const std::string& stage);

  /// Seconds by stage, in the order of their beginning.
  [[nodiscard]] const std::vector<std::pair<std::string, double>>& stages() const { return stages_; }
  [[nodiscard]] double seconds(const std::string& stage) const;
  [[nodiscard]] double total() const;
  /// {"reading_images": 1.5, ..., "total": 2}
  [[nodiscard]] Json json() const;
  /// "reading images 1.5 s, scoring 0.2 s"
  [[nodiscard]] std::string table_text() const;

 private:
  [[nodiscard]] static double now();

  Progress* forward_;
  double last_;
  std::vector<std::pair<std::string, double>> stages_;
};

}  // namespace panda::tools
