#!/usr/bin/env python3
"""Steady-state latency and throughput of `panda score` on a stream of paths.

One process scores; a path is written to its standard input once the answer to the one before has come. What is
measured is the wall time from the path to the line of JSON, decoding included. Throughput is the wall time of
`panda score DIR` per image, loading the model left out."""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--program", default="build/release/bin/panda")
parser.add_argument("--model", required=True)
parser.add_argument("--images", required=True, help="a directory of PNG images")
parser.add_argument("--count", type=int, default=200, help="images to send, after 10 to warm up")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--commit", required=True)
parser.add_argument("--output", required=True)
options = parser.parse_args()

paths = sorted(str(path) for path in pathlib.Path(options.images).rglob("*.png"))
load = os.getloadavg()
command = [options.program, "score", options.model, "--threads", str(options.threads), "-q"]
stream = subprocess.Popen(command + ["-", "--batch-size", "1", "-o", "jsonl"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True)
seconds = []
for i in range(10 + options.count):
    start = time.perf_counter()
    stream.stdin.write(paths[i % len(paths)] + "\n")
    stream.stdin.flush()
    answer = json.loads(stream.stdout.readline())
    seconds.append(time.perf_counter() - start)
    assert answer["file"] == paths[i % len(paths)], answer
stream.stdin.close()
assert stream.wait() == 0
seconds = sorted(seconds[10:])

rates = []
for _ in range(3):
    table = subprocess.run(command + [options.images, "-o", "table"], check=True, capture_output=True, text=True)
    rates.append(float(table.stdout.rsplit("(", 1)[1].split(" images/s")[0]))

result = {
    "what": "panda score, wall time: from a path on standard input to its line of JSON; images/s of a directory",
    "model": pathlib.Path(options.model).name,
    "images": len(paths),
    "sent": len(seconds),
    "threads": options.threads,
    "latency_ms": {f"p{p}": 1000 * seconds[min(len(seconds) - 1, len(seconds) * p // 100)] for p in (50, 95, 99)},
    "images_per_second": rates,
    "load_average_before": load,
    "commit": options.commit,
    "date": datetime.date.today().isoformat(),
}
pathlib.Path(options.output).write_text(json.dumps(result, indent=1) + "\n")
print(json.dumps(result, indent=1))
