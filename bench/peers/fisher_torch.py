#!/usr/bin/env python3
"""The Fisher diagonal of a real ResNet-18 from real photographs: `panda fisher` beside a loop over single images in PyTorch.

Both take the same images (drawn here as anomaly/fisher_diagonal.cpp does), true labels, all parameters of layer1..layer4. Compared: the diagonals, as one
vector and tensor by tensor, in the 2-norm; PyTorch's in float64 says how far two f32 ones may be apart (a value within rounding of a ReLU's corner moves
a gradient by 1e-3). Times are processor seconds per image of one thread: for ours, the difference between a long and a short run,
which leaves out opening and writing; decoding is in both. `per-batch` squares nothing but the batch's gradient: what a plain backward pass costs.

  PANDA_DATA=... fisher_torch.py --program build/release/bin/panda --output bench/results/<machine>/<date>-<commit>-fisher.json
"""
import argparse
import json
import os
import resource
import subprocess
import tempfile
import time

import safetensors.torch
import torch
import torchvision
from PIL import Image

from adaptation_torch import network, permutation, transform
from machine_facts import command_output, processor_facts


def stream_of_name(name):
    """FNV-1a, 64 bits: nn/init.h."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def torch_diagonal(state, images, dtype):
    net = network(state).to(dtype)
    parameters = {name: p for name, p in net.named_parameters() if name.startswith("layer")}
    for name, p in net.named_parameters():
        p.requires_grad = name in parameters
    sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    prepare = transform(256, 224)
    start = time.process_time()
    for path, label in images:
        x = prepare(Image.open(path).convert("RGB"))[None].to(dtype)
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(x), torch.tensor([label])).backward()
        for name, p in parameters.items():
            sums[name] += p.grad.double() ** 2
    seconds = (time.process_time() - start) / len(images)
    return {name: value / len(images) for name, value in sums.items()}, seconds


def our_diagonal(program, weights, folder, out, definition, batches, batch_size):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([program, "fisher", "--weights", weights, "--data", folder, "--out", out, "--definition", definition, "--batches", str(batches),
                    "--batch-size", str(batch_size), "--threads", "1", "--device", "cpu", "--force", "-q", "-o", "json"], check=True, capture_output=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def our_seconds(run, definition, short, long, batch_size, rounds):
    """Per image, the least of some rounds."""
    return min((run(definition, long) - run(definition, short)) / ((long - short) * batch_size) for _ in range(rounds))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/panda")
    parser.add_argument("--output")
    parser.add_argument("--data", default=os.environ.get("PANDA_DATA"))
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("PANDA_DATA is not set: the real weights and images are needed")
    torch.set_num_threads(1)
    weights = os.path.join(arguments.data, "weights", "resnet18-imagenet.safetensors")
    folder = os.path.join(arguments.data, "imagenet-sample")
    files = [(os.path.join(folder, name, file), label) for label, name in enumerate(sorted(os.listdir(folder)))
             for file in sorted(os.listdir(os.path.join(folder, name)))]
    count = arguments.batches * arguments.batch_size
    images = [files[i] for i in permutation(0, stream_of_name("fisher order 0"), len(files))[:count]]
    with tempfile.TemporaryDirectory() as temporary:
        out = os.path.join(temporary, "fisher.safetensors")
        run = lambda definition, batches: our_diagonal(arguments.program, weights, folder, out, definition, batches, arguments.batch_size)
        run("per-sample", arguments.batches)
        ours = {name: tensor.double() for name, tensor in safetensors.torch.load_file(out).items()}
        state = safetensors.torch.load_file(weights)
        theirs, torch_seconds = torch_diagonal(state, images, torch.float32)
        exact, _ = torch_diagonal(state, images, torch.float64)
        assert sorted(ours) == sorted(theirs), "not the same parameters"
        seconds = {definition: our_seconds(run, definition, 1, 3, arguments.batch_size, arguments.rounds) for definition in ("per-sample", "per-batch")}
    joined = lambda diagonal: torch.cat([diagonal[name].reshape(-1) for name in sorted(diagonal)])
    error = lambda a, b: float((a - b).norm() / b.norm())
    compared = lambda a, b: {"all": error(joined(a), joined(b)), "worst_tensor": max(error(a[name], b[name]) for name in a)}
    report = {
        "what": f"Fisher diagonal per sample, ResNet-18, {count} photographs at 224, true labels, layer1..layer4",
        "relative_error": {"ours_to_torch_f64": compared(ours, exact), "torch_f32_to_torch_f64": compared(theirs, exact), "ours_to_torch_f32": compared(ours, theirs)},
        "processor_seconds_per_image": {"ours_per_sample": seconds["per-sample"], "ours_plain_backward": seconds["per-batch"], "torch_single_images": torch_seconds},
        "per_sample_to_plain_backward": seconds["per-sample"] / seconds["per-batch"], "torch_to_ours": torch_seconds / seconds["per-sample"],
        "threads": 1, "batch_size": arguments.batch_size, "machine": processor_facts(), "torch": torch.__version__, "torchvision": torchvision.__version__,
        "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(report, indent=1))
    if arguments.output:
        with open(arguments.output, "w") as file:
            json.dump(report, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
