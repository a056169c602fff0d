# Cross-compiling for 64-bit ARM on Debian: cmake --toolchain cmake/aarch64-linux-gnu.cmake. Its tests run under qemu.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH /usr/lib/aarch64-linux-gnu /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
# Static: the programs then run anywhere, and under qemu-user 7.2, which hangs when a dynamically linked one starts a thread.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")
set(ZLIB_LIBRARY /usr/lib/aarch64-linux-gnu/libz.a CACHE FILEPATH "")
set(PNG_LIBRARY /usr/lib/aarch64-linux-gnu/libpng.a CACHE FILEPATH "")
set(JPEG_LIBRARY /usr/lib/aarch64-linux-gnu/libjpeg.a CACHE FILEPATH "")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64)
