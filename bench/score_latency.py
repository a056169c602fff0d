#!/usr/bin/env python3
"""Steady-state latency and throughput of `panda score` on a stream of paths.

One process scores; a path is written to its standard input once the answer to the one before has come. What is
measured is the wall time from the path to the line of JSON, decoding included. Throughput is the wall time of
`panda score DIR` per image, loading the model left out. On a busy machine look at the processor time: user and
system time of one thread that scores a long list of paths less that of a short one, per image."""
import argparse
import datetime
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "peers"))
from machine_facts import processor_facts  # noqa: E402

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



def processor_seconds(count):
    """Of a process that scores `count` images with one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([options.program, "score", options.model, "-", "--threads", "1", "-q", "-o", "jsonl"], check=True,
                   input="".join(paths[i % len(paths)] + "\n" for i in range(count)), text=True,
                   stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


few, many = 40, 40 + options.count
processor_ms = [1000 * (processor_seconds(many) - processor_seconds(few)) / (many - few) for _ in range(5)]

info = json.loads(subprocess.run([options.program, "info", "-o", "json"], check=True, capture_output=True).stdout)
result = {
    "what": "panda score, wall time: from a path on standard input to its line of JSON; images/s of a directory; processor "
            "time per image of one thread",
    "machine": processor_facts(),
    "device": next(one["description"] for one in info["devices"] if one["name"] == info["device"]),
    "model": pathlib.Path(options.model).name,
    "images": len(paths),
    "sent": len(seconds),
    "threads": options.threads,
    "latency_ms": {f"p{p}": 1000 * seconds[min(len(seconds) - 1, len(seconds) * p // 100)] for p in (50, 95, 99)},
    "images_per_second": rates,
    "processor_ms_per_image": {"minimum": min(processor_ms), "all": processor_ms},
    "load_average_before": load,
    "commit": options.commit,
    "date": datetime.date.today().isoformat(),
}
pathlib.Path(options.output).write_text(json.dumps(result, indent=1) + "\n")
print(json.dumps(result, indent=1))
