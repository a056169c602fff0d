#pragma once
#include "anomaly/dn2.h"
#include "kernels/cpu/cpu_device.h"
