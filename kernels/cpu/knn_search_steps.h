// The steps of the certified search: knn_search.cpp walks the gallery, knn_table.cpp tables the products of a
// small one, knn_measure.cpp measures what the filter left.
#pragma once

#include <vector>

#include "kernels/cpu/knn_candidates.h"
#include "kernels/cpu/knn_search.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

/// Rows measured together: their cache misses overlap.
constexpr int64_t kMeasuredTogether = 8;
/// Rows of the gallery widened together where there is no filter.
constexpr int64_t kExactRows = 32;
constexpr int64_t kExactQueries = 32;

/// See "Rounding of the bounds" in the derivation.
constexpr double kKnnBoundSlack = 0x1p-49;

/// What the filter knows of one query: y = q - mu and the like; see the derivation.
struct KnnQueryBounds {
  double product_norm;  ///< b
  double error;         ///< e
  double low;           ///< N, rounded down and up
  double high;
};

struct KnnBlockShape {
  int64_t block;  ///< queries per block
  int64_t blocks;
  int64_t parts;  ///< of the gallery
  int64_t thread_bytes;
};

class KnnSearch {
 public:
  KnnSearch(CpuDevice& device, const KnnSearchPlan& plan);

  KnnStatistics run();

 private:
  /// One thread's memory, laid out for the largest block.
  struct Memory {
    double* base;
    double* beta;
    double* epsilon;
    double* norms;
    KnnQueryBounds* bounds;
    int32_t* bias;
    int32_t* thresholds;
    KnnCandidates* candidates;
    KnnCandidate* items;
    KnnHit* hits;
    double* tau_bounds;  ///< KnnCandidates::bound_count(k) per query
    double* bounds_now;  ///< max(capacity(k), table_rows_)
    double* centered;    ///< d16
    double* widened;     ///< exact blocks: (kExactQueries + kExactRows) * d16
    double* distances;   ///< exact blocks: kExactQueries * kExactRows
    float* query;        ///< d16
    float* buffers;      ///< kMeasuredTogether * d16
    char* row_codes;     ///< of one query: at least code_bytes()
    char* codes;         ///< of all, as the filter wants them
    int32_t* sums;       ///< tiles only
    // Of a table only:
    int32_t* words;             ///< [query][table_rows_] products
    double* lows;               ///< table_rows_, of one query
    double* highs;              ///< table_rows_
    int32_t* places;            ///< table_rows_
    KnnCandidate* table_items;  ///< table_rows_
  };
  struct Item {
    Range queries;  ///< in order_
    Range panels;
    int64_t part;
  };

  [[nodiscard]] int64_t code_bytes() const;
  [[nodiscard]] int64_t query_bytes() const;
  [[nodiscard]] int64_t fixed_bytes() const;
  [[nodiscard]] int64_t thread_bytes(int64_t block) const;
  [[nodiscard]] Memory memory_at(char* base, int64_t block) const;
  [[nodiscard]] KnnBlockShape choose_shape() const;
  void order_queries();
  void search_item(const Item& item, const Memory& m, KnnStatistics& statistics);
  void search_table(const Item& item, const Memory& m, KnnStatistics& statistics);
  void search_row_of_table(const Item& item, const Memory& m, int64_t i, double scale,
                           KnnStatistics& statistics);
  double center_query(const float* q, double norm, double* y, double* squares) const;
  double encode_queries(const Item& item, const Memory& m);
  void place_codes(const Memory& m, int64_t i, int64_t count) const;
  void set_base(const Memory& m, int64_t i) const;
  int64_t walk_panels(const Item& item, const Memory& m, double scale, KnnStatistics& statistics);
  void add_hits(const Item& item, const Memory& m, int64_t panel, double scale, int64_t hits,
                KnnStatistics& statistics);
  void walk_rows(const Item& item, const Memory& m, int64_t first_row, int64_t end_row,
                 KnnStatistics& statistics);
  void exact_block(const Memory& m, int64_t count, int64_t row, int64_t rows) const;
  void measure(const Memory& m, int64_t i, int64_t query, KnnStatistics& statistics) const;
  [[nodiscard]] bool nearest_bound_first() const;
  [[nodiscard]] int64_t refine(const Memory& m, const float* query, KnnCandidates& candidates,
                               int64_t measured) const;
  void measure_rows(const Memory& m, double norm, KnnCandidate* items, int64_t count) const;
  void make_room(const Memory& m, int64_t i, int64_t query, KnnStatistics& statistics) const;
  void write(int64_t query, int64_t part, KnnCandidates& candidates);
  void merge_parts();
  /// The query's answer: items[0, k).
  void put(int64_t query, const KnnCandidate* items) const;
  [[nodiscard]] double distance_of(double sum, double query_norm, int64_t row) const;
  /// Products of f32 codes that are subnormal round by up to 2^-149 each, of at most 2^20.
  [[nodiscard]] double underflow(double unit) const {
    return index_.code() == KnnCode::kF32 ? unit * 0x1p-100 : 0;
  }
  [[nodiscard]] const float* query_row(int64_t query, float* buffer) const {
    return plan_.queries.row(query, buffer);
  }
  [[nodiscard]] ExactTerm term() const { return l2_ ? ExactTerm::kSquaredDifference : ExactTerm::kProduct; }

  CpuDevice& device_;
  const KnnSearchPlan& plan_;
  const CpuKnnIndex& index_;
  const KnnKernels& kernels_;
  const KnnTileKernels* tiles_ = nullptr;  ///< that filter and products come from; else kernels_
  int64_t nq_;
  int64_t nb_;
  int64_t d_;
  int64_t d16_;
  double eta_;
  bool l2_;
  double factor_;
  bool filter_;
  int64_t table_rows_ = 0;  ///< rows of the gallery in whole panels, where their products are tabled
  int64_t parts_ = 1;
  std::vector<int64_t> order_;
  std::vector<float> largest_;  ///< by query: the largest component
  std::vector<KnnCandidate> part_results_;
  std::vector<char> given_up_;  ///< [in order_][part]: whether the filter was
};

}  // namespace panda::kernels::cpu
