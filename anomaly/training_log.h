// The log of an adaptation: one row per minibatch, and what was measured beside it from time to time.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "kernels/tensor/tensor.h"

namespace panda::anomaly {

/// What is absent is NaN, and an empty field of the file.
struct LogRow {
  static constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();
  int64_t minibatch = 0;           ///< steps made when the row's measures were taken; 0: before training
  double loss = kAbsent;           ///< of this minibatch before its step, penalty included
  std::vector<double> terms = {};  ///< the loss's parts, as the method names them
  double penalty = kAbsent;        ///< of elastic weight consolidation
  double gradient_norm = kAbsent;  ///< before clipping
  double distance = kAbsent;       ///< s_t and effective rank: anomaly/collapse_monitor.h
  double effective_rank = kAbsent;
  double auroc = kAbsent;  ///< of the test split; never looked at by the fit
};

class TrainingLog {
 public:
  /// `terms` name the parts of the loss.
  explicit TrainingLog(std::vector<std::string> terms) : terms_(std::move(terms)) {}

  void add(LogRow row);
  [[nodiscard]] const std::vector<LogRow>& rows() const { return rows_; }
  /// The last row, to be completed. Throws InternalError if there is none.
  [[nodiscard]] LogRow& last();

  /// minibatch,loss,TERM...,penalty,gradient_norm,s,effective_rank,auroc; numbers read back as the same.
  [[nodiscard]] std::string csv() const;
  /// Writes the CSV beside `path` and renames it.
  void write(const std::string& path) const;

  /// What a checkpoint holds: f64 rows,columns.
  [[nodiscard]] Tensor as_tensor() const;
  /// Inverse of as_tensor; replaces all rows. Throws InvalidArgument for another number of columns.
  void restore(const Tensor& tensor);

 private:
  [[nodiscard]] int64_t column_count() const { return static_cast<int64_t>(terms_.size()) + 7; }
  std::vector<std::string> terms_;
  std::vector<LogRow> rows_;
};

}  // namespace panda::anomaly
