#!/usr/bin/env python3
"""Training steps of torchvision's ResNets, ours beside PyTorch (eager), alternating; see resnet_torch.py for how the two are compared.

Modes: "plain" is forward and backward of the whole network; "step" is PANDA's step (layer3 and layer4 trained, compactness loss, EWC, clip, SGD),
ours from what layer2 gave, computed once, PyTorch's from the images, as the official code does. Gradients of the first run are compared before
anything is timed.

  training_torch.py --program build/release/bin/bench_training --output bench/results/<machine>/<date>-<commit>-training.json
"""
import argparse
import copy
import json
import os
import statistics
import tempfile
import time

import numpy as np
import safetensors.torch
import torch

from resnet_torch import Ours, command_output, processor_facts, random_network


class Peer:
    def __init__(self, model, mode, memory_format):
        self.model = copy.deepcopy(model).to(memory_format=memory_format).eval()
        self.model.fc = torch.nn.Identity()
        self.mode = mode
        trained = lambda name: mode == "plain" or name.startswith(("layer3", "layer4"))
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad = trained(name)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.anchor = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.SGD(self.parameters, lr=1e-2, momentum=0.9, weight_decay=5e-5)

    def run(self, images):
        self.optimizer.zero_grad()
        loss = self.model(images).square().mean()
        if self.mode == "step":
            loss = loss + 0.5e4 * sum(((p - a) ** 2).sum() for p, a in zip(self.parameters, self.anchor))
        loss.backward()
        self.gradient = dict(self.model.named_parameters())["layer4.0.conv1.weight"].grad.clone() if self.mode == "plain" else None
        if self.mode == "step":
            torch.nn.utils.clip_grad_norm_(self.parameters, 1e-3)
            self.optimizer.step()


def measure(name, mode, batch, arguments, folder):
    model = random_network(name)
    weights = os.path.join(folder, name + ".safetensors")
    state = {key: value.contiguous() for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    safetensors.torch.save_file(state, weights)
    ours = Ours(arguments.program, weights, arguments.threads)
    images = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    input_path = os.path.join(folder, "input.npy")
    output_path = os.path.join(folder, "output.npy")
    np.save(input_path, images.numpy())
    ours.ask("input " + input_path)
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    peers = {key: (Peer(model, mode, form), images.to(memory_format=form)) for key, form in formats.items()}
    error = None
    if mode == "plain":
        ours.ask("run plain")
        ours.ask("write " + output_path)
        peer, peer_images = peers["contiguous"]
        peer.run(peer_images)
        expected = peer.gradient.numpy()
        error = float(np.linalg.norm(np.load(output_path) - expected) / np.linalg.norm(expected))
        if not error < 1e-3:  # random weights: values near a ReLU's corner fall on either side
            raise RuntimeError(f"{name}: gradients differ by {error}")
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    ours_seconds, torch_seconds, peak = [], {key: [] for key in peers}, 0
    for repetition in range(arguments.repetitions + 1):
        answer = ours.ask("run " + mode).split()
        peak = int(answer[3])
        if repetition > 0:
            ours_seconds.append(float(answer[arguments.clock == "cpu"]))
        for key, (peer, peer_images) in peers.items():
            start = clock()
            peer.run(peer_images)
            if repetition > 0:
                torch_seconds[key].append(clock() - start)
    ours.close()
    best = min(torch_seconds, key=lambda key: statistics.median(torch_seconds[key]))
    entry = {
        "network": name, "mode": mode, "batch": batch, "relative_error": error, "ours_peak_bytes": peak, "ours_seconds": ours_seconds,
        "torch_seconds": torch_seconds, "torch_format": best,
        "ratio_of_medians": statistics.median(torch_seconds[best]) / statistics.median(ours_seconds),
        "ratio_of_minima": min(torch_seconds[best]) / min(ours_seconds),
    }
    print(f"{name:12s} {mode:6s} batch {batch}: ours min {1e3 * min(ours_seconds):.0f} ms, torch {best} min {1e3 * min(torch_seconds[best]):.0f} ms, "
          f"ratio of medians {entry['ratio_of_medians']:.2f}, of minima {entry['ratio_of_minima']:.2f}, error {error}", flush=True)
    return entry, ours.description


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/bench_training")
    parser.add_argument("--output")
    parser.add_argument("--networks", default="resnet18,resnet50")
    parser.add_argument("--modes", default="plain,step")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--note", default="")
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and arguments.threads != 1:
        parser.error("--clock cpu needs --threads 1: waiting threads take processor time too")
    torch.set_num_threads(arguments.threads)
    results, device, load_before = [], "", os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks.split(","):
            for mode in arguments.modes.split(","):
                entry, device = measure(name, mode, arguments.batch, arguments, folder)
                results.append(entry)
    if not arguments.output:
        return
    report = {
        "what": "ResNet training steps, f32, 224x224", "peer": "PyTorch eager", "machine": processor_facts(), "device": device,
        "threads": arguments.threads, "clock": arguments.clock, "repetitions": arguments.repetitions, "torch": torch.__version__,
        "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d"),
        "load_average_before": load_before, "load_average_after": os.getloadavg(), "note": arguments.note, "results": results,
    }
    os.makedirs(os.path.dirname(arguments.output), exist_ok=True)
    with open(arguments.output, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
