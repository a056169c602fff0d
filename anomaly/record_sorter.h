// Sorting more 64-bit records than memory should hold: sorted runs on disk, merged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/tensor/scratch_file.h"

namespace panda::anomaly {

/// Records go in by `add`; after `finish`, `next` gives them in falling order. The order does not depend on
/// the budget.
class RecordSorter {
 public:
  /// Holds at most `memory_bytes` of records (at least 64 KiB); what is more goes to a working file in
  /// `directory`, made when it is first needed.
  RecordSorter(int64_t memory_bytes, std::string directory);

  void add(uint64_t record);
  /// No more records come.
  void finish();
  /// The next record, or false after the last.
  [[nodiscard]] bool next(uint64_t& record);

  [[nodiscard]] int64_t size() const { return size_; }
  /// Runs written to disk: 0 if all fitted in memory.
  [[nodiscard]] int64_t runs() const { return static_cast<int64_t>(runs_.size()); }

 private:
  struct Run {
    int64_t offset = 0;  // in the working file, of what is not yet in `block`
    int64_t left = 0;    // records not yet in `block`
    std::vector<uint64_t> block;
    size_t at = 0;
  };
  void spill();
  bool refill(Run& run);

  size_t capacity_;
  std::string directory_;
  std::unique_ptr<ScratchFile> file_;
  std::vector<uint64_t> records_;
  std::vector<Run> runs_;
  std::vector<size_t> heap_;  // runs by their next record, largest first
  size_t at_ = 0;
  size_t block_records_ = 0;
  int64_t size_ = 0;
};

}  // namespace panda::anomaly
