#!/usr/bin/env python3
"""Training steps of torchvision's ResNets, ours beside PyTorch (eager), alternating; see resnet_torch.py for how the two are compared.

Modes: "plain" is forward, backward and SGD of the whole network, batch norms in evaluation mode; "step" is PANDA's step (layer3 and layer4 trained,
compactness loss, EWC, clip, SGD), ours from what layer2 gave, computed once, PyTorch's from the images, as the official code does; "pretrain" is a
step of training from scratch (batch statistics, cross-entropy, SGD). "resnet18x0.5" is ResNet-18 with half the channels. Before anything is timed,
the first gradients of both (of PANDA's step: before they are clipped) are compared with PyTorch's in f64, on four images. Memory: each alone in a process of its own, three steps; what it
grew by after network and images were there, and the whole process.

  training_torch.py --program build/release/bin/bench_training --output bench/results/<machine>/<date>-<commit>-training.json
"""
import argparse
import contextlib
import copy
import json
import multiprocessing
import os
import re
import statistics
import tempfile
import time

import numpy as np
import safetensors.torch
import torch
import torchvision

from resnet_torch import Ours, command_output, processor_facts, random_network

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def network(name):
    """Without weights of its own."""
    arch, _, width = name.partition("x0.")
    model = getattr(torchvision.models, arch)(num_classes=200 if width else 1000)
    if width:  # torchvision narrows bottlenecks only
        block = torchvision.models.resnet.BasicBlock
        stem = int(64 * float("0." + width))
        model.inplanes = stem
        model.conv1 = torch.nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        model.bn1 = torch.nn.BatchNorm2d(stem)
        for stage in range(4):
            setattr(model, f"layer{stage + 1}", model._make_layer(block, stem << stage, 2, stride=1 if stage == 0 else 2))
        model.fc = torch.nn.Linear(stem << 3, 200)
    return model


class Peer:
    def __init__(self, model, mode, memory_format=torch.contiguous_format):
        self.model = copy.deepcopy(model).to(memory_format=memory_format).train(mode == "pretrain")
        if mode != "pretrain":
            self.model.fc = torch.nn.Identity()
        self.mode = mode
        trained = lambda name: mode != "step" or name.startswith(("layer3", "layer4"))
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad = trained(name)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.anchor = [p.detach().clone() for p in self.parameters] if mode == "step" else []
        self.optimizer = torch.optim.SGD(self.parameters, lr=1e-2, momentum=0.9, weight_decay=5e-5)

    def trunk(self, images):
        m = self.model
        return m.layer2(m.layer1(m.maxpool(m.relu(m.bn1(m.conv1(images))))))

    def features(self, images):
        m = self.model
        with torch.no_grad() if self.mode == "step" else contextlib.nullcontext():
            trunk = self.trunk(images)
        return m.fc(torch.flatten(m.avgpool(m.layer4(m.layer3(trunk))), 1))

    def backward(self, images):
        self.optimizer.zero_grad()
        out = self.features(images)
        if self.mode == "pretrain":
            loss = torch.nn.functional.cross_entropy(out, torch.arange(len(out), device=out.device) % out.shape[1])
        else:
            loss = out.square().mean()
        if self.mode == "step":
            loss = loss + 0.5e4 * sum(((p - a) ** 2).sum() for p, a in zip(self.parameters, self.anchor))
        loss.backward()

    def run(self, images):
        self.backward(images)
        if self.mode == "step":
            torch.nn.utils.clip_grad_norm_(self.parameters, 1e-3)
        self.optimizer.step()

    def gradient(self):
        return dict(self.model.named_parameters())["layer4.0.conv1.weight"].grad.cpu().numpy()


def status_bytes(field):
    return 1024 * int(re.search(rf"^{field}:\s*(\d+)", open("/proc/self/status").read(), re.M)[1])


def torch_memory(name, mode, weights, input_path, memory_format, threads, results):
    torch.set_num_threads(threads)
    model = network(name)
    model.load_state_dict(safetensors.torch.load_file(weights), strict=False)
    peer = Peer(model, mode, FORMATS[memory_format])
    del model
    images = torch.from_numpy(np.load(input_path)).to(memory_format=FORMATS[memory_format])
    before = status_bytes("VmRSS")
    for _ in range(3):
        peer.run(images)
    results.put((before, status_bytes("VmHWM")))


def memory(name, mode, weights, input_path, arguments):
    """Bytes of the whole process at most, and of its growth over three steps."""
    ours = Ours(arguments.program, weights, arguments.threads)
    ours.ask("input " + input_path)
    before = int(ours.ask("memory now").split()[0])
    for _ in range(3):
        ours.ask("run " + mode)
    peak = int(ours.ask("memory now").split()[1])
    ours.close()
    entry = {"ours": {"peak_bytes": peak, "growth_bytes": peak - before}}
    spawn = multiprocessing.get_context("spawn")
    for memory_format in FORMATS:
        results = spawn.Queue()
        child = spawn.Process(target=torch_memory, args=(name, mode, weights, input_path, memory_format, arguments.threads, results))
        child.start()
        before, peak = results.get()
        child.join()
        entry[memory_format] = {"peak_bytes": peak, "growth_bytes": peak - before}
    return entry


def relative_error(actual, expected):
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def verify(model, name, mode, ours, images, folder):
    """Relative errors of the first gradient against PyTorch in f64, ours and PyTorch's in f32. A single value within rounding of a ReLU's corner
    that falls on the other side moves a random network's gradient by up to 1e-3; the golden files' images are chosen to have none."""
    few = images[:4]
    np.save(os.path.join(folder, "few.npy"), few.numpy())
    ours.ask("input " + os.path.join(folder, "few.npy"))
    ours.ask("run " + mode)
    ours.ask("write " + os.path.join(folder, "output.npy"))
    exact, single = Peer(model.double(), mode), Peer(model.float(), mode)
    exact.backward(few.double())
    single.backward(few)
    errors = {"ours": relative_error(np.load(os.path.join(folder, "output.npy")), exact.gradient()),
              "torch": relative_error(single.gradient(), exact.gradient())}
    if not errors["ours"] < 3e-3:
        raise RuntimeError(f"{name} {mode}: relative errors of the gradient {errors}")
    return errors


def measure(name, mode, batch, extent, arguments, folder):
    torch.manual_seed(1)
    model = network(name).eval() if "x0." in name else random_network(name)
    weights = os.path.join(folder, name + ".safetensors")
    state = {key: value.contiguous() for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    safetensors.torch.save_file(state, weights)
    ours = Ours(arguments.program, weights, arguments.threads)
    images = torch.randn(batch, 3, extent, extent, generator=torch.Generator().manual_seed(2))
    errors = verify(model, name, mode, ours, images, folder)
    input_path = os.path.join(folder, "input.npy")
    np.save(input_path, images.numpy())
    ours.ask("input " + input_path)
    peers = {key: (Peer(model, mode, form), images.to(memory_format=form)) for key, form in FORMATS.items()}
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    ours_seconds, torch_seconds, planned = [], {key: [] for key in peers}, 0
    for repetition in range(arguments.repetitions + 1):
        answer = ours.ask("run " + mode).split()
        planned = int(answer[3])
        if repetition > 0:
            ours_seconds.append(float(answer[arguments.clock == "cpu"]))
        for key, (peer, peer_images) in peers.items():
            start = clock()
            peer.run(peer_images)
            if repetition > 0:
                torch_seconds[key].append(clock() - start)
    ours.close()
    del peers
    best = min(torch_seconds, key=lambda key: statistics.median(torch_seconds[key]))
    entry = {
        "network": name, "mode": mode, "batch": batch, "extent": extent, "relative_errors": errors, "planned_bytes": planned,
        "ours_seconds": ours_seconds, "torch_seconds": torch_seconds, "torch_format": best,
        "ratio_of_medians": statistics.median(torch_seconds[best]) / statistics.median(ours_seconds),
        "ratio_of_minima": min(torch_seconds[best]) / min(ours_seconds),
    }
    print(f"{name:12s} {mode:8s} batch {batch:3d} at {extent}: ours min {1e3 * min(ours_seconds):.0f} ms, torch {best} min "
          f"{1e3 * min(torch_seconds[best]):.0f} ms, ratio of medians {entry['ratio_of_medians']:.2f}, of minima "
          f"{entry['ratio_of_minima']:.2f}, errors {errors}", flush=True)
    if arguments.memory:
        entry["memory"] = memory(name, mode, weights, input_path, arguments)
        print("  MiB, whole process and growth: " + ", ".join(f"{key} {value['peak_bytes'] >> 20} {value['growth_bytes'] >> 20}"
                                                               for key, value in entry["memory"].items()), flush=True)
    return entry, ours.description


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/bench_training")
    parser.add_argument("--output")
    parser.add_argument("--cases", default="resnet18:plain:32:224,resnet18:step:32:224,resnet50:plain:8:224,resnet50:step:32:224,resnet18x0.5:pretrain:64:64",
                        help="network:mode:batch:extent,...")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--memory", action="store_true", help="peak resident memory too")
    parser.add_argument("--note", default="")
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and arguments.threads != 1:
        parser.error("--clock cpu needs --threads 1: waiting threads take processor time too")
    torch.set_num_threads(arguments.threads)
    results, device, load_before = [], "", os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases.split(","):
            name, mode, batch, extent = case.split(":")
            entry, device = measure(name, mode, int(batch), int(extent), arguments, folder)
            results.append(entry)
    if not arguments.output:
        return
    report = {
        "what": "ResNet training steps, f32", "peer": "PyTorch eager", "machine": processor_facts(), "device": device,
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
