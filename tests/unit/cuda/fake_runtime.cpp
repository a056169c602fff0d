#include "fake_runtime.h"

#include <cstdlib>
#include <cstring>

namespace panda::test {

namespace {

FakeGpu gpu;
std::map<void*, int64_t> allocations;

/// It is reached when the last of its recordings is: an earlier one that the stream comes to does not count.
struct Event {
  int recorded = 0;
  int reached = 0;
};
struct Graph {
  std::vector<std::function<void()>> work;
};

cudaError_t answer(const char* call) {
  const auto planned = gpu.fail_next.find(call);
  cudaError_t error = gpu.sticky;
  if (planned != gpu.fail_next.end()) {
    error = planned->second;
    gpu.fail_next.erase(planned);
  }
  if (error != cudaSuccess) gpu.last = error;
  return error;
}

// Waiting in the middle of a capture breaks it.
cudaError_t answer_wait(const char* call) {
  if (gpu.capture != nullptr) {
    gpu.capture_broken = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return answer(call);
}

cudaError_t set_device(int index) {
  return index < gpu.gpus ? answer("SetDevice") : cudaErrorInvalidDevice;
}

cudaError_t properties(cudaDeviceProp* facts, int) {
  *facts = {};
  std::strcpy(facts->name, "Played GPU");
  facts->major = gpu.major;
  facts->minor = gpu.minor;
  facts->multiProcessorCount = 3;
  facts->sharedMemPerBlockOptin = 227 * 1024;
  facts->sharedMemPerMultiprocessor = 228 * 1024;
  facts->l2CacheSize = 1 << 20;
  facts->totalGlobalMem = static_cast<size_t>(gpu.memory_bytes);
  return answer("GetDeviceProperties");
}

cudaError_t allocate(void** pointer, size_t bytes) {
  const cudaError_t error = answer("Malloc");
  if (error != cudaSuccess) return error;
  if (static_cast<int64_t>(bytes) > gpu.memory_bytes - gpu.held_bytes)
    return gpu.last = cudaErrorMemoryAllocation;
  *pointer = std::aligned_alloc(512, (bytes + 511) / 512 * 512);
  std::memset(*pointer, 0xff, bytes);
  gpu.held_bytes += static_cast<int64_t>(bytes);
  ++gpu.mallocs;
  allocations[*pointer] = static_cast<int64_t>(bytes);
  return cudaSuccess;
}

cudaError_t release(void* pointer) {
  gpu.run_all();
  gpu.held_bytes -= allocations.at(pointer);
  allocations.erase(pointer);
  std::free(pointer);
  return answer("Free");
}

cudaError_t copy(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  gpu.give([=] { std::memcpy(to, from, bytes); });
  return answer("MemcpyAsync");
}

cudaError_t fill(void* to, int value, size_t bytes, cudaStream_t) {
  gpu.give([=] { std::memset(to, value, bytes); });
  return answer("MemsetAsync");
}

cudaError_t record_event(cudaEvent_t handle, cudaStream_t) {
  auto* event = reinterpret_cast<Event*>(handle);
  const int number = ++event->recorded;
  gpu.give([event, number] { event->reached = number; });
  return answer("EventRecord");
}

cudaError_t wait_event(cudaEvent_t handle) {
  const auto* event = reinterpret_cast<const Event*>(handle);
  while (event->reached < event->recorded && !gpu.queue.empty()) {
    const std::function<void()> work = gpu.queue.front();
    gpu.queue.pop_front();
    work();
  }
  return answer_wait("EventSynchronize");
}

cudaError_t wait_stream(cudaStream_t) {
  if (gpu.capture == nullptr) gpu.run_all();
  return answer_wait("StreamSynchronize");
}

cudaError_t begin_capture(cudaStream_t, cudaStreamCaptureMode) {
  gpu.capture = new std::vector<std::function<void()>>();
  gpu.capture_broken = false;
  ++gpu.live_objects;
  return answer("StreamBeginCapture");
}

cudaError_t end_capture(cudaStream_t, cudaGraph_t* handle) {
  auto* graph = new Graph{std::move(*gpu.capture)};
  delete gpu.capture;
  gpu.capture = nullptr;
  const cudaError_t error =
      gpu.capture_broken ? cudaErrorStreamCaptureInvalidated : answer("StreamEndCapture");
  if (error != cudaSuccess) {
    delete graph;
    --gpu.live_objects;
    *handle = nullptr;
    return error;
  }
  *handle = reinterpret_cast<cudaGraph_t>(graph);
  return cudaSuccess;
}

cudaError_t instantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  const cudaError_t error = answer("GraphInstantiate");
  if (error != cudaSuccess) return error;
  *executable = reinterpret_cast<cudaGraphExec_t>(new Graph(*reinterpret_cast<const Graph*>(graph)));
  ++gpu.live_objects;
  return cudaSuccess;
}

cudaError_t launch_graph(cudaGraphExec_t executable, cudaStream_t) {
  for (const auto& work : reinterpret_cast<const Graph*>(executable)->work) gpu.give(work);
  return answer("GraphLaunch");
}

template <typename Handle>
cudaError_t destroy_graph(Handle graph) {
  delete reinterpret_cast<Graph*>(graph);
  --gpu.live_objects;
  return cudaSuccess;
}

cudaError_t driver_version(int* version) {
  *version = gpu.driver_version;
  return cudaSuccess;
}

cudaError_t count_gpus(int* count) {
  *count = gpu.gpus;
  return gpu.last = gpu.count_error;
}

cudaError_t last_error() {
  const cudaError_t error = gpu.last;
  gpu.last = gpu.sticky;
  return error;
}

kernels::cuda::RuntimeApi make_api() {
  kernels::cuda::RuntimeApi api;
  api.GetDeviceCount = count_gpus;
  api.DriverGetVersion = driver_version;
  api.RuntimeGetVersion = [](int* version) {
    *version = 13000;
    return cudaSuccess;
  };
  api.GetDeviceProperties = properties;
  api.SetDevice = set_device;
  api.MemGetInfo = [](size_t* free_bytes, size_t* total) {
    *total = static_cast<size_t>(gpu.memory_bytes);
    *free_bytes = static_cast<size_t>(gpu.memory_bytes - gpu.held_bytes);
    return cudaSuccess;
  };
  api.StreamCreateWithFlags = [](cudaStream_t* stream, unsigned) {
    *stream = reinterpret_cast<cudaStream_t>(new char);
    ++gpu.live_objects;
    return answer("StreamCreateWithFlags");
  };
  api.StreamDestroy = [](cudaStream_t stream) {
    delete reinterpret_cast<char*>(stream);
    --gpu.live_objects;
    return cudaSuccess;
  };
  api.StreamSynchronize = wait_stream;
  api.EventCreateWithFlags = [](cudaEvent_t* event, unsigned) {
    *event = reinterpret_cast<cudaEvent_t>(new Event());
    ++gpu.live_objects;
    return cudaSuccess;
  };
  api.EventRecord = record_event;
  api.EventSynchronize = wait_event;
  api.EventDestroy = [](cudaEvent_t event) {
    delete reinterpret_cast<Event*>(event);
    --gpu.live_objects;
    return cudaSuccess;
  };
  api.Malloc = allocate;
  api.Free = release;
  api.HostAlloc = [](void** pointer, size_t bytes, unsigned) {
    const cudaError_t error = answer("HostAlloc");
    if (error != cudaSuccess) return error;
    *pointer = std::malloc(bytes);
    ++gpu.pinned_buffers;
    return cudaSuccess;
  };
  api.FreeHost = [](void* pointer) {
    std::free(pointer);
    --gpu.pinned_buffers;
    return cudaSuccess;
  };
  api.MemcpyAsync = copy;
  api.MemsetAsync = fill;
  api.GetLastError = last_error;
  // These two need no driver.
  api.GetErrorName = ::cudaGetErrorName;
  api.GetErrorString = ::cudaGetErrorString;
  api.StreamBeginCapture = begin_capture;
  api.StreamEndCapture = end_capture;
  api.GraphInstantiate = instantiate;
  api.GraphLaunch = launch_graph;
  api.GraphExecDestroy = destroy_graph<cudaGraphExec_t>;
  api.GraphDestroy = destroy_graph<cudaGraph_t>;
  return api;
}

}  // namespace

void FakeGpu::give(std::function<void()> work) {
  if (capture != nullptr) {
    capture->push_back(std::move(work));
  } else {
    queue.push_back(std::move(work));
  }
}

void FakeGpu::run_all() {
  while (!queue.empty()) {
    const std::function<void()> work = queue.front();
    queue.pop_front();
    work();
  }
}

FakeGpu& fake_gpu() {
  return gpu;
}

void reset_fake_gpu() {
  gpu = FakeGpu();
}

const kernels::cuda::RuntimeApi& fake_runtime() {
  static const kernels::cuda::RuntimeApi api = make_api();
  return api;
}

}  // namespace panda::test
