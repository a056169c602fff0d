#!/usr/bin/env python3
"""Forward passes of torchvision's ResNets on a GPU, ours beside PyTorch: eager in channels-last memory, and torch.compile with CUDA graphs.

Both get the same weights and images, resident on the GPU; a time is the wall time of a number of passes and one wait, divided by that
number, ours and theirs alternating. Outputs are compared with PyTorch in f32 before anything is timed. Compiling takes longest, so it comes
after everything else and stops when the time budget (--seconds) is used; what was not reached is listed. Writes one JSON file and prints one line
per measurement. What the figures mean: bench/METHOD.md; how to run all of it: docs/GPU.md.

  resnet_cuda_torch.py --program build/cuda-static/bin/bench_resnet --output resnet.json
"""
import argparse
import copy
import json
import os
import statistics
import sys
import tempfile
import time

import numpy as np
import safetensors.torch
import torch
import torchvision

from child import Child
from gpu_timing import gpu_facts, wait
from resnet_torch import command_output, random_network

DTYPES = {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
# Relative 2-norm of the logits' difference from f32: what rounding to 24, 11, 11 and 8 bits leaves after 18 to 152 layers, with a margin.
BOUNDS = {"f32": 1e-4, "tf32": 2e-2, "f16": 2e-2, "bf16": 1e-1}


class Ours(Child):
    def __init__(self, program, weights, device, precision, engine):
        super().__init__([program, f"--device={device}", f"--precision={precision}", f"--engine={engine}", weights])

    def seconds(self, passes):
        return float(self.ask(f"runs {passes}"))


class Theirs:
    def __init__(self, model, images):
        self.model, self.images = model, images

    def seconds(self, passes):
        wait()
        start = time.perf_counter()
        for _ in range(passes):
            self.model(self.images)
        wait()
        return time.perf_counter() - start


def set_precision(precision):
    allowed = precision != "f32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def interleaved(contenders, arguments):
    """Median and least seconds per pass of each, in turns; the number of passes is set by the slowest's first run. With a slice of 0 it is one
    pass, the first: a check of the program, no figure."""
    passes = 1
    if arguments.slice > 0:
        for contender in contenders.values():
            contender.seconds(3)  # first run, recording, algorithm search
        passes = max(1, min(100, int(arguments.slice / max(contender.seconds(2) / 2 for contender in contenders.values()))))
    times = {name: [] for name in contenders}
    for _ in range(arguments.repetitions):
        for name, contender in contenders.items():
            times[name].append(contender.seconds(passes) / passes)
    return {name: {"median_ms": 1e3 * statistics.median(values), "min_ms": 1e3 * min(values), "passes": passes} for name, values in times.items()}


class Bench:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.end = time.monotonic() + arguments.seconds
        self.results, self.skipped, self.descriptions = [], [], {}

    def out_of_time(self, what, reserve=0.0):
        late = time.monotonic() + reserve > self.end
        if late:
            self.skipped.append(what)
            print(f"{what}: not reached in the time given", flush=True)
        return late

    def report(self, entry):
        self.results.append(entry)
        line = f"{entry['network']:16s} {entry['precision']:4s} batch {entry['batch']:3d}:"
        for name, value in entry["times"].items():
            line += f"  {name} {value['median_ms']:8.3f} ms ({1e3 * entry['batch'] / value['median_ms']:7.0f}/s)"
        print(line, flush=True)

    def eager(self, name, model, weights):
        """Ours with both engines beside eager PyTorch, all precisions and batches."""
        for precision in self.arguments.precisions:
            if self.out_of_time(f"{name} {precision}", 5):
                continue
            set_precision(precision)
            peer = copy.deepcopy(model).to(self.arguments.torch_device, DTYPES[precision], memory_format=torch.channels_last)
            ours = {}
            for engine in self.arguments.engines:
                try:
                    ours[engine] = Ours(self.arguments.program, weights, self.arguments.device, precision, engine)
                    self.descriptions[f"{engine} {precision}"] = ours[engine].description
                except RuntimeError as error:
                    self.skipped.append(f"{name} {precision} {engine}: {error}")
                    print(f"{name} {precision} {engine}: {error}", flush=True)
            for batch in self.arguments.batches:
                if self.out_of_time(f"{name} {precision} batch {batch}", 2):
                    continue
                try:
                    self.one(name, model, peer, ours, precision, batch)
                except RuntimeError as error:
                    self.skipped.append(f"{name} {precision} batch {batch}: {error}")
                    print(f"{name} {precision} batch {batch}: FAILED: {error}", flush=True)
            for child in ours.values():
                child.close()

    def one(self, name, model, peer, ours, precision, batch):
        size, there = self.arguments.image_size, self.arguments.torch_device
        images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(2))
        path, result = os.path.join(self.folder, "input.npy"), os.path.join(self.folder, "output.npy")
        np.save(path, images.numpy())
        with torch.inference_mode():
            set_precision("f32")
            expected = model.to(there)(images.to(there)).float().cpu().numpy()
            model.to("cpu")
            set_precision(precision)
            their_images = images.to(there, DTYPES[precision], memory_format=torch.channels_last)
            errors = {"torch eager": peer(their_images).float().cpu().numpy()}
            memory = {}
            for engine, child in ours.items():
                child.ask("input " + path)
                child.ask("runs 3")  # the third is a replay of the recording
                child.ask("write " + result)
                errors[engine] = np.load(result)
                memory[engine] = dict(zip(("planned_bytes", "peak_bytes", "reserved_bytes"), map(int, child.ask("memory").split())))
            errors = {key: float(np.linalg.norm(value - expected) / np.linalg.norm(expected)) for key, value in errors.items()}
            for engine in ours:
                if not errors[engine] < BOUNDS[precision]:
                    raise RuntimeError(f"{engine}: outputs differ by {errors[engine]:.2e}, expected below {BOUNDS[precision]:.0e}")
            contenders = {**ours, "torch eager": Theirs(peer, their_images)}
            self.report({"network": name, "precision": precision, "batch": batch, "relative_errors": errors, "memory": memory,
                         "times": interleaved(contenders, self.arguments)})

    def compiled(self, name, model, weights):
        """torch.compile, one compilation per precision and batch, beside the faster of our engines."""
        for precision in self.arguments.precisions:
            for batch in self.arguments.batches:
                what = f"{name} {precision} batch {batch} torch.compile"
                known = [entry for entry in self.results if (entry["network"], entry["precision"], entry["batch"]) == (name, precision, batch)]
                if not known or self.out_of_time(what, self.arguments.compile_reserve):
                    continue
                set_precision(precision)
                torch.compiler.reset()
                peer = copy.deepcopy(model).to("cuda", DTYPES[precision], memory_format=torch.channels_last)
                images = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(2))
                their_images = images.to("cuda", DTYPES[precision], memory_format=torch.channels_last)
                engine = min((e for e in self.arguments.engines if e in known[0]["times"]), key=lambda e: known[0]["times"][e]["median_ms"])
                child = Ours(self.arguments.program, weights, self.arguments.device, precision, engine)
                np.save(os.path.join(self.folder, "input.npy"), images.numpy())
                child.ask("input " + os.path.join(self.folder, "input.npy"))
                with torch.inference_mode():
                    compiled = torch.compile(peer, mode="reduce-overhead")
                    times = interleaved({engine: child, "torch.compile": Theirs(compiled, their_images)}, self.arguments)
                child.close()
                self.report({"network": name, "precision": precision, "batch": batch, "times": times})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda value: value.split(",")
    parser.add_argument("--program", default="build/cuda/bin/bench_resnet")
    parser.add_argument("--output", required=True, help="JSON file to write")
    parser.add_argument("--device", default="cuda", help="ours")
    parser.add_argument("--torch-device", default="cuda", help="theirs: cpu for a check of this program, without torch.compile")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--networks", type=words, default=["resnet50", "resnet18", "wide_resnet50_2", "resnet152"])
    parser.add_argument("--batches", type=lambda value: [int(one) for one in value.split(",")], default=[1, 32, 256])
    parser.add_argument("--precisions", type=words, default=["f16", "tf32", "f32"])
    parser.add_argument("--engines", type=words, default=["native", "vendor"])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--slice", type=float, default=0.05, help="seconds of one timed slice")
    parser.add_argument("--seconds", type=float, default=300, help="time budget of the whole run")
    parser.add_argument("--compile-reserve", type=float, default=40, help="seconds that must be left to begin a compilation")
    arguments = parser.parse_args()
    on_gpu = arguments.torch_device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("resnet_cuda_torch.py: PyTorch sees no GPU", file=sys.stderr)
        return 2
    torch.backends.cudnn.benchmark = True
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, folder)
        networks = {}
        for name in arguments.networks:
            model = random_network(name)
            weights = os.path.join(folder, name + ".safetensors")
            state = {key: value.contiguous() for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
            safetensors.torch.save_file(state, weights)
            networks[name] = (model, weights)
            bench.eager(name, model, weights)
        for name, (model, weights) in networks.items() if on_gpu else ():
            bench.compiled(name, model, weights)
    report = {
        "what": "ResNet forward pass on a GPU, images to logits, resident inputs", "image_size": arguments.image_size, "peer": "PyTorch: eager channels-last, cudnn.benchmark; torch.compile(mode=reduce-overhead)",
        **gpu_facts(arguments.torch_device), "torchvision": torchvision.__version__, "cudnn": torch.backends.cudnn.version(),
        "ours": bench.descriptions, "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d"),
        "repetitions": arguments.repetitions, "skipped": bench.skipped, "results": bench.results,
    }
    with open(arguments.output, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    return 0 if bench.results else 1


if __name__ == "__main__":
    sys.exit(main())
