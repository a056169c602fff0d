#!/usr/bin/env python3
"""Exact k nearest neighbours (squared L2) on a GPU, ours beside PyTorch's matmul (cuBLAS) and topk, alternating.

Vectors, codes and results stay in the GPU's memory, and every search is waited for; a time is the wall time of one search. PyTorch forms |x|^2 - 2 <q, x> for
as many queries at a time as --matrix-bytes allow, in f32, with TF32 and in f16, none of which is exact: `recall` is the share of its
neighbours that are right. Ours is compared with f64 sums over the whole gallery for some queries before anything is timed. Shapes are taken in turn until the
time (--seconds) is used; what was not reached is listed. Writes one JSON file and prints one line per shape. What the figures mean: bench/METHOD.md.

  knn_cuda_torch.py --program build/cuda-static/bin/bench_knn --output knn.json
"""
import os
import sys

import numpy as np
import torch

from gpu_run import make_parser, run_cases
from gpu_timing import interleaved, timed

# name, gallery, queries, d, k: as in knn_peers.py, which says what they are; (d) in full comes last.
SHAPES = [("a", 5000, 10000, 2048, 2), ("b", 655424, 3136, 256, 1), ("c", 1000000, 10000, 128, 10), ("d/10", 1000000, 10000, 96, 10),
          ("one query", 1000000, 1, 128, 10), ("d", 10000000, 10000, 96, 10)]
PEERS = {"torch f32": (torch.float32, False), "torch tf32": (torch.float32, True), "torch f16": (torch.float16, False)}


def make_vectors(count, d, seed, device):
    """max(0, W z), z normal in 32 dimensions: like pooled activations, few of their directions matter."""
    mixing = torch.randn(32, d, generator=torch.Generator().manual_seed(d)).to(device) / 32**0.5
    generator = torch.Generator(device).manual_seed(seed)
    x = torch.empty(count, d, device=device)
    for begin in range(0, count, 1 << 20):
        part = x[begin:begin + (1 << 20)]
        torch.clamp_min(torch.randn(len(part), 32, device=device, generator=generator) @ mixing, 0, out=part)
    return x


class Theirs:
    def __init__(self, gallery, queries, k, dtype, tf32, matrix_bytes):
        self.gallery, self.queries, self.k, self.tf32 = gallery.to(dtype), queries.to(dtype), k, tf32
        self.squares = (gallery * gallery).sum(1).to(dtype)
        self.step = max(1, min(len(queries), matrix_bytes // (len(gallery) * self.gallery.element_size())))

    def search(self):
        torch.backends.cuda.matmul.allow_tf32 = self.tf32
        parts = [torch.topk(torch.addmm(self.squares, part, self.gallery.T, alpha=-2), self.k, largest=False).indices
                 for part in self.queries.split(self.step)]
        return torch.cat(parts)


def exact(gallery, queries, k):
    """The k smallest f64 sums of squared differences of each query."""
    answers = []
    for query in queries:
        sums = torch.cat([(part.double() - query.double()).square().sum(1) for part in gallery.split(1 << 18)])
        answers.append(sums.topk(k, largest=False, sorted=True).values)
    return torch.stack(answers).cpu().numpy()


def verify(name, gallery, queries, k, indices, distances):
    """Ours, on some queries: the distances are the k smallest, and each belongs to its index. PyTorch adds in another order."""
    chosen = list(range(0, len(queries), max(1, len(queries) // 8)))
    expected = exact(gallery, queries[chosen], k)
    rows = gallery[torch.from_numpy(indices[chosen]).to(gallery.device)].double()
    own = (rows - queries[chosen].double()[:, None]).square().sum(2).cpu().numpy()
    if not np.allclose(distances[chosen], expected, rtol=1e-12, atol=0) or not np.allclose(distances[chosen], own, rtol=1e-12, atol=0):
        raise RuntimeError("wrong: not the k nearest")


def measure(arguments, ours, folder, shape):
    name, nb, nq, d, k = shape
    gallery = make_vectors(nb, d, 1, arguments.torch_device)
    queries = make_vectors(nq, d, 2, arguments.torch_device)
    paths = {what: os.path.join(folder, what + ".npy") for what in ("gallery", "queries", "indices", "distances")}
    np.save(paths["gallery"], gallery.cpu().numpy())
    np.save(paths["queries"], queries.cpu().numpy())
    seconds, _, size, codes = ours.ask(f"gallery {paths['gallery']} {arguments.filter}").split()
    os.unlink(paths["gallery"])
    ours.ask("queries " + paths["queries"])
    _, _, survivors, rescanned, kept = ours.ask(f"search {k} 1").split()
    ours.ask(f"write {paths['indices']} {paths['distances']}")
    indices, distances = np.load(paths["indices"]), np.load(paths["distances"])
    verify(name, gallery, queries, k, indices, distances)

    entry = {"case": name, "nb": nb, "nq": nq, "d": d, "k": k, "flop": 2.0 * nb * nq * d, "filter": codes, "prepare_seconds": float(seconds),
             "prepared_bytes": int(size), "survivors_per_query": int(survivors) / nq, "kept_per_query": int(kept) / nq, "rescanned_rows": int(rescanned),
             "recall": {}}
    runs = {"ours": lambda: float(ours.ask(f"search {k} 1").split()[0])}
    truth = torch.from_numpy(indices).to(arguments.torch_device)
    for who, (dtype, tf32) in PEERS.items():
        peer = Theirs(gallery, queries, k, dtype, tf32, arguments.matrix_bytes)
        found = peer.search()
        entry["recall"][who] = float((found[:, :, None] == truth[:, None, :]).any(2).double().mean())
        runs[who] = lambda peer=peer: timed(peer.search)
    entry["times"] = interleaved(runs, arguments.repetitions)
    for value in entry["times"].values():
        value["tflops"] = entry["flop"] * 1e-9 / value["median_ms"]
    shown = "  ".join(f"{who} {value['median_ms']:.3f} ms ({value['tflops']:.0f} TFLOP/s)" for who, value in entry["times"].items())
    print(f"knn {name}: {shown}  kept {entry['kept_per_query']:.1f}, measured {entry['survivors_per_query']:.2f} a query, {rescanned} without filter", flush=True)
    return entry


def main():
    parser = make_parser(__doc__, "build/cuda/bin/bench_knn", repetitions=7, seconds=90)
    parser.add_argument("--filter", default="auto")
    parser.add_argument("--matrix-bytes", type=int, default=4 << 30, help="of PyTorch's matrix of scores")
    arguments = parser.parse_args()

    def measure_one(ours, folder, shape):
        name, nb, nq, d, k = shape
        return measure(arguments, ours, folder, (name, max(k, nb // arguments.scale), max(1, nq // arguments.scale), d, k))

    return run_cases("knn", arguments, SHAPES, measure_one, "exact k nearest neighbours on a GPU, squared L2, f32 vectors, all of it resident",
               "PyTorch addmm (cuBLAS) and topk, not exact", reserved={"d": 30})


if __name__ == "__main__":
    sys.exit(main())
