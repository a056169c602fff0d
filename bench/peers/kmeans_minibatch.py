#!/usr/bin/env python3
"""K-means in minibatches: ours beside scikit-learn's MiniBatchKMeans, alternating, over several seeds.

Both get the same f32 points, the same size of minibatches, the same bound on passes, and stop after ten minibatches without a lower smoothed inertia. Twice: from starts
of their own (k-means++ of a sample of three minibatches, scikit-learn's greedy) and from the same drawn points. Inertia is that of each one's centers in f64, by NumPy
from faiss's labels; Lloyd's from our k-means++ (25 updates) stands beside. Before anything is timed, ours must give the same centers twice. Writes one JSON file.

  OPENBLAS_CORETYPE=SKYLAKEX kmeans_minibatch.py --threads 1 --clock cpu --output bench/results/<machine>/<date>-<commit>-kmeans-minibatch.json
"""
import argparse
import json
import os
import pathlib
import statistics
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", default="build/release/bin/bench_kmeans")
parser.add_argument("--output", required=True)
parser.add_argument("--only", default="", help="cases whose name contains this")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: processor seconds, for a busy machine and one thread")
parser.add_argument("--passes", type=int, default=10)
parser.add_argument("--seeds", type=int, default=5)
arguments = parser.parse_args()
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = str(arguments.threads)

import numpy as np  # noqa: E402  (after the environment is set)
import sklearn  # noqa: E402
from sklearn.cluster import MiniBatchKMeans  # noqa: E402

from child import Child  # noqa: E402
from kmeans_points import inertia, make_points  # noqa: E402
from machine_facts import command_output, processor_facts  # noqa: E402

# name, points, d, k, points of a minibatch
SHAPES = [("n1e5_d64_k256_b1024", 100000, 64, 256, 1024), ("n1e5_d64_k256_b4096", 100000, 64, 256, 4096), ("n1e5_d128_k1000_b4096", 100000, 128, 1000, 4096),
          ("n5e4_d512_k50_b1024", 50000, 512, 50, 1024), ("n1e6_d32_k256_b1024", 1000000, 32, 256, 1024)]
PATIENCE = 10


class Ours(Child):
    def __init__(self, folder):
        super().__init__([arguments.program], PANDA_THREADS=str(arguments.threads))
        self.folder = folder

    def centers(self):
        self.ask(f"write {self.folder}/c.npy {self.folder}/l.npy")
        return np.load(self.folder / "c.npy")

    def learn(self, k, size, seed, start):
        how = f"learn_on {size}" if start is not None else f"learn {k} {size}"
        wall, cpu, minibatches, passes = self.ask(f"{how} {arguments.passes} {PATIENCE} {seed}").split()
        seconds = float(cpu if arguments.clock == "cpu" else wall)
        self.ask("choose_labels")
        return self.centers(), seconds, int(minibatches), int(passes)


def run_sklearn(points, k, size, seed, start):
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    begin = clock()
    fitted = MiniBatchKMeans(k, init="k-means++" if start is None else start, n_init=1, batch_size=size, max_iter=arguments.passes, max_no_improvement=PATIENCE,
                             compute_labels=False, random_state=seed).fit(points)
    seconds = clock() - begin
    return np.ascontiguousarray(fitted.cluster_centers_, dtype=np.float32), seconds, int(fitted.n_steps_), int(fitted.n_iter_)


def compare(ours, points, k, size, starts, folder):
    """Runs of both for each seed; `starts`: one start per seed, or None for their own."""
    runs = {"ours": [], "sklearn": []}
    for seed in range(arguments.seeds):
        start = None if starts is None else starts[seed]
        if start is not None:
            np.save(folder / "start.npy", start)
            ours.ask(f"start {folder}/start.npy")
        if seed == 0 and not np.array_equal(ours.learn(k, size, seed, start)[0], ours.learn(k, size, seed, start)[0]):
            raise RuntimeError("the same run gives other centers")
        for who, run in (("ours", lambda: ours.learn(k, size, seed, start)), ("sklearn", lambda: run_sklearn(points, k, size, seed, start))):
            centers, seconds, minibatches, passes = run()
            runs[who].append({"seed": seed, "inertia": inertia(points, centers), "seconds": seconds, "minibatches": minibatches, "passes": passes})
    mean = {who: statistics.mean(run["inertia"] for run in each) for who, each in runs.items()}
    per_minibatch = {who: min(run["seconds"] / run["minibatches"] for run in each) for who, each in runs.items()}
    least = {who: min(run["seconds"] for run in each) for who, each in runs.items()}
    return {"runs": runs, "mean_inertia": mean, "inertia_to_sklearn": mean["ours"] / mean["sklearn"], "min_seconds": least,
            "min_seconds_per_minibatch": per_minibatch, "ratio_of_minima": least["sklearn"] / least["ours"],
            "ratio_per_minibatch": per_minibatch["sklearn"] / per_minibatch["ours"]}


def main():
    load_before, results = os.getloadavg(), []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        ours = Ours(folder)
        for case, n, d, k, size in SHAPES:
            if arguments.only not in case:
                continue
            points = make_points(n, d, k, 1)
            np.save(folder / "points.npy", points)
            ours.ask(f"points {folder}/points.npy")
            starts = [points[np.random.default_rng(seed).choice(n, k, replace=False)] for seed in range(arguments.seeds)]
            result = {"case": case, "n": n, "d": d, "k": k, "minibatch": size, "own_start": compare(ours, points, k, size, None, folder),
                      "same_start": compare(ours, points, k, size, starts, folder)}
            ours.ask(f"choose {k} 0")
            np.save(folder / "start.npy", ours.centers())
            ours.ask(f"start {folder}/start.npy")
            ours.ask("run 25")
            result["lloyd_inertia"] = inertia(points, ours.centers())
            results.append(result)
            print(case, *(f"{how}: inertia to sklearn's {result[how]['inertia_to_sklearn']:.4f}, to Lloyd's {result[how]['mean_inertia']['ours'] / result['lloyd_inertia']:.4f}, "
                          f"times {result[how]['ratio_of_minima']:.2f}, per minibatch {result[how]['ratio_per_minibatch']:.2f} " for how in ("own_start", "same_start")), flush=True)
            report = {"what": "K-means in minibatches, whole runs", "machine": processor_facts(), "device": ours.description, "threads": arguments.threads,
                      "clock": arguments.clock, "passes": arguments.passes, "patience": PATIENCE, "seeds": arguments.seeds,
                      "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE", ""), "scikit_learn": sklearn.__version__,
                      "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d"), "load_average_before": load_before,
                      "load_average_after": os.getloadavg(), "results": results}
            pathlib.Path(arguments.output).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
