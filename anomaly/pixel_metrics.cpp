#include "anomaly/pixel_metrics.h"

#include <bit>
#include <cmath>

#include "anomaly/connected_components.h"
#include "kernels/tensor/checked_math.h"

namespace panda::anomaly {

namespace {

/// Negative floats fall as their bits rise: all but the sign turned over. Its own inverse.
int32_t turned(int32_t bits) {
  return bits < 0 ? bits ^ INT32_MAX : bits;
}

/// Order-preserving: a < b as floats exactly if key(a) < key(b); -0 and 0 share a key. Of numbers, above
/// INT32_MIN and below INT32_MAX.
int32_t key_of(float score) {
  return turned(std::bit_cast<int32_t>(score + 0.0F));
}

double score_of(int32_t key) {
  return double{std::bit_cast<float>(turned(key))};
}

/// The area under a chain of straight lines from its first point to x = limit; x rises in whole numbers.
class LimitedArea {
 public:
  explicit LimitedArea(const DoubleDouble& limit) : limit_(limit) {}

  void to(int64_t x, const DoubleDouble& y) {
    if (begun_ && x > x_ && below_limit(x_)) {
      const DoubleDouble width(static_cast<double>(x - x_));
      if (below_limit(x)) {
        area_ = area_ + width * (y_ + y) * 0.5;
      } else {
        const DoubleDouble part = limit_ - DoubleDouble(static_cast<double>(x_));
        const DoubleDouble at_limit = y_ + (y - y_) * part / width;
        area_ = area_ + part * (y_ + at_limit) * 0.5;
      }
    }
    begun_ = true;
    x_ = x;
    y_ = y;
  }
  [[nodiscard]] DoubleDouble area() const { return area_; }

 private:
  [[nodiscard]] bool below_limit(int64_t x) const {
    return (DoubleDouble(static_cast<double>(x)) - limit_).high < 0;
  }

  DoubleDouble limit_;
  bool begun_ = false;
  int64_t x_ = 0;
  DoubleDouble y_;
  DoubleDouble area_;
};

/// The places of the thresholds of pro_evenly_spaced, from the highest.
class EvenPositions {
 public:
  EvenPositions(int64_t count, int64_t normal) : next_(count - 1), last_(normal - 1) {
    step_ = static_cast<double>(normal - 1) / static_cast<double>(count - 1);
    count_ = count;
  }
  [[nodiscard]] bool any() const { return next_ >= 0; }
  /// Among the normal scores in rising order. The product is rounded to f64 before it is cut to a whole
  /// number, as in NumPy's linspace; the last is exact.
  [[nodiscard]] int64_t position() const {
    return next_ == count_ - 1 ? last_ : static_cast<int64_t>(static_cast<double>(next_) * step_);
  }
  void advance() { --next_; }

 private:
  int64_t next_;
  int64_t last_;
  int64_t count_;
  double step_;
};

}  // namespace

/// The state of one walk over the pixels, from the highest score to the lowest.
struct PixelMetrics::Sweep {
  Sweep(const PixelMetrics& metrics, const DoubleDouble& limit)
      : of(metrics),
        ranking(metrics.anomalous_pixels_, metrics.normal_pixels_),
        pro_area(limit),
        even_area(limit),
        even(metrics.options_.threshold_count, metrics.normal_pixels_),
        curve(metrics.options_.fpr_limit / 512),
        kinds(metrics.kinds_.size(), KindSweep(limit)) {
    pro_area.to(0, 0.0);
    for (KindSweep& kind : kinds) kind.area.to(0, 0.0);
    for (const Region& region : metrics.regions_) {
      share_of_one_pixel.push_back(DoubleDouble(1.0) / DoubleDouble(static_cast<double>(region.size)));
    }
    curve.add({0, 0, std::numeric_limits<double>::infinity()});
  }

  // A group is the pixels of one score: first how many of them are normal, then each anomalous one's region,
  // in falling order so that the sums' order is fixed.
  void begin_group(int64_t tied_normal) {
    tied = tied_normal;
    anomalous_in_group = 0;
    const int64_t below = normal_below();
    for (; even.any() && even.position() >= below; even.advance()) {
      even_area.to(of.normal_pixels_ - 1 - even.position(), overlap);
    }
  }

  void add(size_t region_index) {
    const Region& region = of.regions_[region_index];
    KindSweep& kind = kinds[static_cast<size_t>(region.kind)];
    overlap = overlap + share_of_one_pixel[region_index];
    kind.overlap = kind.overlap + share_of_one_pixel[region_index];
    kind.twice_wins += 2 * normal_below() + tied;
    ++anomalous_in_group;
  }

  void end_group(double score) {
    false_positives += tied;
    pro_area.to(false_positives, overlap);
    add_curve_point(score);
    for (KindSweep& kind : kinds) kind.area.to(false_positives, kind.overlap);
    ranking.group(score, anomalous_in_group, tied);
  }

  void normal_group(double score, int64_t pixels) {
    begin_group(pixels);
    end_group(score);
  }

  /// Normal pixels with scores below the group's.
  [[nodiscard]] int64_t normal_below() const { return of.normal_pixels_ - false_positives - tied; }

  void add_curve_point(double score) {
    if (of.normal_pixels_ == 0 || of.regions_.empty() || curve_ended) return;
    const double x = static_cast<double>(false_positives) / static_cast<double>(of.normal_pixels_);
    const double y = overlap.rounded() / static_cast<double>(of.regions_.size());
    const double limit = of.options_.fpr_limit;
    if (x > limit) {
      const double y_limit = last_point.y + (y - last_point.y) * (limit - last_point.x) / (x - last_point.x);
      curve.add({limit, y_limit, score});
      curve_ended = true;
      return;
    }
    last_point = {x, y, score};
    curve.add(last_point);
  }

  struct KindSweep {
    explicit KindSweep(const DoubleDouble& limit) : area(limit) {}
    DoubleDouble overlap;
    LimitedArea area;
    int64_t twice_wins = 0;
  };

  const PixelMetrics& of;
  RankingSweep ranking;
  std::vector<DoubleDouble> share_of_one_pixel;  // by region
  DoubleDouble overlap;                          // sum over regions of the share above the threshold
  LimitedArea pro_area;
  LimitedArea even_area;
  EvenPositions even;
  CurveSampler curve;
  CurvePoint last_point;
  bool curve_ended = false;
  std::vector<KindSweep> kinds;
  int64_t false_positives = 0;  // above the group's score
  int64_t tied = 0;             // normal pixels of the group
  int64_t anomalous_in_group = 0;
};

PixelMetrics::PixelMetrics(Device& device, const PixelMetricsOptions& options, int64_t kind_count)
    : options_(options),
      normal_(device, options.memory_bytes / 4 * 3, options.scratch_directory),
      anomalous_(device, options.memory_bytes / 4, options.scratch_directory),
      kinds_(static_cast<size_t>(kind_count)) {
  PANDA_CHECK(options.fpr_limit > 0 && options.fpr_limit <= 1, "pixel metrics: a limit of ",
              options.fpr_limit, " for the false-positive rate, expected one above 0 and at most 1");
  PANDA_CHECK(options.threshold_count >= 2, "pixel metrics: ", options.threshold_count,
              " thresholds, expected at least 2");
}

void PixelMetrics::add(std::span<const float> scores, std::span<const uint8_t> mask, int64_t height,
                       int64_t width, int64_t kind) {
  PANDA_CHECK(
      static_cast<int64_t>(scores.size()) == checked_mul(height, width) && scores.size() == mask.size(),
      "pixel metrics: image ", image_count_, " has ", scores.size(), " scores and ", mask.size(),
      " mask pixels, expected ", height, " x ", width);
  PANDA_CHECK(kind >= 0 && kind < static_cast<int64_t>(kinds_.size()), "pixel metrics: image ", image_count_,
              " is of kind ", kind, ", expected 0 to ", kinds_.size() - 1);
  for (size_t i = 0; i < scores.size(); ++i) {
    PANDA_CHECK(!std::isnan(scores[i]), "pixel metrics: the score of image ", image_count_, " at row ",
                static_cast<int64_t>(i) / width, ", column ", static_cast<int64_t>(i) % width,
                " is not a number");
  }
  const Components components = connected_components(mask, height, width);
  const size_t first_region = regions_.size();
  PANDA_CHECK(components.count() <= int64_t{UINT32_MAX} - static_cast<int64_t>(first_region),
              "pixel metrics: more than 2^32 - 1 regions");
  for (const int64_t size : components.sizes) regions_.push_back({size, kind});
  KindMetrics& metrics = kinds_[static_cast<size_t>(kind)];
  ++metrics.images;
  metrics.regions += components.count();
  for (size_t i = 0; i < scores.size(); ++i) {
    const int32_t label = components.labels[i];
    if (label == 0) {
      normal_.add(key_of(scores[i]));
    } else {
      const int64_t region = static_cast<int64_t>(first_region) + label - 1;
      anomalous_.add((int64_t{key_of(scores[i])} << 32) + region);
      ++metrics.anomalous_pixels;
    }
  }
  normal_pixels_ = normal_.size();
  anomalous_pixels_ = anomalous_.size();
  ++image_count_;
}

// What stands between two scores of anomalous pixels moves every curve along a straight line, so it is two
// groups: the highest score, which is the threshold below the group before, and the others under the lowest.
void PixelMetrics::pass_normal(int32_t least, Sweep& sweep) {
  const int32_t* const head = normal_.head();
  if (head == nullptr || *head < least) return;
  const int32_t highest = *head;
  sweep.normal_group(score_of(highest), normal_.pass(highest).count);
  const auto others = normal_.pass(least);
  if (others.count > 0) sweep.normal_group(score_of(others.last), others.count);
}

PixelMetricsResult PixelMetrics::finish(Progress* progress) {
  constexpr int64_t kReportEvery = int64_t{1} << 20;  // pixels: a fraction of a second
  const int64_t pixels = normal_pixels_ + anomalous_pixels_;
  report_progress(progress, "ranking pixels", 0, pixels);
  normal_.finish();
  anomalous_.finish();
  const DoubleDouble limit =
      DoubleDouble(options_.fpr_limit) * DoubleDouble(static_cast<double>(normal_pixels_));
  Sweep sweep(*this, limit);
  int64_t found = 0;
  int64_t reported = 0;
  while (anomalous_.head() != nullptr) {
    const auto key = static_cast<int32_t>(*anomalous_.head() >> 32);
    pass_normal(key + 1, sweep);
    sweep.begin_group(normal_.pass(key).count);
    int64_t record = 0;
    while (anomalous_.head() != nullptr && *anomalous_.head() >> 32 == key && anomalous_.next(record)) {
      sweep.add(static_cast<size_t>(record & UINT32_MAX));
      const int64_t done = ++found + sweep.false_positives;
      if (done < reported + kReportEvery) continue;
      report_progress(progress, "ranking pixels", done, pixels);
      reported = done;
    }
    sweep.end_group(score_of(key));
  }
  pass_normal(INT32_MIN, sweep);
  report_progress(progress, "ranking pixels", pixels, pixels);

  PixelMetricsResult result;
  result.pixels = sweep.ranking.result();
  result.regions = static_cast<int64_t>(regions_.size());
  result.kinds = kinds_;
  if (normal_pixels_ == 0 || regions_.empty()) return result;
  const DoubleDouble all_regions(static_cast<double>(regions_.size()));
  sweep.even_area.to(normal_pixels_, all_regions);
  result.pro = (sweep.pro_area.area() / (limit * all_regions)).rounded();
  result.pro_evenly_spaced = (sweep.even_area.area() / (limit * all_regions)).rounded();
  result.pro_curve = sweep.curve.points();
  for (size_t k = 0; k < kinds_.size(); ++k) {
    KindMetrics& kind = result.kinds[k];
    if (kind.regions == 0) continue;
    kind.auroc = static_cast<double>(sweep.kinds[k].twice_wins) /
                 (2.0 * static_cast<double>(kind.anomalous_pixels) * static_cast<double>(normal_pixels_));
    kind.pro =
        (sweep.kinds[k].area.area() / (limit * DoubleDouble(static_cast<double>(kind.regions)))).rounded();
  }
  return result;
}

}  // namespace panda::anomaly
