#include "tools/stage_times.h"

#include <algorithm>
#include <chrono>

#include "kernels/tensor/text.h"

namespace panda::tools {

double StageTimes::now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void StageTimes::update(const char* stage, int64_t done, int64_t total) {
  add(stage);
  if (forward_ != nullptr) forward_->update(stage, done, total);
}

void StageTimes::add(const std::string& stage) {
  const double time = now();
  const auto same = [&stage](const auto& entry) { return entry.first == stage; };
  auto found = std::find_if(stages_.begin(), stages_.end(), same);
  if (found == stages_.end()) found = stages_.insert(found, {stage, 0.0});
  found->second += time - last_;
  last_ = time;
}

double StageTimes::seconds(const std::string& stage) const {
  double sum = 0;
  for (const auto& [name, time] : stages_) sum += name == stage ? time : 0;
  return sum;
}

double StageTimes::total() const {
  double sum = 0;
  for (const auto& [name, time] : stages_) sum += time;
  return sum;
}

Json StageTimes::json() const {
  Json object = Json::object();
  for (const auto& [name, time] : stages_) {
    std::string key = name;
    std::replace(key.begin(), key.end(), ' ', '_');
    object[key] = seconds(name);
  }
  object["total"] = total();
  return object;
}

std::string StageTimes::table_text() const {
  std::string line;
  for (const auto& [name, time] : stages_)
    line += text(line.empty() ? "" : ", ", name, " ", duration_text(time));
  return line;
}

}  // namespace panda::tools
