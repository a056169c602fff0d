#include "anomaly/record_sorter.h"

#include <algorithm>
#include <utility>

#include "kernels/sort.h"

namespace panda::anomaly {

namespace {

constexpr int64_t kLeastMemory = int64_t{64} << 10;
/// The smallest block read of a run: below it a disk only seeks.
constexpr int64_t kLeastBlockBytes = 4096;

}  // namespace

template <typename Record>
RecordSorter<Record>::RecordSorter(Device& device, int64_t memory_bytes, std::string directory)
    : device_(device),
      // Twice: sorting takes as much again. Fewer than the kernel's 2^31.
      capacity_(static_cast<size_t>(std::min<int64_t>(
          std::max(memory_bytes, kLeastMemory) / (2 * static_cast<int64_t>(sizeof(Record))), INT32_MAX))),
      directory_(std::move(directory)) {}

template <typename Record>
void RecordSorter<Record>::make_room() {
  if (records_.size() >= capacity_) {
    spill();
  } else {
    records_.reserve(std::min(capacity_, std::max<size_t>(1024, 2 * records_.size())));
  }
}

template <typename Record>
void RecordSorter<Record>::sort() {
  const TensorView records(records_.data(), DTypeOf<Record>::value, {static_cast<int64_t>(records_.size())},
                           host());
  if (device_.host_accessible()) {
    kernels::sort_descending(device_, {records});
    return;
  }
  const Tensor on_device = clone_to(records, device_, "records");
  kernels::sort_descending(device_, {on_device});
  copy(on_device, records);
}

template <typename Record>
void RecordSorter<Record>::spill() {
  sort();
  if (!file_) file_ = std::make_unique<ScratchFile>(directory_);
  Run run;
  run.left = static_cast<int64_t>(records_.size());
  run.offset = file_->append(records_.data(), run.left * static_cast<int64_t>(sizeof(Record)));
  runs_.push_back(std::move(run));
  records_.clear();
}

template <typename Record>
bool RecordSorter<Record>::refill(Run& run) {
  if (run.left == 0) return false;
  const int64_t count = std::min(run.left, static_cast<int64_t>(block_records_));
  const int64_t bytes = count * static_cast<int64_t>(sizeof(Record));
  run.block.resize(static_cast<size_t>(count));
  file_->read(run.offset, run.block.data(), bytes);
  run.offset += bytes;
  run.left -= count;
  run.at = 0;
  return true;
}

template <typename Record>
void RecordSorter<Record>::finish() {
  if (!file_) {
    sort();
    runs_.emplace_back();
    runs_.back().block = std::move(records_);
  } else {
    if (!records_.empty()) spill();
    records_ = std::vector<Record>();
    block_records_ = std::max(kLeastBlockBytes / sizeof(Record), capacity_ / runs_.size());
    for (Run& run : runs_) refill(run);
  }
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (!runs_[i].block.empty()) order_.push_back(i);
  }
  order_runs();
}

template <typename Record>
void RecordSorter<Record>::order_runs() {
  std::make_heap(order_.begin(), order_.end(),
                 [this](size_t a, size_t b) { return runs_[a].head() < runs_[b].head(); });
}

template <typename Record>
bool RecordSorter<Record>::next(Record& record) {
  if (order_.empty()) return false;
  const auto below = [this](size_t a, size_t b) { return runs_[a].head() < runs_[b].head(); };
  std::pop_heap(order_.begin(), order_.end(), below);
  Run& run = runs_[order_.back()];
  record = run.head();
  if (++run.at < run.block.size() || refill(run)) {
    std::push_heap(order_.begin(), order_.end(), below);
  } else {
    run.block = std::vector<Record>();
    order_.pop_back();
  }
  return true;
}

template <typename Record>
typename RecordSorter<Record>::Passed RecordSorter<Record>::pass(Record least) {
  Passed passed;
  if (order_.empty() || *head() < least) return passed;
  for (const size_t index : order_) {
    const Passed of_run = pass(runs_[index], least);
    if (of_run.count == 0) continue;
    passed.last = passed.count == 0 ? of_run.last : std::min(passed.last, of_run.last);
    passed.count += of_run.count;
  }
  std::erase_if(order_, [this](size_t index) { return runs_[index].block.empty(); });
  order_runs();
  return passed;
}

template <typename Record>
typename RecordSorter<Record>::Passed RecordSorter<Record>::pass(Run& run, Record least) {
  Passed passed;
  while (run.head() >= least) {
    // Steps that double, then halves of the last one: few are passed at a time, as a rule.
    size_t end = run.at + 1;  // all before it are passed
    size_t step = 1;
    while (end + step <= run.block.size() && run.block[end + step - 1] >= least) {
      end += step;
      step *= 2;
    }
    const auto from = run.block.begin() + static_cast<std::ptrdiff_t>(end);
    const auto to = run.block.begin() + static_cast<std::ptrdiff_t>(std::min(end + step, run.block.size()));
    end = static_cast<size_t>(
        std::partition_point(from, to, [least](Record record) { return record >= least; }) -
        run.block.begin());
    passed.count += static_cast<int64_t>(end - run.at);
    passed.last = run.block[end - 1];
    run.at = end;
    if (run.at < run.block.size()) break;
    if (!refill(run)) {
      run.block = std::vector<Record>();
      break;
    }
  }
  return passed;
}

template class RecordSorter<int32_t>;
template class RecordSorter<int64_t>;

}  // namespace panda::anomaly
