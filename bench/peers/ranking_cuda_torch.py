#!/usr/bin/env python3
"""Ranking of pixels on a GPU: our sort beside torch.sort, and our pixel metrics beside ROCAUC made of it, alternating.

`sort`: as many i32 as the maps have pixels, in falling order, resident; a time is the wall time of one call, waited for. `rank`: maps in the host's memory to figures;
PyTorch makes ROCAUC alone (upload, sort, cumulative sums, ties counted half), ours also PRO in both kinds, average precision and curves. Before anything is timed, our order is
checked and ROCAUC compared. Cases are taken in turn until the time (--seconds) is used; what was not reached is listed. Writes one JSON file and prints
one line per case. What the figures mean: bench/METHOD.md.

  ranking_cuda_torch.py --program build/cuda-static/bin/bench_ranking --output ranking.json
"""
import os
import sys

import numpy as np
import torch

from gpu_run import make_parser, run_cases
from gpu_timing import interleaved, timed

# name, maps of 224 x 224, levels of the scores (0: as many as f32 has): as in ranking_peers.py, a small test split, MVTec's largest, many ties.
CASES = [("42_maps", 42, 0), ("200_maps", 200, 0), ("200_maps_1000_levels", 200, 1000)]
SIZE = 224


def make_maps(maps, levels, device):
    """Noise whose level rises where a mask is set: squares in every other map."""
    generator = torch.Generator(device).manual_seed(1)
    scores = torch.randn(maps, SIZE, SIZE, device=device, generator=generator).abs_()
    masks = torch.zeros(maps, SIZE, SIZE, dtype=torch.uint8, device=device)
    for i in range(0, maps, 2):
        for square in range(1 + i // 2 % 3):
            y, x, size = 60 * square + i % 20, i * 7 % 180, 10 + i % 30
            masks[i, y:y + size, x:x + size] = 1
    scores += 1.5 * masks
    return (torch.floor(scores * (levels / 8)) if levels else scores).cpu().contiguous(), masks.cpu()


def rocauc(scores, masks, device):
    """Of maps on the host."""
    sorted_scores, order = torch.sort(scores.to(device).flatten(), descending=True)
    labels = masks.to(device).flatten()[order].double()
    ends = torch.ones_like(sorted_scores, dtype=torch.bool)
    ends[:-1] = sorted_scores[1:] != sorted_scores[:-1]
    hits = torch.cumsum(labels, 0)[ends]
    seen = torch.nonzero(ends).flatten() + 1
    zero = torch.zeros(1, dtype=torch.float64, device=device)
    hits, misses = torch.cat([zero, hits]), torch.cat([zero, seen - hits])
    area = ((misses[1:] - misses[:-1]) * (hits[1:] + hits[:-1])).sum() / 2
    return float(area / (hits[-1] * misses[-1]))


def measure(arguments, ours, folder, case, maps, levels):
    scores, masks = make_maps(maps, levels, arguments.torch_device)
    paths = {"scores": os.path.join(folder, "scores.npy"), "masks": os.path.join(folder, "masks.npy")}
    np.save(paths["scores"], scores.numpy())
    np.save(paths["masks"], masks.numpy())
    ours.ask(f"maps {paths['scores']} {paths['masks']}")
    for path in paths.values():
        os.unlink(path)
    expected, found = rocauc(scores, masks, arguments.torch_device), float(ours.ask("rank").split()[4])
    if not abs(found - expected) < 1e-9:
        raise RuntimeError(f"wrong: ROCAUC is {found}, PyTorch says {expected}")
    if ours.ask("sort").split()[2] != "1":
        raise RuntimeError("wrong: not sorted")
    keys = scores.view(torch.int32).flatten().to(arguments.torch_device)
    times = interleaved({"sort ours": lambda: float(ours.ask("sort").split()[0]), "sort torch": lambda: timed(lambda: torch.sort(keys, descending=True)),
                         "rank ours": lambda: float(ours.ask("rank").split()[0]),
                         "rank torch, ROCAUC alone": lambda: timed(lambda: rocauc(scores, masks, arguments.torch_device))}, arguments.repetitions)
    for who, value in times.items():
        value["million_pixels_per_second"] = 1e-3 * scores.numel() / value["median_ms"]
    print(f"ranking {case}: " + "  ".join(f"{who} {value['median_ms']:.3f} ms" for who, value in times.items()), flush=True)
    return {"case": case, "pixels": scores.numel(), "anomalous": int(masks.sum()), "pixel_auroc": found, "times": times}


def main():
    arguments = make_parser(__doc__, "build/cuda/bin/bench_ranking", repetitions=7, seconds=25).parse_args()

    def measure_one(ours, folder, one):
        case, maps, levels = one
        return measure(arguments, ours, folder, case, max(2, maps // arguments.scale), levels)

    return run_cases("ranking", arguments, CASES, measure_one, "sorting the scores of pixels on a GPU, and pixel metrics of maps in the host's memory",
               "torch.sort; ROCAUC made of it")


if __name__ == "__main__":
    sys.exit(main())
