#!/usr/bin/env python3
"""K-means on a GPU from the same start, ours beside Lloyd's algorithm in PyTorch, alternating.

Points stay in the GPU's memory; all make the same number of updates from the same centers, and a time is the wall time of a whole run, waited for, divided by the updates. PyTorch
assigns by |c|^2 - 2 <x, c> (cuBLAS, in f32 and with TF32) and adds by index_add_, whose order is not fixed; ours assigns exactly and gives the same bits each time. Before anything is
timed, our labels are compared with f64 distances for some points, and inertia after the updates with PyTorch's. Writes one JSON file and prints one line per
case. What the figures mean: bench/METHOD.md.

  kmeans_cuda_torch.py --program build/cuda-static/bin/bench_kmeans --output kmeans.json
"""
import os
import sys

import numpy as np
import torch

from gpu_run import make_parser, run_cases
from gpu_timing import interleaved, timed

# name, points, d, k: as in kmeans_peers.py, which says what they are.
SHAPES = [("n1e5_d64_k256", 100000, 64, 256), ("n5e4_d512_k50", 50000, 512, 50), ("n1e5_d128_k1000", 100000, 128, 1000),
          ("n2e4_d2048_k100", 20000, 2048, 100), ("n1e6_d32_k256", 1000000, 32, 256)]


def make_points(n, d, k, device):
    """Clusters of different sizes, twice as many as are asked for, in 16 dimensions of which every component is made; never negative."""
    generator = torch.Generator(device).manual_seed(1)
    mixing = torch.randn(16, d, device=device, generator=generator) / 4
    middles = 2 * torch.randn(2 * k, 16, device=device, generator=generator)
    which = (2 * k * torch.rand(n, device=device, generator=generator) ** 1.5).long().clamp_(max=2 * k - 1)
    hidden = middles[which] + torch.randn(n, 16, device=device, generator=generator)
    return torch.clamp_min(hidden @ mixing, 0)


def lloyd(points, start, iterations, tf32):
    torch.backends.cuda.matmul.allow_tf32 = tf32
    centers, ones = start.clone(), torch.ones(len(points), device=points.device)
    for _ in range(iterations):
        labels = torch.addmm((centers * centers).sum(1), points, centers.T, alpha=-2).argmin(1)
        counts = torch.zeros(len(centers), device=points.device).index_add_(0, labels, ones)
        sums = torch.zeros_like(centers).index_add_(0, labels, points)
        centers = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centers)
    return centers


def squares(points, centers):
    """f64 distances of some points and all centers."""
    return torch.stack([(centers.double() - point.double()).square().sum(1) for point in points])


def inertia(points, centers):
    torch.backends.cuda.matmul.allow_tf32 = False
    total = 0.0
    for part in points.split(1 << 16):
        labels = torch.addmm((centers * centers).sum(1), part, centers.T, alpha=-2).argmin(1)
        total += float((part.double() - centers[labels].double()).square().sum())
    return total


def measure(arguments, ours, folder, case, n, d, k):
    points = make_points(n, d, k, arguments.torch_device)
    start = points[torch.randperm(n, generator=torch.Generator().manual_seed(2))[:k].to(points.device)]
    paths = {what: os.path.join(folder, what + ".npy") for what in ("points", "start", "centers", "labels")}
    np.save(paths["points"], points.cpu().numpy())
    np.save(paths["start"], start.cpu().numpy())
    ours.ask("points " + paths["points"])
    ours.ask("start " + paths["start"])
    os.unlink(paths["points"])

    def run():
        wall, _, updates, *_ = ours.ask(f"run {arguments.iterations}").split()
        return float(wall) / max(1, int(updates))

    run()
    ours.ask(f"write {paths['centers']} {paths['labels']}")
    centers = torch.from_numpy(np.load(paths["centers"])).to(points.device)
    labels = torch.from_numpy(np.load(paths["labels"])).to(points.device)
    chosen = torch.arange(0, n, max(1, n // 64), device=points.device)
    distances = squares(points[chosen], centers)
    own = distances.gather(1, labels[chosen, None])[:, 0]
    if not bool((own <= distances.min(1).values * (1 + 1e-12)).all()):
        raise RuntimeError("wrong: a label is not that of the nearest center")
    reached = {"ours": inertia(points, centers), "torch f32": inertia(points, lloyd(points, start, arguments.iterations, False))}
    # The same steps in f32, but for ties and empty clusters, which ours reseeds.
    if not reached["ours"] < 1.01 * reached["torch f32"]:
        raise RuntimeError(f"wrong: inertia {reached['ours']}, PyTorch reaches {reached['torch f32']}")
    each = lambda tf32: lambda: timed(lambda: lloyd(points, start, arguments.iterations, tf32)) / arguments.iterations
    times = interleaved({"ours": run, "torch f32": each(False), "torch tf32": each(True)}, arguments.repetitions)
    for value in times.values():
        value["tflops"] = 2e-9 * n * d * k / value["median_ms"]
    print(f"kmeans {case}: " + "  ".join(f"{who} {value['median_ms']:.3f} ms" for who, value in times.items())
          + f"  an update, inertia to PyTorch's {reached['ours'] / reached['torch f32']:.6f}", flush=True)
    return {"case": case, "n": n, "d": d, "k": k, "iterations": arguments.iterations, "inertia": reached, "times": times}


def main():
    parser = make_parser(__doc__, "build/cuda/bin/bench_kmeans", repetitions=5, seconds=25)
    parser.add_argument("--iterations", type=int, default=10)
    arguments = parser.parse_args()

    def measure_one(ours, folder, shape):
        case, n, d, k = shape
        k = max(2, k // arguments.scale)
        return measure(arguments, ours, folder, case, max(4 * k, n // arguments.scale), d, k)

    return run_cases("kmeans", arguments, SHAPES, measure_one, "K-means on a GPU, milliseconds per update, from the same start, points resident",
               "PyTorch: addmm (cuBLAS), argmin, index_add_")


if __name__ == "__main__":
    sys.exit(main())
