"""Wall times of what runs on a GPU, in turns; for the peers' scripts of tools/gpu.sh, which also run with PyTorch on the CPU to be checked."""
import statistics
import time

import torch

from machine_facts import command_output


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(function):
    """Seconds of one call, waited for."""
    wait()
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def interleaved(runs, repetitions):
    """Median and least milliseconds of each of `runs`, which return seconds, in turns; the first turn warms up."""
    times = {who: [] for who in runs}
    for repetition in range(repetitions + 1):
        for who, run in runs.items():
            seconds = run()
            if repetition > 0:
                times[who].append(seconds)
    return {who: {"median_ms": 1e3 * statistics.median(values), "min_ms": 1e3 * min(values)} for who, values in times.items()}


def gpu_facts(torch_device):
    on_gpu = torch_device == "cuda"
    driver = command_output("nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem", "--format=csv,noheader")
    return {"gpu": torch.cuda.get_device_name() if on_gpu else None, "torch": torch.__version__, "cuda": torch.version.cuda, "driver": driver if on_gpu else None}
