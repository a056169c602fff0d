#include "tools/progress_line.h"

#include <algorithm>
#include <cmath>

#include "kernels/tensor/text.h"
#include "tools/output.h"

namespace panda::tools {

namespace {

constexpr double kSecondsBetweenReports = 0.1;
// Before this the rate is mostly start-up cost, and a remaining time would jump about.
constexpr double kSecondsBeforeEstimate = 0.5;

const char* const kEraseLine = "\r\x1b[K";

std::string rate_text(double per_second) {
  if (per_second >= 100) return fixed_number(per_second, 0);
  return fixed_number(per_second, per_second >= 1 ? 1 : 3);
}

// Remaining seconds by the mean rate of the stage so far; NaN where that says nothing.
double remaining_seconds(int64_t done, int64_t total, double elapsed) {
  if (total <= 0 || done <= 0) return std::nan("");
  if (done >= total) return 0;
  return elapsed / static_cast<double>(done) * static_cast<double>(total - done);
}

// "0:07", "1:02:03".
std::string clock_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::ceil(std::min(seconds, 1e9)));
  const auto two_digits = [](int64_t number) { return (number < 10 ? "0" : "") + std::to_string(number); };
  const std::string hours = whole < 3600 ? "" : text(whole / 3600, ":");
  const int64_t minutes = whole / 60 % 60;
  return text(hours, hours.empty() ? std::to_string(minutes) : two_digits(minutes), ":",
              two_digits(whole % 60));
}

std::string words_joined(std::string stage) {
  for (char& c : stage) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
    if (!plain) c = '_';
  }
  return stage;
}

}  // namespace

ProgressLine::ProgressLine(ProgressStyle style, Write write, Clock clock)
    : style_(style), write_(std::move(write)), clock_(std::move(clock)) {}

void ProgressLine::update(const char* stage, int64_t done, int64_t total) {
  if (style_ == ProgressStyle::kNone || finished_) return;
  const double now = clock_();
  if (stage_ != stage || done < last_done_) {  // also the same work begun once more
    stage_ = stage;
    stage_start_ = now;
    anything_drawn_ = false;
  }
  last_done_ = done;
  const bool last = total > 0 && done >= total;
  if (anything_drawn_ && !last && now - last_drawn_ < kSecondsBetweenReports) return;
  anything_drawn_ = true;
  last_drawn_ = now;
  draw(stage_, done, total, now - stage_start_);
}

void ProgressLine::draw(const std::string& stage, int64_t done, int64_t total, double elapsed) {
  const double remaining = remaining_seconds(done, total, elapsed);
  if (style_ == ProgressStyle::kKeyValue) {
    write_(text("stage=", words_joined(stage), " done=", done, " total=", total, " eta_seconds=",
                std::isfinite(remaining) ? fixed_number(remaining, 1) : std::string("nan"), "\n"));
    return;
  }
  std::string line = text(kEraseLine, printable(stage), "  ", done);
  if (total > 0) {
    const double percent = 100.0 * static_cast<double>(std::min(done, total)) / static_cast<double>(total);
    line += text("/", total, "  ", fixed_number(std::floor(percent), 0), "%");
  }
  if (elapsed > 0 && done > 0) line += text("  ", rate_text(static_cast<double>(done) / elapsed), "/s");
  if (elapsed >= kSecondsBeforeEstimate && std::isfinite(remaining)) line += "  ETA " + clock_text(remaining);
  write_(line);
  line_visible_ = true;
}

void ProgressLine::clear() {
  if (!line_visible_) return;
  write_(kEraseLine);
  line_visible_ = false;
}

void ProgressLine::finish() {
  if (finished_ || style_ == ProgressStyle::kNone) return;
  clear();
  if (style_ == ProgressStyle::kKeyValue) write_("progress=end\n");
  finished_ = true;
}

}  // namespace panda::tools
