// Where the ticks of a chart's axis lie, and what is written at them.
#pragma once

#include <string>
#include <vector>

namespace panda::tools {

/// A round step (1, 2 or 5 times a power of ten) that cuts `range` > 0 into at most `most` parts.
[[nodiscard]] double tick_step(double range, int most);
/// Multiples of the step from low to high.
[[nodiscard]] std::vector<double> ticks(double low, double high, double step);
/// "0.25"; "2.5e-6" where the step is tiny or huge.
[[nodiscard]] std::string tick_text(double value, double step);

}  // namespace panda::tools
