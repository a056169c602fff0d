#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#include "kernels/tensor/error.h"

namespace panda::data {

namespace {

/// A batch being filled. Each image writes its own rows and its own error: no lock is needed for those.
struct Slot {
  int64_t first = 0;
  int64_t count = 0;
  Tensor images;
  std::vector<std::exception_ptr> errors;
  int64_t done = 0;  // guarded by the loader's mutex
};

/// What is wrong with the image, or nothing if the error is not about the image (no memory, a full descriptor
/// table, a stop).
std::optional<std::string> fault_of_image(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const FormatError& fault) {
    return fault.what();
  } catch (const InvalidArgument& fault) {
    return fault.what();
  } catch (const IoError& fault) {
    if (!fault.exhausted()) return fault.what();
  } catch (...) {
  }
  return std::nullopt;
}

}  // namespace

struct BatchLoader::Impl {
  Impl(const ImageSet& image_set, const ImageTransform& image_transform, LoaderOptions loader_options)
      : images(image_set), transform(image_transform), options(std::move(loader_options)) {
    transform.check();
    PANDA_CHECK(options.batch_size >= 1, "loader: batch size ", options.batch_size, ", expected at least 1");
    PANDA_CHECK(transform.crop >= 1 || options.batch_size == 1, "loader: batches of ", options.batch_size,
                " pictures without a crop, expected 1");
    PANDA_CHECK(options.threads >= 0 && options.threads <= 1024, "loader: ", options.threads,
                " threads, expected 0 to 1024");
    PANDA_CHECK(options.prefetch >= 1, "loader: prefetch ", options.prefetch, ", expected at least 1");
    for (const int64_t index : options.order) {
      PANDA_CHECK(index >= 0 && index < images.size(), "loader: image ", index, " of a set of ",
                  images.size());
    }
    total = options.order.empty() ? images.size() : static_cast<int64_t>(options.order.size());
  }

  [[nodiscard]] int64_t index_at(int64_t position) const {
    return options.order.empty() ? position : options.order[static_cast<size_t>(position)];
  }

  /// Appends the next batch to the slots. The mutex is held.
  void open_slot() {
    auto slot = std::make_shared<Slot>();
    slot->first = opened;
    slot->count = std::min(options.batch_size, total - opened);
    const int64_t crop = transform.crop;  // without one, the picture brings its extents
    if (crop > 0)
      slot->images = Tensor(host(), DType::kF32, {slot->count, transform.channels, crop, crop}, "batch");
    slot->errors.resize(static_cast<size_t>(slot->count));
    opened += slot->count;
    slots.push_back(std::move(slot));
  }

  void load_into(Slot& slot, int64_t i) const noexcept {
    const int64_t index = index_at(slot.first + i);
    const auto row = static_cast<size_t>(i);
    try {
      const Image image = images.load(index);
      try {
        const int64_t image_floats = transform.channels * transform.crop * transform.crop;
        if (transform.crop == 0) {
          slot.images = transform.apply(image);
        } else {
          transform.apply(image, slot.images.data<float>() + i * image_floats);
        }
      } catch (const InvalidArgument& error) {  // the transform does not know the file
        throw InvalidArgument(text(printable(images.sample(index).file), ": ", error.what()));
      }
    } catch (const std::bad_alloc&) {
      slot.errors[row] = std::make_exception_ptr(OutOfMemory(text("no memory to load image ", index)));
    } catch (...) {
      slot.errors[row] = std::current_exception();
    }
  }

  /// A loading thread: takes positions in order, at most `prefetch` batches ahead of the consumer.
  void work() {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      may_load.wait(lock, [&] { return stopping || failure || (claimed < total && can_claim()); });
      if (stopping || failure) return;
      std::shared_ptr<Slot> slot;
      try {
        if (claimed == opened) open_slot();
        slot = slots.back();
      } catch (...) {
        failure = std::current_exception();
        batch_done.notify_all();
        may_load.notify_all();
        return;
      }
      const int64_t i = claimed++ - slot->first;
      lock.unlock();
      load_into(*slot, i);
      lock.lock();
      if (++slot->done == slot->count) batch_done.notify_all();
      if (claimed == total) return;
    }
  }

  /// The open batch has an image left, or another batch may be opened. The mutex is held.
  [[nodiscard]] bool can_claim() const {
    return claimed < opened || static_cast<int64_t>(slots.size()) < options.prefetch;
  }

  /// The first slot with all its images done, taken out of the queue.
  std::shared_ptr<Slot> take_slot() {
    std::unique_lock<std::mutex> lock(mutex);
    if (options.threads == 0) {
      open_slot();
      Slot& slot = *slots.front();
      for (int64_t i = 0; i < slot.count; ++i) load_into(slot, i);
      slot.done = slot.count;
    }
    batch_done.wait(
        lock, [&] { return failure || (!slots.empty() && slots.front()->done == slots.front()->count); });
    if (failure) std::rethrow_exception(failure);
    std::shared_ptr<Slot> slot = std::move(slots.front());
    slots.pop_front();
    may_load.notify_all();
    return slot;
  }

  void start() {
    for (int i = 0; i < options.threads; ++i) workers.emplace_back([this] { work(); });
  }

  void stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      stopping = true;
    }
    may_load.notify_all();
    for (std::thread& worker : workers) worker.join();
    workers.clear();
  }

  Batch finish(Slot& slot);

  const ImageSet& images;
  ImageTransform transform;
  LoaderOptions options;
  int64_t total = 0;
  int64_t given = 0;  // positions handed out by next()
  std::vector<LoadFailure> failures;

  std::mutex mutex;
  std::condition_variable may_load;
  std::condition_variable batch_done;
  std::deque<std::shared_ptr<Slot>> slots;  // in order; only the last can have unclaimed images
  int64_t opened = 0;                       // positions in slots, past and present
  int64_t claimed = 0;                      // positions given to threads
  std::exception_ptr failure;               // of the loader itself: no memory for a batch
  bool stopping = false;
  std::vector<std::thread> workers;
};

/// The batch of a filled slot: throws the first error, or closes the gaps that bad images left.
Batch BatchLoader::Impl::finish(Slot& slot) {
  Batch batch;
  batch.first = slot.first;
  const int64_t image_floats = transform.channels * transform.crop * transform.crop;
  float* floats = image_floats > 0 ? slot.images.data<float>() : nullptr;
  int64_t kept = 0;
  for (int64_t i = 0; i < slot.count; ++i) {
    const int64_t index = index_at(slot.first + i);
    const std::exception_ptr& error = slot.errors[static_cast<size_t>(i)];
    if (error) {
      const std::optional<std::string> fault = options.skip_bad ? fault_of_image(error) : std::nullopt;
      if (!fault) std::rethrow_exception(error);
      failures.push_back({index, *fault});
      continue;
    }
    if (kept != i) {
      std::memcpy(floats + kept * image_floats, floats + i * image_floats,
                  static_cast<size_t>(image_floats) * sizeof(float));
    }
    batch.indices.push_back(index);
    ++kept;
  }
  if (kept == 0 && transform.crop == 0) return batch;
  const Shape shape{kept, transform.channels, transform.crop, transform.crop};
  batch.images = kept == slot.count ? slot.images : Tensor::from<float>(shape, floats, "batch");
  return batch;
}

BatchLoader::BatchLoader(const ImageSet& images, const ImageTransform& transform, LoaderOptions options)
    : impl_(std::make_unique<Impl>(images, transform, std::move(options))) {
  try {
    impl_->start();
  } catch (...) {  // no more threads to be had
    impl_->stop();
    throw;
  }
}

BatchLoader::~BatchLoader() {
  impl_->stop();
}

std::optional<Batch> BatchLoader::next() {
  if (impl_->given == impl_->total) return std::nullopt;
  try {
    const std::shared_ptr<Slot> slot = impl_->take_slot();
    Batch batch = impl_->finish(*slot);
    impl_->given += slot->count;
    return batch;
  } catch (...) {
    impl_->given = impl_->total;
    impl_->stop();
    throw;
  }
}

int64_t BatchLoader::size() const {
  return impl_->total;
}

const std::vector<LoadFailure>& BatchLoader::failures() const {
  return impl_->failures;
}

}  // namespace panda::data
