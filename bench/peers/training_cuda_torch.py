#!/usr/bin/env python3
"""Training steps of torchvision's ResNets on a GPU, ours beside PyTorch eager, in both of its memory formats.

The modes are those of training_torch.py: "step" is PANDA's step (layer3 and layer4 trained, compactness loss, EWC, clip, SGD), ours from what layer2
gave, computed once; PyTorch's from the images, as the official code does, and, as a contender of its own, from a kept trunk too. "plain" is forward,
backward and SGD of the whole network. Both get the same weights and images, resident on the GPU; a time is the wall time of a number of steps and one
wait, divided by that number, ours and theirs alternating. Ours looks at the loss and the gradient's norm in every step, as its trainer does; PyTorch
waits for nothing. Before anything is timed the first gradients of all are compared with PyTorch's in f64, on four images, and the
fourth step's, replayed, with that of called steps, bit by bit. Cases go in the
order given until the time budget (--seconds) is used; what was not reached is listed. Writes one JSON file and prints one line per measurement.

  training_cuda_torch.py --program build/cuda-static/bin/bench_training --output training.json
  training_cuda_torch.py --program build/release/bin/bench_training --device simt --torch-device cpu --engines native --precisions f32 \\
      --cases resnet18x0.125:step:2:32 --repetitions 1 --slice 0 --output check.json      a check of this program on a machine without a GPU
"""
import argparse
import json
import os
import sys
import tempfile
import time

import numpy as np
import safetensors.torch
import torch
import torchvision

from child import Child
from machine_facts import command_output, processor_facts
from resnet_cuda_torch import interleaved, set_precision
from resnet_torch import random_network
from training_torch import FORMATS, Peer, network, relative_error

# Relative 2-norm of the gradient's difference from f64: that of training_torch.py, and what products of 11 bits leave after 152 layers, with a margin.
BOUNDS = {"f32": 3e-3, "tf32": 1e-1}
CASES = "resnet152:step:32:224,resnet152:plain:32:224,resnet50:step:32:224,resnet50:plain:32:224,resnet18:step:32:224,resnet18:plain:32:224"


class Ours(Child):
    def __init__(self, program, weights, device, precision, engine, mode):
        super().__init__([program, f"--device={device}", f"--precision={precision}", f"--engine={engine}", weights])
        self.mode = mode

    def seconds(self, steps):
        return float(self.ask(f"runs {self.mode} {steps}"))

    def memory(self):
        return dict(zip(("planned_bytes", "peak_bytes", "reserved_bytes"), map(int, self.ask("memory device").split())))


class KeptTrunk(Peer):
    """PyTorch with our trunk cache: what layer2 gives is computed once."""
    kept = None

    def trunk(self, images):
        if self.kept is None:
            self.kept = super().trunk(images)
        return self.kept


class Theirs:
    def __init__(self, peer, images):
        self.peer, self.images = peer, images

    def wait(self):
        if self.images.is_cuda:
            torch.cuda.synchronize()

    def seconds(self, steps):
        self.wait()
        start = time.perf_counter()
        for _ in range(steps):
            self.peer.run(self.images)
        self.wait()
        return time.perf_counter() - start


def their_contenders(model, mode, images):
    contenders = {}
    for name, form in FORMATS.items():
        placed = images.to(memory_format=form)
        contenders[f"torch {name}"] = Theirs(Peer(model, mode, form), placed)
        if mode == "step":
            contenders[f"torch {name}, trunk kept"] = Theirs(KeptTrunk(model, mode, form), placed)
    return contenders


class Bench:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.end = time.monotonic() + arguments.seconds
        self.results, self.skipped, self.failed, self.descriptions, self.networks = [], [], [], {}, {}

    def network(self, name):
        """The model on PyTorch's device, and our file of its weights."""
        if name not in self.networks:
            torch.manual_seed(1)
            model = network(name).eval() if "x0." in name else random_network(name)
            weights = os.path.join(self.folder, name + ".safetensors")
            state = {key: value.contiguous() for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
            safetensors.torch.save_file(state, weights)
            self.networks[name] = (model.to(self.arguments.torch_device), weights)
        return self.networks[name]

    def ours(self, weights, precision, mode, what):
        children = {}
        for engine in self.arguments.engines:
            try:
                children[engine] = Ours(self.arguments.program, weights, self.arguments.device, precision, engine, mode)
                self.descriptions[f"{engine} {precision}"] = children[engine].description
            except RuntimeError as error:
                self.skipped.append(f"{what} {engine}: {error}")
                print(f"{what} {engine}: {error}", flush=True)
        return children

    def verify(self, model, mode, ours, precision, images):
        """Relative errors of the first gradient against PyTorch in f64; replayed steps against called ones."""
        few = images[:4]
        path, result = os.path.join(self.folder, "few.npy"), os.path.join(self.folder, "gradient.npy")
        np.save(path, few.cpu().numpy())
        exact, rounded = Peer(model.double(), mode), Peer(model.float(), mode)
        exact.backward(few.double())
        rounded.backward(few)
        expected = exact.gradient()
        errors = {"torch": relative_error(rounded.gradient(), expected)}
        for engine, child in ours.items():
            child.ask("input " + path)
            child.seconds(1)
            child.ask("write " + result)
            errors[engine] = relative_error(np.load(result), expected)
            if not errors[engine] < BOUNDS[precision]:
                raise RuntimeError(f"{engine}: the gradient differs by {errors[engine]:.2e}, expected below {BOUNDS[precision]:.0e}")
            child.seconds(3)
            child.ask("write " + result)
            replayed = np.load(result)
            child.ask(f"calls {mode} 4")
            child.ask("write " + result)
            if not np.array_equal(replayed, np.load(result)):
                raise RuntimeError(f"{engine}: replayed steps give another gradient than called ones")
        return errors

    def one(self, name, mode, batch, extent, precision):
        what = f"{name} {mode} {precision} batch {batch}"
        if time.monotonic() > self.end:
            self.skipped.append(what)
            print(f"{what}: not reached in the time given", flush=True)
            return
        model, weights = self.network(name)
        set_precision(precision)
        images = torch.randn(batch, 3, extent, extent, generator=torch.Generator().manual_seed(2)).to(self.arguments.torch_device)
        ours = self.ours(weights, precision, mode, what)
        if not ours:
            self.failed.append(f"{what}: ours did not start")
            return
        try:
            errors = self.verify(model, mode, ours, precision, images)
            path = os.path.join(self.folder, "input.npy")
            np.save(path, images.cpu().numpy())
            for child in ours.values():
                child.ask("input " + path)
            times = interleaved({**ours, **their_contenders(model, mode, images)}, self.arguments)
            memory = {engine: child.memory() for engine, child in ours.items()}
        except RuntimeError as error:
            self.failed.append(f"{what}: {error}")
            print(f"{what}: FAILED: {error}", flush=True)
            return
        finally:
            for child in ours.values():
                child.close()
        self.report({"network": name, "mode": mode, "precision": precision, "batch": batch, "extent": extent, "relative_errors": errors, "memory": memory,
                     "times": times, "ratios": ratios(times)})

    def report(self, entry):
        self.results.append(entry)
        line = f"training {entry['network']:10s} {entry['mode']:8s} {entry['precision']:4s} batch {entry['batch']:3d}:"
        line += "  ".join(f"{name} {value['median_ms']:.3f} ms" for name, value in entry["times"].items())
        print(line + "".join(f"  {name} {value:.2f}x" for name, value in entry["ratios"].items()), flush=True)


def ratios(times):
    """PyTorch's median over that of our faster engine, PyTorch in the format that is the faster one there."""
    least = lambda wanted: min((value["median_ms"] for name, value in times.items() if wanted(name)), default=None)
    ours = least(lambda name: not name.startswith("torch"))
    theirs = {"eager": least(lambda name: name.startswith("torch") and "kept" not in name), "eager, trunk kept": least(lambda name: "kept" in name)}
    return {name: value / ours for name, value in theirs.items() if ours and value}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda value: value.split(",")
    parser.add_argument("--program", default="build/cuda/bin/bench_training")
    parser.add_argument("--output", required=True, help="JSON file to write")
    parser.add_argument("--device", default="cuda", help="ours")
    parser.add_argument("--torch-device", default="cuda", help="theirs: cpu for a check of this program")
    parser.add_argument("--cases", type=words, default=CASES, help="network:mode:batch:extent,...")
    parser.add_argument("--precisions", type=words, default="f32,tf32")
    parser.add_argument("--engines", type=words, default="native,vendor")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--slice", type=float, default=0.2, help="seconds of one timed slice; 0: one step, for a check of this program")
    parser.add_argument("--seconds", type=float, default=120, help="time budget of the whole run")
    arguments = parser.parse_args()
    on_gpu = arguments.torch_device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("training_cuda_torch.py: PyTorch sees no GPU", file=sys.stderr)
        return 2
    torch.backends.cudnn.benchmark = True
    if not on_gpu:
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, folder)
        for case in arguments.cases:
            name, mode, batch, extent = case.split(":")
            for precision in arguments.precisions:
                bench.one(name, mode, int(batch), int(extent), precision)
    report = {
        "what": "ResNet training steps on a GPU, resident inputs", "peer": "PyTorch eager, cudnn.benchmark",
        "gpu": torch.cuda.get_device_name() if on_gpu else None, "torch": torch.__version__, "torchvision": torchvision.__version__,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None, "cuda": torch.version.cuda,
        "driver": command_output("nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem", "--format=csv,noheader") if on_gpu else None,
        "machine": processor_facts(), "ours": bench.descriptions, "commit": command_output("git", "rev-parse", "--short", "HEAD"),
        "date": time.strftime("%Y-%m-%d"), "repetitions": arguments.repetitions, "skipped": bench.skipped, "failed": bench.failed, "results": bench.results,
    }
    with open(arguments.output, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    return 0 if bench.results and not bench.failed else 1


if __name__ == "__main__":
    sys.exit(main())
