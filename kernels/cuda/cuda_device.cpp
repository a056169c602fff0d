#include "kernels/cuda/cuda_device.h"

#include <algorithm>

#include "kernels/cuda/cuda_probe.h"
#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/vendor/vendor_libraries.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::cuda {

namespace {

std::string to_text(dim3 extents) {
  return text(extents.x, "x", extents.y, "x", extents.z);
}

std::string to_text(const LaunchShape& launch) {
  return text(launch.kernel, " (grid ", to_text(launch.grid), ", block ", to_text(launch.block), ", ",
              launch.shared_bytes, " bytes of dynamic shared memory)");
}

}  // namespace

const KernelTable& native_kernels() {
  static const KernelTable table = [] {
    KernelTable entries;
#define PANDA_GPU_KERNEL(name) entries.name = &cuda::name;
#include "kernels/cuda/gpu_kernel_list.def"
#undef PANDA_GPU_KERNEL
    return entries;
  }();
  return table;
}

CudaDevice::CudaDevice(int index, Precision precision, int threads, bool synchronous, const RuntimeApi& api)
    : GpuDevice(precision),
      api_(api),
      index_(index),
      synchronous_(synchronous),
      threads_(threads),
      table_(native_kernels()) {
  check(api_.SetDevice(index_), "taking the GPU");
  cudaDeviceProp facts{};
  check(api_.GetDeviceProperties(&facts, index_), "reading the GPU's properties");
  int driver = 0;
  check(api_.DriverGetVersion(&driver), "reading the driver's version");
  model_ = facts.name;
  driver_ = cuda_version_name(driver);
  properties_.compute_capability = facts.major * 10 + facts.minor;
  properties_.multiprocessors = facts.multiProcessorCount;
  properties_.shared_bytes_per_block = static_cast<int64_t>(facts.sharedMemPerBlockOptin);
  properties_.shared_bytes_per_multiprocessor = static_cast<int64_t>(facts.sharedMemPerMultiprocessor);
  properties_.l2_bytes = facts.l2CacheSize;
  properties_.memory_bytes = static_cast<int64_t>(facts.totalGlobalMem);
  if (properties_.compute_capability < kOldestComputeCapability) {
    throw Unsupported(text(name(), ": ", model_, " (sm_", properties_.compute_capability,
                           ") is older than sm_", kOldestComputeCapability,
                           ", the oldest that this build serves"));
  }
  const bool needs_ampere = precision == Precision::kTf32 || precision == Precision::kBF16;
  if (needs_ampere && properties_.compute_capability < 80) {
    throw Unsupported(text(name(), ": ", model_, " (sm_", properties_.compute_capability, ") has no ",
                           precision_name(precision), " products, expected f32 or f16"));
  }
  check(api_.StreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  staging_ = std::make_unique<Staging>(
      api_, stream_, [this](cudaError_t error, const char* action) { check(error, action); });
}

CudaDevice::~CudaDevice() {
  (void)api_.SetDevice(index_);
  if (stream_ != nullptr) (void)api_.StreamSynchronize(stream_);
  vendor_.reset();
  staging_.reset();
  if (stream_ != nullptr) (void)api_.StreamDestroy(stream_);
}

std::string CudaDevice::name() const {
  return index_ == 0 ? "cuda" : text("cuda:", index_);
}

std::string CudaDevice::description() const {
  return text(model_, ", sm_", properties_.compute_capability, ", ", properties_.multiprocessors,
              " multiprocessors, ", properties_.memory_bytes >> 20, " MiB, driver for CUDA ", driver_, ", ",
              vendor_ == nullptr ? "native kernels" : vendor_->description());
}

void CudaDevice::ensure_usable() {
  if (!failure_.empty()) throw DeviceError(failure_);
  // Another device of this thread may have been used last.
  const cudaError_t error = api_.SetDevice(index_);
  if (error != cudaSuccess) fail(error, "taking the GPU");
}

std::string CudaDevice::since_last_wait() const {
  if (launches_since_wait_ == 0) return "";
  if (launches_since_wait_ == 1 || synchronous_) return text(", in kernel ", to_text(last_launch_));
  return text(", in one of the ", launches_since_wait_, " kernels since the last wait, the last of them ",
              to_text(last_launch_), "; PANDA_CUDA_SYNC=1 finds which");
}

void CudaDevice::fail(cudaError_t error, const std::string& action) {
  (void)api_.GetLastError();  // the runtime repeats an error until it is asked for
  if (error == cudaErrorMemoryAllocation) throw OutOfMemory(text(name(), ": out of memory: ", action));
  const std::string message = text(name(), ": ", action, ": ", describe(api_, error),
                                   error == cudaErrorNoKernelImageForDevice
                                       ? std::string("; this build has code for ") + PANDA_CUDA_CODE
                                       : since_last_wait());
  // Nothing more comes of a device that cannot even wait. (While a recording is made, waiting is not
  // allowed.)
  if (pool_ == nullptr && stream_ != nullptr && api_.StreamSynchronize(stream_) != cudaSuccess) {
    (void)api_.GetLastError();
    failure_ = message + "; this process cannot use the GPU any more";
    throw DeviceError(failure_);
  }
  launches_since_wait_ = 0;
  throw DeviceError(message);
}

void CudaDevice::check(cudaError_t error, const std::string& action) {
  if (error != cudaSuccess) fail(error, action);
}

void CudaDevice::before_launch() {
  ensure_usable();
}

void CudaDevice::after_launch(const LaunchShape& launch, cudaError_t refused) {
  if (refused != cudaSuccess) {
    // The runtime reports here also what an earlier kernel did.
    fail(refused, text("launching ", to_text(launch)));
  }
  last_launch_ = launch;
  ++launches_since_wait_;
  if (synchronous_ && !recording()) synchronize();
}

void before_launch(GpuDevice& device) {
  cuda_device(device).before_launch();
}

void after_launch(GpuDevice& device, const LaunchShape& launch, cudaError_t refused) {
  cuda_device(device).after_launch(launch, refused);
}

void CudaDevice::refuse_while_recording(const char* action) const {
  PANDA_INTERNAL_ASSERT(!recording(), action, " in work that is being recorded");
}

void CudaDevice::copy_from_host(void* device_destination, const void* source, int64_t bytes) {
  if (bytes == 0) return;
  refuse_while_recording("a copy from the host");
  ensure_usable();
  staging_->copy_in(device_destination, source, bytes);
}

void CudaDevice::copy_to_host(void* destination, const void* device_source, int64_t bytes) {
  if (bytes == 0) return;
  refuse_while_recording("a copy to the host");
  ensure_usable();
  staging_->copy_out(destination, device_source, bytes);
  launches_since_wait_ = 0;
}

void CudaDevice::copy_on_device(void* destination, const void* source, int64_t bytes) {
  if (bytes == 0) return;
  ensure_usable();
  check(api_.MemcpyAsync(destination, source, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, stream_),
        text("copying ", bytes, " bytes on the device"));
}

void CudaDevice::fill(void* destination, uint8_t value, int64_t bytes) {
  if (bytes == 0) return;
  ensure_usable();
  check(api_.MemsetAsync(destination, value, static_cast<size_t>(bytes), stream_),
        text("filling ", bytes, " bytes"));
}

void CudaDevice::synchronize() {
  refuse_while_recording("a wait");
  ensure_usable();
  check(api_.StreamSynchronize(stream_), "waiting for the GPU");
  launches_since_wait_ = 0;
}

void* CudaDevice::Chunks::allocate_chunk(int64_t bytes) {
  void* chunk = nullptr;
  const cudaError_t error = device_.api_.Malloc(&chunk, static_cast<size_t>(bytes));
  if (error == cudaErrorMemoryAllocation) {
    (void)device_.api_.GetLastError();
    return nullptr;
  }
  device_.check(error, text("allocating ", bytes, " bytes"));
  return chunk;
}

void CudaDevice::Chunks::free_chunk(void* chunk) noexcept {
  (void)device_.api_.Free(chunk);
}

void* CudaDevice::allocate_recorded(int64_t bytes) {
  auto& idle = pool_->idle;
  auto best = idle.end();
  for (auto block = idle.begin(); block != idle.end(); ++block) {
    if (block->second >= bytes && (best == idle.end() || block->second < best->second)) best = block;
  }
  if (best == idle.end()) return nullptr;
  void* pointer = best->first;
  pool_->taken.push_back(*best);
  idle.erase(best);
  return pointer;
}

void* CudaDevice::allocate_bytes(int64_t bytes) {
  ensure_usable();
  const std::lock_guard lock(arena_mutex_);
  if (recording()) {
    if (void* again = allocate_recorded(bytes); again != nullptr) return again;
  }
  return arena_.allocate(bytes);
}

void CudaDevice::free_bytes(void* pointer, int64_t bytes) noexcept {
  const std::lock_guard lock(arena_mutex_);
  if (!recording()) {
    arena_.free(pointer);
    return;
  }
  const auto held = std::find_if(pool_->taken.begin(), pool_->taken.end(),
                                 [&](const auto& block) { return block.first == pointer; });
  pool_->idle.emplace_back(pointer, held == pool_->taken.end() ? bytes : held->second);
  if (held != pool_->taken.end()) pool_->taken.erase(held);
}

void CudaDevice::release(const RecordedBlocks& blocks) noexcept {
  const std::lock_guard lock(arena_mutex_);
  for (const auto& block : blocks.idle) arena_.free(block.first);
}

int64_t CudaDevice::reserved_bytes() const {
  const std::lock_guard lock(arena_mutex_);
  return arena_.reserved_bytes();
}

class CudaDevice::GraphRecording final : public Recording {
 public:
  GraphRecording(CudaDevice& device, cudaGraphExec_t graph, RecordedBlocks blocks)
      : device_(device), graph_(graph), blocks_(std::move(blocks)) {}
  ~GraphRecording() override {
    (void)device_.api_.GraphExecDestroy(graph_);
    device_.release(blocks_);
  }
  void replay() override {
    device_.ensure_usable();
    device_.check(device_.api_.GraphLaunch(graph_, device_.stream_), "starting a recorded network");
    device_.last_launch_ = {"a recorded network", {}, {}, 0};
    ++device_.launches_since_wait_;
  }

 private:
  CudaDevice& device_;
  cudaGraphExec_t graph_;
  RecordedBlocks blocks_;
};

std::unique_ptr<Recording> CudaDevice::record(const std::function<void()>& work) {
  refuse_while_recording("a recording");
  ensure_usable();
  RecordedBlocks blocks;
  // Relaxed: an arena that has to grow may ask for memory meanwhile.
  check(api_.StreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "beginning a recording");
  pool_ = &blocks;
  std::exception_ptr thrown;
  try {
    work();
  } catch (...) {
    thrown = std::current_exception();
  }
  pool_ = nullptr;
  cudaGraph_t graph = nullptr;
  cudaError_t error = api_.StreamEndCapture(stream_, &graph);
  cudaGraphExec_t executable = nullptr;
  if (error == cudaSuccess && thrown == nullptr) error = api_.GraphInstantiate(&executable, graph, 0);
  if (graph != nullptr) (void)api_.GraphDestroy(graph);
  if (error != cudaSuccess || thrown != nullptr) {
    release(blocks);
    (void)api_.GetLastError();
    if (thrown != nullptr) std::rethrow_exception(thrown);
    fail(error, "recording a network");
  }
  return std::make_unique<GraphRecording>(*this, executable, std::move(blocks));
}

void CudaDevice::use_vendor(std::unique_ptr<vendor::VendorLibraries> libraries) {
  vendor_ = std::move(libraries);
  vendor_->override_kernels(table_);
}

vendor::VendorLibraries& CudaDevice::vendor() {
  PANDA_INTERNAL_ASSERT(vendor_ != nullptr, "no vendor library is in use");
  return *vendor_;
}

}  // namespace panda::kernels::cuda
