#!/usr/bin/env python3
"""K-means from the same start, ours beside faiss-cpu's Clustering and scikit-learn's KMeans (Lloyd and Elkan), alternating.

All get the same f32 points and centers, the same number of updates without a tolerance, and the same number of threads. Before anything is timed, our labels are
compared with faiss's exact nearest centers. Inertia is that of each one's centers in f64, by NumPy from faiss's labels. A time is that of a whole run divided by the
updates made: ours and scikit-learn's contain the labels of the last centers, faiss's does not. Writes one JSON file. What the figures mean: bench/METHOD.md.

  OPENBLAS_CORETYPE=SKYLAKEX kmeans_peers.py --output bench/results/<machine>/<date>-<commit>-kmeans.json
"""
import argparse
import json
import os
import pathlib
import statistics
import tempfile
import time
import warnings

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", default="build/release/bin/bench_kmeans")
parser.add_argument("--output", required=True)
parser.add_argument("--only", default="", help="cases whose name contains this")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: processor seconds, for a busy machine and one thread")
parser.add_argument("--iterations", type=int, default=10)
parser.add_argument("--repetitions", type=int, default=3)
arguments = parser.parse_args()
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = str(arguments.threads)

import faiss  # noqa: E402  (after the environment is set)
import numpy as np  # noqa: E402
import sklearn  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402

from child import Child  # noqa: E402
from kmeans_points import inertia, make_points, nearest  # noqa: E402
from machine_facts import command_output, processor_facts  # noqa: E402

# name, points, d, k: descriptors, product-quantiser training, SPADE's layers with 50 centers, DN2's features with 100.
SHAPES = [("n1e5_d64_k256", 100000, 64, 256), ("n1e5_d128_k1000", 100000, 128, 1000), ("n5e4_d512_k50", 50000, 512, 50),
          ("n2e4_d2048_k100", 20000, 2048, 100), ("n1e6_d32_k256", 1000000, 32, 256)]


class Ours(Child):
    def __init__(self):
        super().__init__([arguments.program], PANDA_THREADS=str(arguments.threads))

    def run(self):
        wall, cpu, iterations, _, _ = self.ask(f"run {arguments.iterations}").split()
        return float(cpu if arguments.clock == "cpu" else wall) / int(iterations)


def run_faiss(points, start):
    clustering = faiss.Clustering(points.shape[1], len(start))
    clustering.niter = arguments.iterations
    clustering.max_points_per_centroid = len(points)  # no sample
    clustering.min_points_per_centroid = 1
    faiss.copy_array_to_vector(start.ravel(), clustering.centroids)
    clustering.train(points, faiss.IndexFlatL2(points.shape[1]))
    return faiss.vector_to_array(clustering.centroids).reshape(start.shape), arguments.iterations


def run_sklearn(points, start, algorithm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        fitted = KMeans(len(start), init=start, n_init=1, max_iter=arguments.iterations, tol=0, algorithm=algorithm, copy_x=True).fit(points)
    return fitted.cluster_centers_, fitted.n_iter_


def main():
    faiss.omp_set_num_threads(arguments.threads)
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    load_before, results = os.getloadavg(), []
    ours = Ours()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for case, n, d, k in SHAPES:
            if arguments.only not in case:
                continue
            points = make_points(n, d, k, 1)
            start = points[np.random.default_rng(2).choice(n, k, replace=False)]
            np.save(folder / "points.npy", points)
            np.save(folder / "start.npy", start)
            ours.ask(f"points {folder}/points.npy")
            ours.ask(f"start {folder}/start.npy")
            ours.run()
            ours.ask(f"write {folder}/c.npy {folder}/l.npy")
            centers, labels = np.load(folder / "c.npy"), np.load(folder / "l.npy")
            differ = np.flatnonzero(labels != nearest(points, centers))
            x = points[differ].astype(np.float64)
            theirs = nearest(points[differ], centers) if len(differ) else labels[:0]
            own = np.square(x - centers[labels[differ]].astype(np.float64)).sum(1)
            if (own > np.square(x - centers[theirs].astype(np.float64)).sum(1) * (1 + 1e-12)).any():
                raise RuntimeError(f"{case}: faiss knows nearer centers")
            peers = {"faiss": lambda: run_faiss(points, start), "sklearn lloyd": lambda: run_sklearn(points, start, "lloyd"),
                     "sklearn elkan": lambda: run_sklearn(points, start, "elkan")}
            times = {who: [] for who in ("ours", *peers)}
            reached = {"ours": inertia(points, centers)}
            for _ in range(arguments.repetitions):
                times["ours"].append(ours.run())
                for who, run in peers.items():
                    begin = clock()
                    found, iterations = run()
                    times[who].append((clock() - begin) / iterations)
                    reached[who] = inertia(points, np.ascontiguousarray(found, dtype=np.float32))
            least = {who: min(seconds) for who, seconds in times.items()}
            fastest = min(peers, key=least.get)
            results.append({"case": case, "n": n, "d": d, "k": k, "iterations": arguments.iterations, "seconds_per_iteration": times, "min": least,
                            "gflops": 2e-9 * n * d * k / least["ours"], "fastest_peer": fastest, "ratio_of_minima": least[fastest] / least["ours"],
                            "ratio_to_each": {who: least[who] / least["ours"] for who in peers}, "inertia": reached})
            shown = "  ".join(f"{who} {1e3 * seconds:.1f} ms" for who, seconds in least.items())
            print(f"{case}: {shown}  ratio {results[-1]['ratio_of_minima']:.2f}  inertia to ours "
                  + "  ".join(f"{who} {reached[who] / reached['ours']:.6f}" for who in peers), flush=True)
            report = {"what": "K-means, seconds per update, from the same start", "machine": processor_facts(), "device": ours.description, "threads": arguments.threads,
                      "clock": arguments.clock, "faiss": faiss.__version__, "faiss_compile_options": faiss.get_compile_options().strip(),
                      "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE", ""), "scikit_learn": sklearn.__version__,
                      "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d"), "load_average_before": load_before,
                      "load_average_after": os.getloadavg(), "results": results}
            pathlib.Path(arguments.output).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
