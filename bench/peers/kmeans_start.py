#!/usr/bin/env python3
"""What choosing centers by k-means++ costs: two builds of bench_kmeans, alternating, which must choose the same centers.

A time is that of choosing and labelling (`choose`) less that of labelling alone (`choose_labels`). Writes one JSON file.

  kmeans_start.py --before OTHER_BUILD/bin/bench_kmeans --before-commit COMMIT --output bench/results/<machine>/<date>-<commit>-kmeans-start.json
"""
import argparse
import json
import os
import pathlib
import tempfile
import time

import numpy as np

from child import Child
from kmeans_points import make_points
from machine_facts import command_output, processor_facts

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", default="build/release/bin/bench_kmeans")
parser.add_argument("--before", required=True, help="the program of the other build")
parser.add_argument("--before-commit", required=True, help="what it was built from, for the JSON")
parser.add_argument("--output", required=True)
parser.add_argument("--only", default="", help="cases whose name contains this")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--repetitions", type=int, default=3)
arguments = parser.parse_args()

# name, points, d, k; "normal": points without clusters, of which nearly none can be left out.
SHAPES = [("n1e5_d64_k256", 100000, 64, 256), ("n1e5_d128_k1000", 100000, 128, 1000), ("n5e4_d512_k50", 50000, 512, 50), ("n2e4_d2048_k100", 20000, 2048, 100),
          ("n1e6_d32_k64", 1000000, 32, 64), ("normal_n1e5_d64_k256", 100000, 64, 256)]


def seconds_of(child, k):
    both = float(child.ask(f"choose {k} 0").split()[1])
    return both - float(child.ask("choose_labels").split()[1])


def main():
    load_before, results = os.getloadavg(), []
    programs = {"after": arguments.program, "before": arguments.before}
    children = {which: Child([program], PANDA_THREADS=str(arguments.threads)) for which, program in programs.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for case, n, d, k in SHAPES:
            if arguments.only not in case:
                continue
            normal = case.startswith("normal")
            np.save(folder / "points.npy", np.random.default_rng(1).standard_normal((n, d), dtype=np.float32) if normal else make_points(n, d, k, 1))
            centers, times = {}, {which: [] for which in children}
            for which, child in children.items():
                child.ask(f"points {folder}/points.npy")
                child.ask(f"choose {k} 0")
                child.ask(f"write {folder}/c.npy {folder}/l.npy")
                centers[which] = np.load(folder / "c.npy").tobytes()
            if centers["after"] != centers["before"]:
                raise RuntimeError(f"{case}: the two builds choose different centers")
            for _ in range(arguments.repetitions):
                for which, child in children.items():
                    times[which].append(seconds_of(child, k))
            least = {which: min(each) for which, each in times.items()}
            results.append({"case": case, "n": n, "d": d, "k": k, "processor_seconds": times, "min": least, "ratio_of_minima": least["before"] / least["after"]})
            print(f"{case}: {least['before']:.3f} s before, {least['after']:.3f} s after, ratio {results[-1]['ratio_of_minima']:.2f}", flush=True)
            report = {"what": "choosing centers by k-means++, processor seconds", "machine": processor_facts(), "device": children["after"].description,
                      "threads": arguments.threads, "commit": command_output("git", "rev-parse", "--short", "HEAD"), "before_commit": arguments.before_commit,
                      "date": time.strftime("%Y-%m-%d"), "load_average_before": load_before, "load_average_after": os.getloadavg(), "results": results}
            pathlib.Path(arguments.output).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
