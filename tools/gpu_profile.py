#!/usr/bin/env python3
"""Where the time of a GPU goes: programs of bench/ under Nsight Compute, one table of kernels per case.

Every launch of a case is measured by itself (ncu's `--clock-control none --cache-control none`), so a time is without what the next launch overlaps. Writes ncu's
own table as CASE.csv.gz and prints, per kernel, launches, milliseconds of all, and in per cent of their peaks the multiprocessors, the device's memory and the L2
cache, weighted by time. Kernels run many times slower under ncu: the cases are single passes.

  gpu_profile.py --binaries build/cuda-static/bin --out out/gpu/profile [--cases knn_c,resnet50_f16]
"""
import argparse
import csv
import gzip
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import safetensors.torch
import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench", "peers"))
from kmeans_cuda_torch import SHAPES, make_points  # noqa: E402
from knn_cuda_torch import make_vectors  # noqa: E402
from resnet_torch import random_network  # noqa: E402

SECTIONS = ["SpeedOfLight", "ComputeWorkloadAnalysis", "MemoryWorkloadAnalysis", "Occupancy", "LaunchStats", "WarpStateStats"]
COLUMNS = {"SM %": "sm__throughput.avg.pct_of_peak_sustained_elapsed", "tensor %": "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed", "memory %": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
           "L2 %": "lts__throughput.avg.pct_of_peak_sustained_elapsed"}
SECONDS = {"ns": 1e-9, "nsecond": 1e-9, "us": 1e-6, "usecond": 1e-6, "ms": 1e-3, "msecond": 1e-3, "s": 1.0, "second": 1.0}


class Cases:
    """Each gives a program with its arguments, the lines it is driven by, ncu's sections (a launch is repeated for them) and variables of its environment."""

    def __init__(self, folder):
        self.folder = folder

    def save(self, name, tensor):
        path = os.path.join(self.folder, name + ".npy")
        np.save(path, tensor.cpu().numpy())
        return path

    def network(self, name):
        path = os.path.join(self.folder, name + ".safetensors")
        if not os.path.exists(path):
            state = {key: value.contiguous() for key, value in random_network(name).state_dict().items() if not key.endswith("num_batches_tracked")}
            safetensors.torch.save_file(state, path)
        return path

    def knn(self, nb, nq, d, k):
        gallery = self.save("gallery", make_vectors(nb, d, 1, "cuda"))
        queries = self.save("queries", make_vectors(nq, d, 2, "cuda"))
        return ["bench_knn", "--device=cuda"], [f"gallery {gallery} auto", f"queries {queries}", f"search {k} 1"]

    def kmeans(self, name):
        n, d, k = next(shape[1:] for shape in SHAPES if shape[0] == name)
        points = make_points(n, d, k, "cuda")
        lines = [f"points {self.save('points', points)}", f"start {self.save('start', points[:k])}", "run 3"]
        return ["bench_kmeans", "--device=cuda"], lines

    def resnet(self, name, precision, batch):
        images = self.save("images", torch.randn(batch, 3, 224, 224))
        return ["bench_resnet", "--device=cuda", f"--precision={precision}", self.network(name)], [f"input {images}", "run"]

    def training(self, name, precision, batch):
        images = self.save("images", torch.randn(batch, 3, 224, 224))
        return ["bench_training", "--device=cuda", f"--precision={precision}", self.network(name)], [f"input {images}", "calls step 1"]

    def choose(self, case):
        knn_shapes = {"a": (5000, 10000, 2048, 2), "b": (655424, 3136, 256, 1), "c": (1000000, 10000, 128, 10), "d": (1000000, 10000, 96, 10)}
        kind, _, rest = case.partition("_")
        if kind in ("knn", "warpgroup"):
            return *self.knn(*knn_shapes[rest]), SECTIONS, {"PANDA_KNN_TILES": "warpgroup"} if kind == "warpgroup" else {}
        if kind == "kmeans":
            return *self.kmeans(rest), SECTIONS, {}
        network, precision, batch = case.removeprefix("training_").rsplit("_", 2)
        return *(self.training if kind == "training" else self.resnet)(network, precision, int(batch)), SECTIONS[:1], {}


def short_name(kernel):
    """The kernel's own name and its template's arguments, without namespaces and parameters."""
    text = re.sub(r"\(anonymous namespace\)::|<?unnamed>::|panda::|cuda::|kernels::|simt::", "", kernel)
    depth, end = 0, len(text)
    for index, letter in enumerate(text):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0:
            end = index
            break
    return text[:end].removeprefix("void ")


def table(path):
    rows = [row for row in csv.reader(line for line in open(path, errors="replace") if line.startswith('"'))]
    names, units = rows[0], rows[1]
    duration = names.index("gpu__time_duration.sum")
    scale = SECONDS[units[duration]]
    number = lambda value: float(value.replace(",", "") or "nan")
    kernels = {}
    for row in rows[2:]:
        entry = kernels.setdefault(short_name(row[names.index("Kernel Name")]), {"count": 0, "seconds": 0.0, **{column: 0.0 for column in COLUMNS}})
        seconds = number(row[duration]) * scale
        entry["count"] += 1
        entry["seconds"] += seconds
        for column, metric in COLUMNS.items():
            entry[column] += seconds * (number(row[names.index(metric)]) if metric in names else float("nan"))
    return kernels


def show(case, kernels, lines):
    total = sum(entry["seconds"] for entry in kernels.values())
    print(f"profile {case}: {1e3 * total:.3f} ms in {sum(entry['count'] for entry in kernels.values())} launches")
    for name, entry in sorted(kernels.items(), key=lambda item: -item[1]["seconds"])[:lines]:
        shares = "  ".join(f"{column} {entry[column] / entry['seconds']:5.1f}" for column in COLUMNS)
        print(f"  {1e3 * entry['seconds']:9.3f} ms {100 * entry['seconds'] / total:5.1f} %  x{entry['count']:<5d} {shares}  {name[:150]}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", required=True)
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--cases", type=lambda value: value.split(","), default=["knn_c", "warpgroup_c", "resnet50_f16_256", "kmeans_n1e5_d64_k256"])
    parser.add_argument("--launches", type=int, default=600, help="at most, of a case")
    parser.add_argument("--kernels", default="", help="ncu's --kernel-name, such as regex:filter")
    parser.add_argument("--lines", type=int, default=16, help="of a table")
    parser.add_argument("--seconds", type=float, default=60, help="at most, of a case; what was measured till then is lost")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    failed = 0
    for case in arguments.cases:
        with tempfile.TemporaryDirectory() as folder:
            command, lines, sections, environment = Cases(folder).choose(case)
            path = os.path.join(folder, "ncu.csv")
            command[0] = os.path.join(arguments.binaries, command[0])
            ncu = ["ncu", "--clock-control", "none", "--cache-control", "none", "--csv", "--page", "raw", "--log-file", path, "--launch-count", str(arguments.launches)]
            ncu += ["--kernel-name", arguments.kernels] if arguments.kernels else []
            ncu += [word for section in sections for word in ("--section", section)]
            try:
                run = subprocess.run(ncu + command, input="\n".join(lines) + "\n", text=True, capture_output=True, timeout=arguments.seconds, env={**os.environ, **environment})
                with open(path, "rb") as source, gzip.open(os.path.join(arguments.out, case + ".csv.gz"), "wb") as target:
                    target.write(source.read())
                show(case, table(path), arguments.lines)
                if run.returncode != 0:
                    raise RuntimeError(run.stderr.strip()[-300:])
            except (RuntimeError, OSError, ValueError, IndexError, KeyError, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"profile {case}: FAILED: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
