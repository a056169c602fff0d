#!/usr/bin/env python3
"""Exact k nearest neighbours (squared L2), ours beside faiss-cpu's IndexFlatL2 and scikit-learn's brute force, alternating.

All get the same f32 vectors and the same number of threads; what is prepared once (our codes, faiss's index, scikit-learn's fit) is
not in the search times. Before anything is timed, our answer is compared with f64 sums over the whole gallery for some queries
(indices and distances must be equal), and the peers' indices with ours. Writes one JSON file. What the figures mean: bench/METHOD.md.

  OPENBLAS_CORETYPE=SKYLAKEX knn_peers.py --program build/release/bin/bench_knn --cases shapes --output bench/results/<machine>/<date>-<commit>-knn.json

faiss-cpu's wheel carries an OpenBLAS that takes its slowest kernels on processors it does not know; OPENBLAS_CORETYPE gives it the
right ones (SKYLAKEX: AVX-512, HASWELL: AVX2).
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", required=True)
parser.add_argument("--output", required=True)
parser.add_argument("--cases", choices=["shapes", "grid"], default="shapes")
parser.add_argument("--only", default="", help="cases whose name contains this, or one of these, comma-separated")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: processor seconds, for a busy machine and one thread")
parser.add_argument("--repetitions", type=int, default=5)
parser.add_argument("--filters", default="auto", help="comma-separated filters of ours")
parser.add_argument("--isa", default="", help="instruction set of ours (PANDA_ISA)")
parser.add_argument("--data", choices=["features", "normal"], default="features")
parser.add_argument("--max-flop", type=float, default=1e13, help="queries are cut so that 2 nq nb d stays below")
parser.add_argument("--sklearn-flop", type=float, default=3e11, help="scikit-learn takes part below this many operations")
arguments = parser.parse_args()
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = str(arguments.threads)

import faiss  # noqa: E402  (after the environment is set)
import numpy as np  # noqa: E402
import sklearn  # noqa: E402
from sklearn.neighbors import NearestNeighbors  # noqa: E402

# name, gallery, queries, d, k. (a) DN2 on CIFAR-10, (b) SPADE's pixel gallery, (c) and (d) the sizes of SIFT1M and DEEP10M; (d) at a tenth of its gallery.
SHAPES = [("a", 5000, 10000, 2048, 2), ("b", 655424, 3136, 256, 1), ("c", 1000000, 10000, 128, 10), ("d/10", 1000000, 10000, 96, 10)]
GRID = [(f"nq{nq}_nb{nb}_d{d}_k{k}", nb if nb * d <= 5e8 else int(5e8 // d), nq, d, k)
        for d in (64, 256, 2048) for nb in (1000, 100000, 1000000) for nq in (1, 16, 1024) for k in (1, 10, 100)]


def processor_facts():
    info = open("/proc/cpuinfo").read()
    field = lambda name: (re.search(rf"^{name}\s*:\s*(.*)$", info, re.M) or [None, ""])[1]
    return {"model": field("model name"), "family": field("cpu family"), "model_number": field("model"), "cores": os.cpu_count(),
            "vnni": "avx512_vnni" in field("flags"), "system": platform.platform()}


def command_output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def make_vectors(count, d, seed):
    """features: max(0, W z), z normal in 32 dimensions: like pooled activations, few of their directions matter. normal: no structure."""
    generator = np.random.default_rng(seed)
    if arguments.data == "normal":
        return generator.standard_normal((count, d), dtype=np.float32)
    mixing = np.random.default_rng(d).standard_normal((32, d), dtype=np.float32) / np.float32(np.sqrt(32))
    x = np.empty((count, d), np.float32)
    for begin in range(0, count, 65536):
        part = x[begin:begin + 65536]
        np.maximum(generator.standard_normal((len(part), 32), dtype=np.float32) @ mixing, 0, out=part)
    return x


class Ours:
    """bench_knn as a child; each call is one line to it and one line back."""

    def __init__(self):
        environment = dict(os.environ, PANDA_THREADS=str(arguments.threads))
        if arguments.isa:
            environment["PANDA_ISA"] = arguments.isa
        self.process = subprocess.Popen([arguments.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.description = self.process.stdout.readline().strip()

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"bench_knn died at '{line}'")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def verify(name, gallery, queries, k, indices, distances):
    """The defined answer of some queries: f64 sums of squared differences, ordered by (distance, index)."""
    sample = range(0, len(queries), max(1, len(queries) // 5))
    for query in sample:
        exact = np.empty(len(gallery))
        for begin in range(0, len(gallery), 50000):
            difference = gallery[begin:begin + 50000].astype(np.float64) - queries[query].astype(np.float64)
            exact[begin:begin + 50000] = np.einsum("ij,ij->i", difference, difference)
        order = np.lexsort((np.arange(len(exact)), exact))[:k]
        # NumPy adds in another order: indices may differ only where its distances are equal to rounding.
        if not np.allclose(exact[order], distances[query], rtol=1e-12, atol=0):
            raise RuntimeError(f"{name}: query {query}: distances differ")
        if not np.allclose(exact[indices[query]], distances[query], rtol=1e-12, atol=0):
            raise RuntimeError(f"{name}: query {query}: indices and distances do not belong together")


def read_speed():
    """GB/s of one thread that reads memory: the roof of a single query."""
    x = np.ones(1 << 27, np.float32)
    times = []
    for _ in range(5):
        start = time.process_time() if arguments.threads == 1 else time.perf_counter()
        np.dot(x, x)
        times.append((time.process_time() if arguments.threads == 1 else time.perf_counter()) - start)
    return x.nbytes * 1e-9 / min(times)


def measure(name, nb, nq, d, k, folder, data):
    asked_nq = nq
    nq = max(1, min(nq, int(arguments.max_flop / (2.0 * nb * d))))
    flop = 2.0 * nq * nb * d
    gallery, gallery_path, index, fits = data["gallery"], data["path"], data["index"], data["fits"]
    queries = np.ascontiguousarray(data["queries"][:nq])
    query_path = os.path.join(folder, "queries.npy")
    np.save(query_path, queries)
    entry = {"case": name, "nb": nb, "nq": nq, "asked_nq": asked_nq, "d": d, "k": k, "flop": flop, "ours": {}, "peers": {}}
    times = {}
    inner = int(max(1, min(2000, 2e8 / flop)))  # short searches are repeated, and the fastest counts

    runs = {}
    for filter_name, ours in data["ours"].items():
        ours.ask("queries " + query_path)
        ours.ask(f"search {k} 1")
        ours.ask(f"write {folder}/i.npy {folder}/d.npy")
        indices, distances = np.load(folder + "/i.npy"), np.load(folder + "/d.npy")
        verify(name, gallery, queries, k, indices, distances)
        runs["ours " + filter_name] = lambda ours=ours: ours.ask(f"search {k} {inner}").split()
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time

    def timed(function):
        best = 1e30
        for _ in range(inner):
            start = clock()
            function()
            best = min(best, clock() - start)
        return best

    agreement = np.mean([len(np.intersect1d(a, b)) for a, b in zip(index.search(queries, k)[1], indices)]) / k
    runs["faiss"] = lambda: timed(lambda: index.search(queries, k))
    if flop <= arguments.sklearn_flop and k <= nb:
        if "sklearn" not in fits:
            fits["sklearn"] = NearestNeighbors(algorithm="brute", metric="euclidean", n_jobs=arguments.threads).fit(gallery)
        runs["sklearn"] = lambda: timed(lambda: fits["sklearn"].kneighbors(queries, k))
    for repetition in range(arguments.repetitions):
        for who, run in runs.items():
            result = run()
            if isinstance(result, list):
                entry["ours"].setdefault(who[5:], {}).update(survivors_per_query=int(result[2]) / nq, rescanned_rows=int(result[3]))
                result = float(result[arguments.clock == "cpu"])
            times.setdefault(who, []).append(result)
    peers = {who: seconds for who, seconds in times.items() if not who.startswith("ours")}
    fastest = min(peers, key=lambda who: min(peers[who]))
    entry["fastest_peer"] = fastest
    entry["faiss_same_neighbours"] = float(agreement)
    for who, seconds in times.items():
        place = entry["ours"][who[5:]] if who.startswith("ours") else entry["peers"].setdefault(who, {})
        place.update(seconds=seconds, median=statistics.median(seconds), min=min(seconds), gflops=flop * 1e-9 / min(seconds),
                     queries_per_second=nq / min(seconds))
        if who.startswith("ours"):
            place["ratio_of_minima"] = min(times[fastest]) / min(seconds)
            place["ratio_of_medians"] = statistics.median(times[fastest]) / statistics.median(seconds)
    shown = "  ".join(f"{who} {min(seconds) * 1e3:.3f} ms" for who, seconds in times.items())
    print(f"{name}: {shown}  ratio {max(one['ratio_of_minima'] for one in entry['ours'].values()):.2f}", flush=True)
    return entry


def main():
    faiss.omp_set_num_threads(arguments.threads)
    cases = [case for case in (SHAPES if arguments.cases == "shapes" else GRID) if any(part in case[0] for part in arguments.only.split(","))]
    load_before = os.getloadavg()
    bandwidth = read_speed()
    results = []
    description = ""
    with tempfile.TemporaryDirectory() as folder:
        data = None
        for name, nb, nq, d, k in cases:
            if data is None or data["shape"] != (nb, d):
                if data is not None:
                    for ours in data["ours"].values():
                        ours.close()
                data = None
                most = max(case[2] for case in cases if case[1] == nb and case[3] == d)
                gallery = make_vectors(nb, d, 1)
                data = {"shape": (nb, d), "gallery": gallery, "path": os.path.join(folder, "gallery.npy"), "queries": make_vectors(most, d, 2),
                        "fits": {}, "ours": {}, "prepared": {}}
                np.save(data["path"], gallery)
                for filter_name in arguments.filters.split(","):
                    ours = data["ours"][filter_name] = Ours()
                    description = ours.description
                    wall, cpu, size, codes = ours.ask(f"gallery {data['path']} {filter_name}").split()
                    data["prepared"][filter_name] = {"seconds": float(cpu if arguments.clock == "cpu" else wall), "bytes": int(size), "filter": codes}
                data["index"] = faiss.IndexFlatL2(d)
                data["index"].add(gallery)
            entry = measure(name, nb, nq, d, k, folder, data)
            for filter_name, prepared in data["prepared"].items():
                entry["ours"][filter_name]["prepared"] = prepared
            results.append(entry)
            write(results, description, load_before, bandwidth)


def write(results, description, load_before, bandwidth):
    report = {"what": "exact k nearest neighbours, squared L2, f32 vectors", "data": arguments.data, "machine": processor_facts(), "device": description, "read_gbytes_per_second": bandwidth,
              "threads": arguments.threads, "clock": arguments.clock, "repetitions": arguments.repetitions, "faiss": faiss.__version__,
              "faiss_compile_options": faiss.get_compile_options().strip(), "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE", ""),
              "scikit_learn": sklearn.__version__, "compiler": command_output("c++", "--version").split("\n")[0],
              "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d"),
              "load_average_before": load_before, "load_average_after": os.getloadavg(), "results": results}
    os.makedirs(os.path.dirname(arguments.output) or ".", exist_ok=True)
    with open(arguments.output, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
