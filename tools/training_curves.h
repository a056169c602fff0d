// The curves of a training, from the log that `panda fit --log` or `panda pretrain --log` writes: a chart for
// each thing that was logged.
#pragma once

#include <string>
#include <vector>

#include "tools/report_charts.h"

namespace panda::tools {

/// csv: a heading and rows of numbers or empty fields, the first column (minibatch or epoch) in every row.
/// Columns without a number, or of zeros alone, have no chart; parts of the loss share the loss's where there
/// are several. Of long logs, a point is the mean of neighbouring rows. Throws FormatError naming `source`
/// and the line.
[[nodiscard]] std::vector<LineChart> training_charts(const std::string& csv, const std::string& source);

/// The charts as one SVG file, written beside `path` and renamed. Throws FormatError as above for a log
/// without a single number.
void write_training_curves(const std::string& path, const std::string& title, const std::string& csv);

}  // namespace panda::tools
