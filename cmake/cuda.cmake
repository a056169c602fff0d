# nvcc, for the device `cuda` (PANDA_CUDA).
# Objects of one folder have the same bits each time; of another folder not: nvcc makes the names of anonymous namespaces from the
# source's path.
find_program(NVCC nvcc PATHS /usr/local/cuda/bin)
if(NVCC AND NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER ${NVCC})
endif()
set(CMAKE_CUDA_ARCHITECTURES ${PANDA_CUDA_ARCHITECTURES})
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  # CMake 3.25.1 does not know nvcc's option for the project's C++20.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
find_package(CUDAToolkit REQUIRED)
set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_SOURCE_DIR}/cmake/keep_ptxas_report.sh ${CCACHE})

# -fmad=false: as for the CPU, a product and a sum become one only where the kernel says fmaf. The emulator (g++,
# -ffp-contract=off) then computes the same bits, and so does every architecture.
set(cuda_options -fmad=false -Xptxas=-v)
set(cuda_host_options -ffp-contract=off -Wall -Wextra -ffile-prefix-map=${CMAKE_SOURCE_DIR}=. -ffile-prefix-map=${CMAKE_BINARY_DIR}=build)
if(PANDA_WERROR)
  list(APPEND cuda_options -Werror=all-warnings)
  list(APPEND cuda_host_options -Werror)
endif()
if(PANDA_CUDA_LINEINFO)
  list(APPEND cuda_options -lineinfo)
endif()
list(JOIN cuda_host_options "," cuda_host_list)
add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:${cuda_options};-Xcompiler=${cuda_host_list}>")
set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
