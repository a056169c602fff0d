#!/usr/bin/env python3
"""Pixel metrics and the sort below them, ours beside NumPy's sort and scikit-learn's ROCAUC, alternating.

All get the same maps: noise whose level rises where a mask is set, discs in every other map, as f32; beside them the same scores rounded to 1,000 levels. Before
anything is timed, our ROCAUC is compared with scikit-learn's, and our sort with NumPy's. NumPy sorts i32 with one thread and vectors; scikit-learn gives ROCAUC alone,
we also PRO in both kinds, average precision and curves. `--before` names the same program of an earlier commit. Writes one JSON file; what the figures
mean: bench/METHOD.md.

  ranking_peers.py --threads 1 --clock cpu --output bench/results/<machine>/<date>-<commit>-ranking.json
"""
import argparse
import json
import os
import pathlib
import tempfile
import time

import numpy as np
import sklearn
from sklearn.metrics import roc_auc_score

from child import Child
from machine_facts import command_output, processor_facts

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", default="build/release/bin/bench_ranking")
parser.add_argument("--before", default="", help="the same program of an earlier commit")
parser.add_argument("--before-commit", default="")
parser.add_argument("--output", required=True)
parser.add_argument("--only", default="", help="cases whose name contains this")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--clock", choices=["wall", "cpu"], default="cpu", help="cpu: processor seconds, for a busy machine and one thread")
parser.add_argument("--repetitions", type=int, default=5)
arguments = parser.parse_args()

SIZE = 224
# name, maps, levels of the scores (0: as many as f32 has): a small test split, one of MVTec's largest, and many ties.
CASES = [("42_maps", 42, 0), ("200_maps", 200, 0), ("200_maps_1000_levels", 200, 1000)]


def make_maps(maps, levels, seed=1):
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    scores = np.abs(generator.standard_normal((maps, SIZE, SIZE), dtype=np.float32))
    masks = np.zeros((maps, SIZE, SIZE), dtype=np.uint8)
    for i in range(0, maps, 2):
        for _ in range(1 + i % 3):
            y, x, radius = generator.integers(0, SIZE, 2).tolist() + [int(generator.integers(5, 25))]
            masks[i] |= ((rows - y) ** 2 + (columns - x) ** 2 < radius**2).astype(np.uint8)
    scores += np.float32(1.5) * masks
    return (np.floor(scores * np.float32(levels / 8)) if levels else scores), masks


class Ours(Child):
    def __init__(self, program):
        super().__init__([program], PANDA_THREADS=str(arguments.threads))

    def run(self, command):
        wall, cpu, *rest = self.ask(command).split()
        return float(cpu if arguments.clock == "cpu" else wall), [float(value) for value in rest]

    def rank(self):
        """Seconds of all, seconds of what comes after the last map, the figures."""
        seconds, (end_wall, end_cpu, *figures) = self.run("rank")
        return seconds, end_cpu if arguments.clock == "cpu" else end_wall, figures


def main():
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    load_before, results = os.getloadavg(), []
    programs = {"ours": Ours(arguments.program)}
    if arguments.before:
        programs["before"] = Ours(arguments.before)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for case, maps, levels in CASES:
            if arguments.only not in case:
                continue
            scores, masks = make_maps(maps, levels)
            np.save(folder / "scores.npy", scores)
            np.save(folder / "masks.npy", masks)
            for program in programs.values():
                program.ask(f"maps {folder}/scores.npy {folder}/masks.npy")
            keys = scores.view(np.int32).ravel()
            figures = {who: program.rank()[2] for who, program in programs.items()}
            expected = roc_auc_score(masks.ravel(), scores.ravel())
            for who, values in figures.items():
                if abs(values[0] - expected) > 1e-12 or values != figures["ours"]:
                    raise RuntimeError(f"{case}: {who} gives {values}, ours {figures['ours']}, scikit-learn's ROCAUC is {expected}")
            if not programs["ours"].run("sort")[1][0]:
                raise RuntimeError(f"{case}: not sorted")

            def timed(work):
                begin = clock()
                work()
                return clock() - begin

            ends = []

            def rank_ours():
                seconds, end, _ = programs["ours"].rank()
                ends.append(end)
                return seconds

            runs = {"rank ours": rank_ours,
                    "rank sklearn_rocauc_alone": lambda: timed(lambda: roc_auc_score(masks.ravel(), scores.ravel())),
                    "sort ours": lambda: programs["ours"].run("sort")[0], "sort numpy": lambda: timed(lambda: np.sort(keys))}
            if "before" in programs:
                runs["rank before"] = lambda: programs["before"].run("rank")[0]
            times = {who: [] for who in runs}
            for _ in range(arguments.repetitions):
                for who, run in runs.items():
                    times[who].append(run())
            least = {who: min(seconds) for who, seconds in times.items()}
            results.append({"case": case, "pixels": int(scores.size), "anomalous": int(masks.sum()), "different_scores": int(len(np.unique(scores))), "seconds": times,
                            "seconds_of_ours_after_the_last_map": ends,
                            "min": least, "million_pixels_per_second": {who: 1e-6 * scores.size / seconds for who, seconds in least.items()},
                            "ratio_of_minima": {who: least[who] / least[f"{who.split()[0]} ours"] for who in runs if not who.endswith("ours")},
                            "pixel_auroc": figures["ours"][0], "pro": figures["ours"][1], "pro_evenly_spaced": figures["ours"][2]})
            print(f"{case}: " + "  ".join(f"{who} {1e3 * seconds:.1f} ms" for who, seconds in least.items()), flush=True)
            report = {"what": "pixel metrics of maps in memory, and the sort of as many i32, seconds", "machine": processor_facts(), "device": programs["ours"].description,
                      "threads": arguments.threads, "clock": arguments.clock, "numpy": np.__version__, "scikit_learn": sklearn.__version__,
                      "commit": command_output("git", "rev-parse", "--short", "HEAD"), "before_commit": arguments.before_commit, "date": time.strftime("%Y-%m-%d"),
                      "load_average_before": load_before, "load_average_after": os.getloadavg(), "results": results}
            pathlib.Path(arguments.output).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
