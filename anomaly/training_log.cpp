#include "anomaly/training_log.h"

#include <cmath>
#include <utility>

#include "anomaly/fitted_model.h"
#include "kernels/tensor/file.h"

namespace panda::anomaly {

namespace {

/// A row as its columns, in the order of the file.
std::vector<double> columns_of(const LogRow& row) {
  std::vector<double> columns = {static_cast<double>(row.minibatch), row.loss};
  columns.insert(columns.end(), row.terms.begin(), row.terms.end());
  columns.insert(columns.end(),
                 {row.penalty, row.gradient_norm, row.distance, row.effective_rank, row.auroc});
  return columns;
}

}  // namespace

void TrainingLog::add(LogRow row) {
  if (row.terms.empty()) row.terms.assign(terms_.size(), LogRow::kAbsent);
  PANDA_INTERNAL_ASSERT(row.terms.size() == terms_.size(), row.terms.size());
  rows_.push_back(std::move(row));
}

LogRow& TrainingLog::last() {
  PANDA_INTERNAL_ASSERT(!rows_.empty(), "the log is empty");
  return rows_.back();
}

std::string TrainingLog::csv() const {
  std::string out = "minibatch,loss";
  for (const std::string& term : terms_) out += "," + term;
  out += ",penalty,gradient_norm,s,effective_rank,auroc\n";
  for (const LogRow& row : rows_) {
    const std::vector<double> columns = columns_of(row);
    for (size_t i = 0; i < columns.size(); ++i) {
      if (i > 0) out += ",";
      if (i == 0) {
        out += text(row.minibatch);
      } else if (!std::isnan(columns[i])) {
        out += field_text(columns[i]);
      }
    }
    out += "\n";
  }
  return out;
}

void TrainingLog::write(const std::string& path) const {
  AtomicFile file(path);
  file.write(csv());
  file.commit();
}

Tensor TrainingLog::as_tensor() const {
  Tensor tensor(host(), DType::kF64, {static_cast<int64_t>(rows_.size()), column_count()}, "log");
  double* out = tensor.data<double>();
  for (const LogRow& row : rows_) {
    for (const double value : columns_of(row)) *out++ = value;
  }
  return tensor;
}

void TrainingLog::restore(const Tensor& tensor) {
  PANDA_CHECK(
      tensor.dtype() == DType::kF64 && tensor.shape().rank() == 2 && tensor.shape()[1] == column_count(),
      "a log of ", tensor.view().to_string(), ", expected f64 with ", column_count(), " columns");
  rows_.clear();
  const auto terms = static_cast<int64_t>(terms_.size());
  for (int64_t i = 0; i < tensor.shape()[0]; ++i) {
    const double* in = tensor.data<double>() + i * column_count();
    LogRow row;
    row.minibatch = static_cast<int64_t>(in[0]);
    row.loss = in[1];
    row.terms.assign(in + 2, in + 2 + terms);
    in += 2 + terms;
    row.penalty = in[0];
    row.gradient_norm = in[1];
    row.distance = in[2];
    row.effective_rank = in[3];
    row.auroc = in[4];
    rows_.push_back(std::move(row));
  }
}

}  // namespace panda::anomaly
