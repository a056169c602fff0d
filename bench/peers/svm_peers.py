#!/usr/bin/env python3
"""The one-class SVM, ours beside scikit-learn's OneClassSVM (LIBSVM), alternating.

Both get the same features: those of a part of a network are many correlated, positive numbers, so a Gaussian of falling variance is drawn, its negative values cut
(ReLU), f32. Both keep up to a gigabyte of kernel rows and stop at the same violation. Before anything is timed, the decision values of the queries are compared.
Writes one JSON file; what the figures mean: bench/METHOD.md.

  svm_peers.py --threads 1 --clock cpu --output bench/results/<machine>/<date>-<commit>-svm.json
"""
import argparse
import json
import os
import pathlib
import tempfile
import time

import numpy as np
import sklearn
from sklearn.svm import OneClassSVM

from child import Child
from machine_facts import command_output, processor_facts

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", default="build/release/bin/bench_svm")
parser.add_argument("--output", required=True)
parser.add_argument("--only", default="", help="cases whose name contains this")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--clock", choices=["wall", "cpu"], default="cpu", help="cpu: processor seconds, for a busy machine and one thread")
parser.add_argument("--repetitions", type=int, default=3)
arguments = parser.parse_args()

MEMORY_MIB, QUERIES = 1024, 500
# name, n, d, nu, tolerance; gamma is scikit-learn's "scale".
CASES = [("1000x512", 1000, 512, 0.5, 1e-3), ("3000x512", 3000, 512, 0.5, 1e-3), ("3000x512_nu_0.1", 3000, 512, 0.1, 1e-3), ("3000x512_exact", 3000, 512, 0.5, 1e-6)]


def make_features(n, d):
    generator = np.random.default_rng(1)
    mixing = generator.standard_normal((d, d), dtype=np.float32) * np.linspace(1, 0.05, d, dtype=np.float32)[:, None] / np.float32(d**0.5)
    draw = lambda count: np.maximum(generator.standard_normal((count, d), dtype=np.float32) @ mixing + np.float32(0.2), np.float32(0))
    return draw(n), draw(QUERIES)


def main():
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    load_before, results = os.getloadavg(), []
    ours = Child([arguments.program], PANDA_THREADS=str(arguments.threads))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for case, n, d, nu, tolerance in CASES:
            if arguments.only not in case:
                continue
            features, queries = make_features(n, d)
            np.save(folder / "features.npy", features)
            np.save(folder / "queries.npy", queries)
            ours.ask(f"features {folder}/features.npy {folder}/queries.npy")
            as_double, queries_as_double = features.astype(np.float64), queries.astype(np.float64)
            gamma = float(1 / (d * as_double.var()))
            machine = OneClassSVM(nu=nu, gamma=gamma, tol=tolerance, cache_size=MEMORY_MIB, shrinking=True)
            times = {who: [] for who in ["fit ours", "fit sklearn", "score ours", "score sklearn"]}

            def run_ours():
                wall, cpu, score_wall, score_cpu, *rest = (float(v) for v in ours.ask(f"fit {nu!r} {gamma!r} {tolerance!r} {MEMORY_MIB}").split())
                return (cpu, score_cpu) if arguments.clock == "cpu" else (wall, score_wall), rest

            def run_peer():
                begin = clock()
                machine.fit(as_double)
                fitted = clock()
                values = machine.decision_function(queries_as_double)
                return (fitted - begin, clock() - fitted), values

            rho, support, _ = run_ours()[1]
            ours.ask(f"scores {folder}/scores.npy")
            expected = run_peer()[1]
            difference = float(np.abs(np.load(folder / "scores.npy") + expected).max())
            # Each is within its tolerance of the optimum, in G as in rho.
            if not difference <= 4 * tolerance:
                raise RuntimeError(f"{case}: decision values differ by {difference}, of a rho of {rho}")
            for _ in range(arguments.repetitions):
                for who, run in (("ours", run_ours), ("sklearn", run_peer)):
                    fit, score = run()[0]
                    times[f"fit {who}"].append(fit)
                    times[f"score {who}"].append(score)
            least = {who: min(seconds) for who, seconds in times.items()}
            results.append({"case": case, "n": n, "d": d, "queries": QUERIES, "nu": nu, "gamma": gamma, "tolerance": tolerance, "rho": rho, "support_vectors": int(support),
                            "support_vectors_of_sklearn": len(machine.support_), "largest_difference": difference, "seconds": times, "min": least,
                            "ratio_of_minima": {what: least[f"{what} sklearn"] / least[f"{what} ours"] for what in ("fit", "score")}})
            print(f"{case}: " + "  ".join(f"{who} {1e3 * seconds:.1f} ms" for who, seconds in least.items()) + f"  difference {difference:.1e} of rho {rho:.1f}", flush=True)
            report = {"what": "one-class SVM: fit and decision values of the queries, seconds", "machine": processor_facts(), "device": ours.description,
                      "threads": arguments.threads, "clock": arguments.clock, "numpy": np.__version__, "scikit_learn": sklearn.__version__,
                      "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d"),
                      "load_average_before": load_before, "load_average_after": os.getloadavg(), "results": results}
            pathlib.Path(arguments.output).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
