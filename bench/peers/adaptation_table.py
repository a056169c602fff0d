#!/usr/bin/env python3
"""The paper's methods on real CIFAR-10 images (Table 1) and their ROCAUC along the training (Fig. 3), by `panda fit` alone.

For each normal class: DN2 (what every method has before its first minibatch), PANDA-Early, -SES, -EWC, -OE and JO with the official preset, on a
subset that a small machine can afford: the first images of each folder. Early is the unregularised training of SES after 15 epochs: the same seed draws
the same minibatches, so it is the same network. Writes the logs as CSV, a summary as JSON, and the curves as SVG.

  PANDA_DATA=... adaptation_table.py --fisher F.safetensors --output bench/results/<machine>/<date>-<commit>-cifar10-adaptation
"""
import argparse
import concurrent.futures
import csv
import json
import os
import shutil
import subprocess
import tempfile
import time

from machine_facts import command_output, processor_facts

METHODS = ["panda-ses", "panda-ewc", "panda-oe", "jo"]
EARLY_EPOCHS, LONG_EPOCHS = 15, 30
COLOURS = {"no penalty (Early, SES)": "#c0392b", "EWC": "#1f5fa8", "OE": "#2a8f4f", "JO": "#8a5fb0"}


def link_subset(source, target, count):
    os.makedirs(target)
    for name in sorted(os.listdir(source))[:count]:
        os.symlink(os.path.join(source, name), os.path.join(target, name))


def make_set(folder, data, classes, train, test):
    for name in classes:
        link_subset(os.path.join(data, "cifar10", "train", name), os.path.join(folder, "train", name), train)
    for name in sorted(os.listdir(os.path.join(data, "cifar10", "test"))):
        link_subset(os.path.join(data, "cifar10", "test", name), os.path.join(folder, "test", name), test)


def run(arguments, folder, normal, method):
    model, log = os.path.join(folder, f"{normal}-{method}"), os.path.join(folder, f"{normal}-{method}.csv")
    adapted = arguments.train - arguments.hold_out
    per_epoch = -(-adapted // 32)
    epochs = LONG_EPOCHS if method in ("panda-ses", "panda-ewc") else EARLY_EPOCHS
    extra = {
        "panda-ses": ["--copy-every", str(5 * per_epoch)], "panda-ewc": ["--fisher", arguments.fisher],
        "panda-oe": ["--outliers", os.path.join(arguments.data, "tiny-imagenet", "val")],
        "jo": ["--aux-data", os.path.join(arguments.data, "imagenet-sample")],
    }[method]
    set_flags = ["--dataset", "folder", "--data", os.path.join(folder, "set"), "--class", normal, "--threads", "1", "-q", "-o", "json"]
    command = ["nice", "-n", "10", arguments.program, "fit", method, "--weights", arguments.weights, "--out", model, "--epochs", str(epochs),
               "--hold-out", str(arguments.hold_out), "--resize", str(arguments.pixels), "--crop", str(arguments.pixels), "--log", log, "--log-auroc",
               "--log-every", str(5 * per_epoch), *extra, *set_flags]
    fitted = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    evaluated = json.loads(subprocess.run(["nice", "-n", "10", arguments.program, "eval", model, *set_flags], check=True, capture_output=True, text=True).stdout)
    os.remove(model)
    rows = [row for row in csv.DictReader(open(log)) if row["auroc"]]
    curve = [{key: float(row[key]) for key in ("minibatch", "auroc", "s", "effective_rank")} for row in rows]
    result = {"class": normal, "method": method, "epochs": epochs, "minibatches": fitted["minibatches"], "image_auroc": evaluated["image_auroc"],
              "false_alarms": evaluated["false_alarms"], "false_alarm_rate_promised": evaluated["threshold"]["false_alarm_rate"],
              "n_normal": evaluated["n_test"] - evaluated["n_anomalous"], "seconds": fitted["seconds"], "device": fitted["device"], "curve": curve}
    result["log"] = log
    print(normal, method, " ".join(f"{point['auroc']:.4f}" for point in curve), "->", f"{result['image_auroc']:.4f}", flush=True)
    return result


def table_of(results, classes, per_epoch):
    """ROCAUC by class and method, of what has been run."""
    table = {}
    for normal in classes:
        found = {r["method"]: r for r in results if r["class"] == normal}
        entry = {}
        if "panda-ses" in found:
            at = {point["minibatch"]: point["auroc"] for point in found["panda-ses"]["curve"]}
            entry.update({"DN2": at[0], "Early": at[EARLY_EPOCHS * per_epoch], "no penalty, 30 epochs": at[LONG_EPOCHS * per_epoch]})
        entry.update({method: r["image_auroc"] for method, r in found.items()})
        if entry:
            table[normal] = entry
    return table


def figure(results, classes):
    """One panel per class: ROCAUC in percent over minibatches."""
    width, height, left, top = 300, 240, 46, 40
    total = max(440, width * len(classes) + 20)
    in_a_row = (total - left) // 190  # entries of the legend
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{height + 116}" font-family="sans-serif" font-size="11">',
             '<rect width="100%" height="100%" fill="white"/>']
    for panel, normal in enumerate(classes):
        curves = [(name, r["curve"]) for name, method in zip(COLOURS, METHODS) for r in results if (r["class"], r["method"]) == (normal, method)]
        values = [100 * p["auroc"] for name, c in curves for p in c if name != "OE"]  # OE may leave the panel: it has seen anomalies
        low, high = min(values) - 1, max(values) + 1
        last = max(p["minibatch"] for _, c in curves for p in c)
        x = lambda m: left + panel * width + (width - left - 16) * m / last
        y = lambda v: top + (height - 20) * (high - min(max(v, low), high)) / (high - low)
        parts.append(f'<text x="{x(0)}" y="{top - 14}" font-weight="bold">normal class: {normal}</text>')
        for step in range(5):
            v = low + (high - low) * step / 4
            parts.append(f'<path d="M{x(0)} {y(v):.1f}H{x(last)}" stroke="#dddddd"/><text x="{x(0) - 5}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.1f}</text>')
        for m in (0, last / 2, last):
            parts.append(f'<text x="{x(m):.1f}" y="{top + height - 4}" text-anchor="middle">{m:.0f}</text>')
        for name, c in curves:
            path = " ".join(f"{x(p['minibatch']):.1f},{y(100 * p['auroc']):.1f}" for p in c)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
    parts.append(f'<text x="{left}" y="{top + height + 18}">minibatches; ROCAUC in percent (values beyond a panel lie on its edge)</text>')
    for i, (name, colour) in enumerate(COLOURS.items()):
        at, below = left + 190 * (i % in_a_row), top + height + 36 + 18 * (i // in_a_row)
        parts.append(f'<path d="M{at} {below}h24" stroke="{colour}" stroke-width="2"/><text x="{at + 30}" y="{below + 4}">{name}</text>')
    return "\n".join(parts) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/panda")
    parser.add_argument("--data", default=os.environ.get("PANDA_DATA"))
    parser.add_argument("--fisher", required=True)
    parser.add_argument("--fisher-note", default="")
    parser.add_argument("--output", required=True, help="a folder")
    parser.add_argument("--classes", default="airplane,automobile,bird")
    parser.add_argument("--train", type=int, default=700)
    parser.add_argument("--hold-out", type=int, default=70)
    parser.add_argument("--test", type=int, default=200, help="test images of each class")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("PANDA_DATA is not set: the real weights and images are needed")
    arguments.weights = os.path.join(arguments.data, "weights", "resnet18-imagenet.safetensors")
    classes = arguments.classes.split(",")
    per_epoch = -(-(arguments.train - arguments.hold_out) // 32)
    os.makedirs(arguments.output, exist_ok=True)
    results = []
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        make_set(os.path.join(folder, "set"), arguments.data, classes, arguments.train, arguments.test)
        work = [pool.submit(run, arguments, folder, normal, method) for normal in classes for method in METHODS]
        for done in work:
            result = done.result()
            shutil.copy(result.pop("log"), os.path.join(arguments.output, f"{result['class']}-{result['method']}.csv"))
            results.append(result)
            report = {
                "what": f"CIFAR-10 one-class, ResNet-18, {arguments.pixels} px: the first {arguments.train} training images of the class ({arguments.hold_out} held out of the "
                        f"training), the first {arguments.test} test images of each of 10 classes; official preset, 15 epochs (Early, OE, JO) and 30 (SES, EWC)",
                "outliers": "tiny-imagenet/val, 1000 images", "auxiliary": "imagenet-sample, 1000 images of 1000 classes", "fisher": arguments.fisher_note,
                "table": table_of(results, classes, per_epoch), "runs": results, "machine": processor_facts(),
                "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d"),
            }
            with open(os.path.join(arguments.output, "summary.json"), "w") as file:
                json.dump(report, file, indent=1)
                file.write("\n")
            with open(os.path.join(arguments.output, "curves.svg"), "w") as file:
                file.write(figure(results, list(report["table"])))
    print(json.dumps(report["table"], indent=1))


if __name__ == "__main__":
    main()
