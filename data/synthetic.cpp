#include "data/synthetic.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>

#include "data/image_write.h"
#include "data/synthetic_defects.h"
#include "data/synthetic_designs.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"

namespace panda::data {

namespace {

namespace fs = std::filesystem;
using synthetic::Design;
using synthetic::Surface;

// A change by fewer levels than this in every channel is below the camera's noise: such pixels are put back
// as they were.
constexpr int kVisibleLevels = 5;
// A defect that changes less of the picture than this is drawn anew.
constexpr double kSmallestDefect = 0.0008;
constexpr int kAttempts = 16;

// Streams of the seed. The design itself takes stream 10 (data/synthetic_*.cpp).
enum Stream : uint64_t { kVariation = 1000, kLamp, kCamera, kDefect, kStreamsPerPicture = 8 };
uint64_t stream_of(Stream purpose, int64_t picture) {
  return static_cast<uint64_t>(purpose) +
         static_cast<uint64_t>(kStreamsPerPicture) * static_cast<uint64_t>(picture);
}

void check(const SyntheticOptions& options) {
  PANDA_CHECK(options.count >= kSmallestSyntheticCount && options.count <= kLargestSyntheticCount,
              "synthetic data: count is ", options.count, ", expected ", kSmallestSyntheticCount, " to ",
              kLargestSyntheticCount);
  PANDA_CHECK(options.size >= kSmallestSyntheticSize && options.size <= kLargestSyntheticSize,
              "synthetic data: size is ", options.size, " pixels, expected ", kSmallestSyntheticSize, " to ",
              kLargestSyntheticSize);
}

std::string numbered(int64_t number) {
  const std::string digits = std::to_string(number);
  return std::string(digits.size() < 3 ? 3 - digits.size() : 0, '0') + digits;
}

int64_t count_visible(const Image& mask) {
  return std::count_if(mask.pixels.begin(), mask.pixels.end(), [](uint8_t value) { return value != 0; });
}

// Sets every mark within `radius` of a mark of that value, along both axes.
std::vector<uint8_t> spread(const std::vector<uint8_t>& marks, int64_t n, int64_t radius, uint8_t value) {
  const auto along = [&](const std::vector<uint8_t>& in, bool rows) {
    std::vector<uint8_t> out = in;
    for (int64_t line = 0; line < n; ++line) {
      int64_t last = -n;  // the last marked place seen, from one end and then from the other
      const auto place = [&](int64_t i) { return static_cast<size_t>(rows ? line * n + i : i * n + line); };
      for (int64_t i = 0; i < n; ++i) {
        if (in[place(i)] == value) last = i;
        if (i - last <= radius) out[place(i)] = value;
      }
      last = 2 * n;
      for (int64_t i = n - 1; i >= 0; --i) {
        if (in[place(i)] == value) last = i;
        if (last - i <= radius) out[place(i)] = value;
      }
    }
    return out;
  };
  return along(along(marks, true), false);
}

bool same_pixel(const SyntheticPicture& picture, size_t pixel) {
  return std::equal(picture.image.pixels.begin() + static_cast<std::ptrdiff_t>(pixel * 3),
                    picture.image.pixels.begin() + static_cast<std::ptrdiff_t>(pixel * 3 + 3),
                    picture.normal.pixels.begin() + static_cast<std::ptrdiff_t>(pixel * 3));
}

bool visibly_different(const SyntheticPicture& picture, size_t pixel) {
  for (size_t sample = pixel * 3; sample < pixel * 3 + 3; ++sample) {
    const int change =
        static_cast<int>(picture.image.pixels[sample]) - static_cast<int>(picture.normal.pixels[sample]);
    if (std::abs(change) >= kVisibleLevels) return true;
  }
  return false;
}

// Makes the mask: the visible differences as whole regions, without the gaps where the defect happens to have
// the colour of what it covers, and without specks. Then makes the picture agree: outside the mask nothing is
// changed, inside every pixel is.
void settle_differences(SyntheticPicture& picture) {
  const int64_t n = picture.mask.height;
  std::vector<uint8_t>& mask = picture.mask.pixels;
  for (size_t pixel = 0; pixel < mask.size(); ++pixel)
    mask[pixel] = visibly_different(picture, pixel) ? 255 : 0;
  // Closing, then opening, by about 1 % and 0.4 % of the size: 3 pixels and 1 of 256.
  const int64_t gap = std::max<int64_t>(1, n / 85);
  const int64_t speck = n / 256;
  mask = spread(spread(mask, n, gap, 255), n, gap, 0);
  mask = spread(spread(mask, n, speck, 0), n, speck, 255);
  for (size_t pixel = 0; pixel < mask.size(); ++pixel) {
    uint8_t* const samples = picture.image.pixels.data() + pixel * 3;
    if (mask[pixel] == 0) {
      std::copy_n(picture.normal.pixels.data() + pixel * 3, 3, samples);
    } else if (same_pixel(picture, pixel)) {
      samples[1] = static_cast<uint8_t>(samples[1] == 255 ? 254 : samples[1] + 1);  // far below the noise
    }
  }
}

SyntheticPicture draw(const Design& design, const SyntheticOptions& options, const SyntheticItem& item) {
  const Random variation(options.seed, stream_of(kVariation, item.index));
  Random lamp_random(options.seed, stream_of(kLamp, item.index));
  const synthetic::Lamp lamp =
      synthetic::draw_lamp(lamp_random, Random(options.seed, stream_of(kCamera, item.index)));
  const Surface normal = design.draw(options.size, variation, {});
  SyntheticPicture picture;
  picture.normal = synthetic::photograph(normal, lamp);
  picture.image = picture.normal;
  picture.mask = Image(options.size, options.size, 1);
  if (item.mask_path.empty()) return picture;
  Random defect(options.seed, stream_of(kDefect, item.index));
  const double smallest =
      kSmallestDefect * static_cast<double>(options.size) * static_cast<double>(options.size);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const synthetic::Alteration alteration = synthetic::draw_alteration(item.defect_kind, normal, defect);
    const bool structural = alteration.warp.radius > 0 || alteration.bite.radius > 0;
    Surface altered = structural ? design.draw(options.size, variation, alteration) : normal;
    synthetic::lay_on(item.defect_kind, altered, defect);
    picture.image = synthetic::photograph(altered, lamp);
    picture.mask = Image(options.size, options.size, 1);
    settle_differences(picture);
    if (static_cast<double>(count_visible(picture.mask)) >= smallest) break;
  }
  PANDA_INTERNAL_ASSERT(count_visible(picture.mask) > 0, item.path, ": no visible defect in ", kAttempts,
                        " attempts");
  return picture;
}

// A directory beside `directory`, under a temporary name; gone with this object unless it was moved into
// place.
class PendingDirectory {
 public:
  explicit PendingDirectory(const fs::path& directory) : final_(directory) {
    for (fs::path parent = final_.parent_path(); !parent.empty() && !path_exists(parent.string());
         parent = parent.parent_path()) {
      made_parents_.push_back(parent);
    }
    make_directories(final_.parent_path().string());
    std::string pattern = final_.string() + ".part-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) {
      const int error = errno;
      remove_parents();
      throw IoError(printable(final_.string()), "make the directory", error);
    }
    pending_ = pattern;
    // mkdtemp makes directories private; give this one the permissions any other would get.
    const mode_t mask = ::umask(0);
    ::umask(mask);
    fs::permissions(pending_, static_cast<fs::perms>(0777 & ~mask));
  }
  PendingDirectory(const PendingDirectory&) = delete;
  PendingDirectory& operator=(const PendingDirectory&) = delete;
  ~PendingDirectory() {
    if (pending_.empty()) return;
    std::error_code ignored;
    fs::remove_all(pending_, ignored);
    remove_parents();
  }

  [[nodiscard]] std::string path() const { return pending_.string(); }

  /// Moves it into place: onto nothing or an empty directory; with `replace`, also onto a full one, which is
  /// removed.
  void commit(bool replace) {
    if (::rename(pending_.c_str(), final_.c_str()) != 0) {
      const int error = errno;
      if (!replace || (error != ENOTEMPTY && error != EEXIST)) {
        throw IoError(printable(final_.string()), "rename into place", error);
      }
      swap_with_old();
      std::error_code ignored;
      fs::remove_all(pending_, ignored);
    }
    pending_.clear();
    const int parent = ::open(final_.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) return;
    (void)::fsync(parent);
    ::close(parent);
  }

 private:
  // Afterwards the old directory has the temporary name.
  void swap_with_old() {
    // In one step: at no moment is there neither the old data set nor the new one.
    if (::renameat2(AT_FDCWD, pending_.c_str(), AT_FDCWD, final_.c_str(), RENAME_EXCHANGE) == 0) return;
    if (errno != EINVAL && errno != ENOSYS)
      throw IoError(printable(final_.string()), "replace the directory", errno);
    // A file system that cannot exchange: two steps.
    const fs::path old = pending_.string() + ".old";
    if (::rename(final_.c_str(), old.c_str()) != 0 || ::rename(pending_.c_str(), final_.c_str()) != 0) {
      const int error = errno;
      (void)::rename(old.c_str(), final_.c_str());
      throw IoError(printable(final_.string()), "replace the directory", error);
    }
    pending_ = old;
  }

  void remove_parents() noexcept {
    std::error_code ignored;
    for (const fs::path& parent : made_parents_) fs::remove(parent, ignored);  // only while empty
  }

  fs::path final_;
  fs::path pending_;
  std::vector<fs::path> made_parents_;  // deepest first
};

// The absolute path, without "." and links, so that a temporary name beside it is on the same file system.
fs::path resolved(const std::string& directory) {
  PANDA_CHECK(!directory.empty(), "synthetic data: expected a directory name, got ''");
  std::error_code error;
  fs::path path = fs::weakly_canonical(fs::absolute(directory), error);
  if (error) throw IoError(printable(directory), "resolve", error.value());
  if (!path.has_filename()) path = path.parent_path();
  PANDA_CHECK(path.has_filename(), printable(directory),
              ": is the root directory, expected a directory to make");
  return path;
}

constexpr const char* kManifestName = "synthetic.json";

void check_destination(const std::string& shown, const fs::path& directory, bool replace) {
  if (!path_exists(directory.string())) return;
  PANDA_CHECK(is_directory(directory.string()), printable(shown),
              ": is a file, expected a directory to make");
  const std::vector<std::string> names = list_directory(directory.string());
  if (names.empty()) return;
  PANDA_CHECK(replace, printable(shown),
              ": is not empty, expected a new directory (--force replaces an earlier synthetic data set)");
  const bool ours =
      std::find(names.begin(), names.end(), kManifestName) != names.end() &&
      std::all_of(names.begin(), names.end(), [](const std::string& name) {
        return name == kManifestName || name == "train" || name == "test" || name == "ground_truth";
      });
  PANDA_CHECK(ours, printable(shown), ": holds other files than a synthetic data set, and is left as it is");
}

std::string manifest(const SyntheticOptions& options) {
  return text("{\n  \"made_by\": \"panda synth\",\n  \"kind\": \"",
              options.kind == SyntheticKind::kTexture ? "texture" : "objects", "\",\n  \"design\": \"",
              synthetic_design(options), "\",\n  \"count\": ", options.count, ",\n  \"size\": ", options.size,
              ",\n  \"seed\": ", options.seed, "\n}\n");
}

void write_text(const std::string& path, const std::string& content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

}  // namespace

std::string synthetic_design(const SyntheticOptions& options) {
  return synthetic::make_design(options.kind, options.seed)->name();
}

std::vector<SyntheticItem> list_synthetic(const SyntheticOptions& options) {
  check(options);
  const std::vector<std::string> kinds = synthetic::make_design(options.kind, options.seed)->defect_kinds();
  const int64_t train = options.count * 3 / 5;
  const int64_t good = std::max<int64_t>(1, options.count * 3 / 20);
  const int64_t defective = options.count - train - good;
  std::vector<SyntheticItem> items;
  const auto add = [&](const std::string& folder, const std::string& kind, int64_t number) {
    SyntheticItem item;
    item.index = static_cast<int64_t>(items.size());
    item.path = text(folder, "/", kind, "/", numbered(number), ".png");
    if (kind != "good") item.mask_path = text("ground_truth/", kind, "/", numbered(number), "_mask.png");
    item.defect_kind = kind;
    items.push_back(std::move(item));
  };
  for (int64_t i = 0; i < train; ++i) add("train", "good", i);
  for (int64_t i = 0; i < good; ++i) add("test", "good", i);
  const auto kind_count = static_cast<int64_t>(kinds.size());
  for (int64_t i = 0; i < defective; ++i)
    add("test", kinds[static_cast<size_t>(i % kind_count)], i / kind_count);
  return items;
}

SyntheticPicture draw_synthetic(const SyntheticOptions& options, const SyntheticItem& item) {
  check(options);
  return draw(*synthetic::make_design(options.kind, options.seed), options, item);
}

void write_synthetic(const std::string& directory, const SyntheticOptions& options, bool replace,
                     ThreadPool& threads, Progress* progress) {
  const std::vector<SyntheticItem> items = list_synthetic(options);
  const fs::path destination = resolved(directory);
  check_destination(directory, destination, replace);
  PendingDirectory pending(destination);
  for (const SyntheticItem& item : items) {
    make_directories(fs::path(join_path(pending.path(), item.path)).parent_path().string());
    if (!item.mask_path.empty()) {
      make_directories(fs::path(join_path(pending.path(), item.mask_path)).parent_path().string());
    }
  }
  const std::unique_ptr<Design> design = synthetic::make_design(options.kind, options.seed);
  const auto total = static_cast<int64_t>(items.size());
  std::mutex mutex;
  int64_t done = 0;
  report_progress(progress, "drawing images", 0, total);
  threads.parallel_for(total, [&](int64_t i, int /*thread*/) {
    check_interrupt();
    const SyntheticItem& item = items[static_cast<size_t>(i)];
    const SyntheticPicture picture = draw(*design, options, item);
    write_png(join_path(pending.path(), item.path), picture.image);
    if (!item.mask_path.empty()) write_png(join_path(pending.path(), item.mask_path), picture.mask);
    const std::lock_guard<std::mutex> lock(mutex);
    report_progress(progress, "drawing images", ++done, total);
  });
  write_text(join_path(pending.path(), kManifestName), manifest(options));
  check_interrupt();
  check_destination(directory, destination, replace);  // it may have changed meanwhile
  pending.commit(replace);
}

}  // namespace panda::data
