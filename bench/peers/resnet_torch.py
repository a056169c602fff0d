#!/usr/bin/env python3
"""Forward passes of torchvision's ResNets, ours beside PyTorch (eager, in both of its memory formats), alternating.

Both get the same weights, the same images and the same number of threads. Outputs are compared before anything is timed. Writes one JSON
file: for each network and batch size the times of all, and the ratio torch / ours of the medians and of the minima, PyTorch in the
format that is the faster one there (above 1: ours is faster). On a machine that others use too, --clock cpu with --threads 1 compares processor time. What the figures mean: bench/METHOD.md.

  resnet_torch.py --program build/release/bin/bench_resnet --output bench/results/<machine>/<date>-<commit>.json
"""
import argparse
import copy
import json
import os
import re
import statistics
import subprocess
import tempfile
import time

import numpy as np
import safetensors.torch
import torch
import torchvision

from machine_facts import command_output, processor_facts


def wait_for_quiet(limit_seconds):
    """Returns once no other process has been running for 0.2 s, or when the limit is over."""
    end = time.monotonic() + limit_seconds
    calm = 0
    while calm < 10 and time.monotonic() < end:
        running = int(re.search(r"procs_running (\d+)", open("/proc/stat").read())[1])
        calm = calm + 1 if running <= 1 else 0
        time.sleep(0.02)


class Ours:
    """bench_resnet as a child; each call is one line to it and one line back."""

    def __init__(self, program, weights, threads):
        environment = dict(os.environ, PANDA_THREADS=str(threads))
        self.process = subprocess.Popen([program, weights], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.description = self.process.stdout.readline().strip()

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"bench_resnet died at '{line}'")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def random_network(name):
    """Seeded weights; running statistics from a few batches, so that activations keep their scale. The last batch norm of a block starts
    at 0.2: with 1, a deep random network amplifies rounding errors a hundredfold (PyTorch itself is then off by 1.5e-5), a trained one
    does not."""
    torch.manual_seed(1)
    model = getattr(torchvision.models, name)().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
        if isinstance(module, torchvision.models.resnet.BasicBlock):
            torch.nn.init.constant_(module.bn2.weight, 0.2)
        if isinstance(module, torchvision.models.resnet.Bottleneck):
            torch.nn.init.constant_(module.bn3.weight, 0.2)
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(4, 3, 224, 224))
    return model.eval()


def measure(name, batches, arguments, folder):
    model = random_network(name)
    weights = os.path.join(folder, name + ".safetensors")
    state = {key: value.contiguous() for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    safetensors.torch.save_file(state, weights)
    ours = Ours(arguments.program, weights, arguments.threads)
    channels_last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    results = []
    for batch in batches:
        images = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(2))
        input_path = os.path.join(folder, "input.npy")
        output_path = os.path.join(folder, "output.npy")
        np.save(input_path, images.numpy())
        with torch.inference_mode():
            expected = model(images).numpy()
            ours.ask("input " + input_path)
            ours.ask("run")
            ours.ask("write " + output_path)
            error = float(np.linalg.norm(np.load(output_path) - expected) / np.linalg.norm(expected))
            if not error < 1e-5:
                raise RuntimeError(f"{name} batch {batch}: outputs differ by {error}")
            formats = {"contiguous": (model, images), "channels_last": (channels_last, images.to(memory_format=torch.channels_last))}
            ours_seconds, torch_seconds = [], {name: [] for name in formats}
            clock = time.perf_counter if arguments.clock == "wall" else time.process_time
            for repetition in range(arguments.repetitions + 1):
                wait_for_quiet(arguments.wait)
                seconds = float(ours.ask("run").split()[arguments.clock == "cpu"])
                if repetition > 0:  # the first warms up
                    ours_seconds.append(seconds)
                for format_name, (peer, peer_images) in formats.items():
                    start = clock()
                    peer(peer_images)
                    elapsed = clock() - start
                    if repetition > 0:
                        torch_seconds[format_name].append(elapsed)
        best = min(torch_seconds, key=lambda format_name: statistics.median(torch_seconds[format_name]))
        entry = {
            "network": name, "batch": batch, "relative_error": error, "ours_seconds": ours_seconds, "torch_seconds": torch_seconds, "torch_format": best,
            "ours_median_ms": 1e3 * statistics.median(ours_seconds), "torch_median_ms": 1e3 * statistics.median(torch_seconds[best]),
            "ours_min_ms": 1e3 * min(ours_seconds), "torch_min_ms": 1e3 * min(torch_seconds[best]),
            "ratio_of_medians": statistics.median(torch_seconds[best]) / statistics.median(ours_seconds),
            "ratio_of_minima": min(torch_seconds[best]) / min(ours_seconds),
        }
        results.append(entry)
        print(f"{name:16s} batch {batch:3d}: ours {entry['ours_median_ms']:8.2f} ms (min {entry['ours_min_ms']:8.2f}), "
              f"torch {best} {entry['torch_median_ms']:8.2f} ms (min {entry['torch_min_ms']:8.2f}), "
              f"ratio {entry['ratio_of_medians']:.2f} (minima {entry['ratio_of_minima']:.2f}), error {error:.1e}", flush=True)
    description = ours.description
    ours.close()
    return results, description


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/bench_resnet")
    parser.add_argument("--output", help="JSON file to write")
    parser.add_argument("--networks", default="resnet18,resnet50,wide_resnet50_2")
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--wait", type=float, default=0, help="seconds to wait, before each pair of runs, for other programs to pause")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--note", default="", help="kept in the JSON: what else ran on the machine")
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and arguments.threads != 1:
        parser.error("--clock cpu needs --threads 1: waiting threads take processor time too")
    torch.set_num_threads(arguments.threads)
    results, device = [], ""
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks.split(","):
            entries, device = measure(name, [int(batch) for batch in arguments.batches.split(",")], arguments, folder)
            results += entries
    if not arguments.output:
        return
    compiler = re.search(r"CMAKE_CXX_COMPILER:\w+=(.*)", command_output("cat", os.path.join(os.path.dirname(
        os.path.dirname(arguments.program)), "CMakeCache.txt")))
    report = {
        "what": "ResNet forward pass, images to logits, f32, 224x224", "peer": "PyTorch eager, inference_mode",
        "machine": processor_facts(), "device": device, "threads": arguments.threads, "clock": arguments.clock, "wait_seconds": arguments.wait, "repetitions": arguments.repetitions,
        "torch": torch.__version__, "torchvision": torchvision.__version__, "mkldnn": torch.backends.mkldnn.is_available(),
        "compiler": command_output(compiler[1], "--version").split("\n")[0] if compiler else "",
        "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d"),
        "load_average_before": load_before, "load_average_after": os.getloadavg(), "note": arguments.note, "results": results,
    }
    os.makedirs(os.path.dirname(arguments.output), exist_ok=True)
    with open(arguments.output, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
