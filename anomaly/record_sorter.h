// Sorting more whole numbers than memory should hold: runs that a device sorts, on disk beyond the budget.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/tensor/device.h"
#include "kernels/tensor/scratch_file.h"

namespace panda::anomaly {

/// Records go in by `add`; after `finish` they are there in falling order, to be read one by one (`next`) or
/// passed over and counted (`pass`). What is read depends neither on the budget nor on the device.
/// Record: int32_t or int64_t.
template <typename Record>
class RecordSorter {
 public:
  /// Holds at most `memory_bytes` of records, the space to sort them in included (at least 64 KiB), on the
  /// host and, if that is not where `device` computes, as much there; what is more goes to a working file in
  /// `directory`, made when it is first needed. `device` must outlive this.
  RecordSorter(Device& device, int64_t memory_bytes, std::string directory);

  void add(Record record) {
    if (records_.size() == records_.capacity()) make_room();
    records_.push_back(record);
    ++size_;
  }
  /// No more records come.
  void finish();

  /// The next record, nullptr after the last; until something is read or passed.
  [[nodiscard]] const Record* head() const {
    return order_.empty() ? nullptr : &runs_[order_.front()].head();
  }
  /// Reads the next record; false after the last.
  [[nodiscard]] bool next(Record& record);

  struct Passed {
    int64_t count = 0;
    Record last = 0;  ///< the smallest, if there is one
  };
  /// Passes over all that are at least `least`. O(log) of their number for each run, and what of them is on
  /// disk is read once.
  Passed pass(Record least);

  [[nodiscard]] int64_t size() const { return size_; }
  /// Runs written to disk: 0 if all fitted in memory.
  [[nodiscard]] int64_t runs_on_disk() const { return file_ ? static_cast<int64_t>(runs_.size()) : 0; }

 private:
  struct Run {
    int64_t offset = 0;  // in the working file, of what is not yet in `block`
    int64_t left = 0;    // records not yet in `block`
    std::vector<Record> block;
    size_t at = 0;
    [[nodiscard]] const Record& head() const { return block[at]; }
  };
  void make_room();
  void sort();
  void spill();
  bool refill(Run& run);
  Passed pass(Run& run, Record least);
  void order_runs();

  Device& device_;
  size_t capacity_;
  std::string directory_;
  std::unique_ptr<ScratchFile> file_;
  std::vector<Record> records_;
  std::vector<Run> runs_;
  std::vector<size_t> order_;  // a heap of the runs that have records, by their heads, largest first
  size_t block_records_ = 0;
  int64_t size_ = 0;
};

extern template class RecordSorter<int32_t>;
extern template class RecordSorter<int64_t>;

}  // namespace panda::anomaly
