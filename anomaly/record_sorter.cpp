#include "anomaly/record_sorter.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace panda::anomaly {

namespace {

constexpr int64_t kLeastMemory = int64_t{64} << 10;
/// The smallest block read of a run: below it a disk only seeks.
constexpr size_t kLeastBlockRecords = 512;

}  // namespace

RecordSorter::RecordSorter(int64_t memory_bytes, std::string directory)
    : capacity_(static_cast<size_t>(std::max(memory_bytes, kLeastMemory)) / sizeof(uint64_t)),
      directory_(std::move(directory)) {}

void RecordSorter::add(uint64_t record) {
  if (records_.size() == capacity_) spill();
  if (records_.size() == records_.capacity()) {
    records_.reserve(std::min(capacity_, std::max<size_t>(1024, 2 * records_.size())));
  }
  records_.push_back(record);
  ++size_;
}

void RecordSorter::spill() {
  std::sort(records_.begin(), records_.end(), std::greater<>());
  if (!file_) file_ = std::make_unique<ScratchFile>(directory_);
  const auto count = static_cast<int64_t>(records_.size());
  Run run;
  run.left = count;
  run.offset = file_->append(records_.data(), count * static_cast<int64_t>(sizeof(uint64_t)));
  runs_.push_back(std::move(run));
  records_.clear();
}

bool RecordSorter::refill(Run& run) {
  if (run.left == 0) return false;
  const int64_t count = std::min(run.left, static_cast<int64_t>(block_records_));
  const int64_t bytes = count * static_cast<int64_t>(sizeof(uint64_t));
  run.block.resize(static_cast<size_t>(count));
  file_->read(run.offset, run.block.data(), bytes);
  run.offset += bytes;
  run.left -= count;
  run.at = 0;
  return true;
}

void RecordSorter::finish() {
  if (runs_.empty()) {
    std::sort(records_.begin(), records_.end(), std::greater<>());
    return;
  }
  if (!records_.empty()) spill();
  records_ = std::vector<uint64_t>();
  block_records_ = std::max(kLeastBlockRecords, capacity_ / runs_.size());
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (refill(runs_[i])) heap_.push_back(i);
  }
  const auto below = [this](size_t a, size_t b) {
    return runs_[a].block[runs_[a].at] < runs_[b].block[runs_[b].at];
  };
  std::make_heap(heap_.begin(), heap_.end(), below);
}

bool RecordSorter::next(uint64_t& record) {
  if (runs_.empty()) {
    if (at_ == records_.size()) return false;
    record = records_[at_++];
    return true;
  }
  if (heap_.empty()) return false;
  const auto below = [this](size_t a, size_t b) {
    return runs_[a].block[runs_[a].at] < runs_[b].block[runs_[b].at];
  };
  std::pop_heap(heap_.begin(), heap_.end(), below);
  Run& run = runs_[heap_.back()];
  record = run.block[run.at++];
  if (run.at < run.block.size() || refill(run)) {
    std::push_heap(heap_.begin(), heap_.end(), below);
  } else {
    run.block = std::vector<uint64_t>();
    heap_.pop_back();
  }
  return true;
}

}  // namespace panda::anomaly
