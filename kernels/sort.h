// Sorting whole numbers, the n log n part of ranking pixels (anomaly/pixel_metrics.h).
//
// What is equal cannot be told apart, so there is one result: the same bits on every device, for any thread
// count. A caller that sorts floats gives their order-preserving keys, one that carries something along puts
// it into an i64's low bits.
#pragma once

#include "kernels/tensor/tensor.h"

namespace panda::kernels {

/// values'[0] >= values'[1] >= ...: the elements of `values`, in place.
/// values: i32 or i64 n, dense; n < 2^31. Takes as much memory again while it runs, and waits for the device.
/// O(n) for each digit of 8 or 11 bits in which the values differ: a radix sort from the lowest digit (Knuth,
/// The Art of Computer Programming 3, 5.2.5).
struct SortDescendingArgs {
  TensorView values;
};
void sort_descending(Device& device, const SortDescendingArgs& args);

}  // namespace panda::kernels
