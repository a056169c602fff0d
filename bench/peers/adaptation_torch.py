#!/usr/bin/env python3
"""A PANDA-EWC or JO run on real CIFAR-10 images, ours (panda fit) beside PyTorch's of the official code (of JO, which has none, of the paper's Eq. 2):
does the training go the same way?

Both get the same ResNet-18 (ImageNet weights), the same images in the same minibatches (this script draws them as anomaly/adaptation.cpp does). EWC: the
same Fisher diagonal, which PyTorch computes here from labelled ImageNet images (squares of per-image gradients, true labels). JO: an ImageNet image of each
class as the auxiliary set, the network's own head, trained too. Compared: the loss of each
minibatch, and how far the weights went, as one vector: the ratio of the norms and the cosine. The same is done a second time by PyTorch in float64,
which says how far two f32 runs may be apart. Everything lies under $PANDA_DATA.

  PANDA_DATA=... adaptation_torch.py --program build/release/bin/panda --output bench/results/<machine>/<date>-<commit>-panda-ewc-fidelity.json
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import safetensors.torch
import torch
import torchvision
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "golden"))
from machine_facts import command_output, processor_facts  # noqa: E402
from make_resnet_goldens import philox_u64_pairs  # noqa: E402

NORMAL_STREAM, AUXILIARY_STREAM = 0x6E6F726D << 32, 0x61757869 << 32
RATE, MOMENTUM, DECAY, CLIP, STRENGTH, BATCH = 1e-2, 0.9, 5e-5, 1e-3, 1e4, 32


def permutation(seed, stream, count):
    a, b = philox_u64_pairs(seed, stream, 0, (count + 1) // 2)
    draws = np.stack([a, b], axis=1).reshape(-1)
    order = list(range(count))
    for used, i in enumerate(range(count - 1, 0, -1)):
        j = int(draws[used] % np.uint64(i + 1))
        order[i], order[j] = order[j], order[i]
    return order


def transform(resize, crop):
    t = torchvision.transforms
    return t.Compose([t.Resize(resize, t.InterpolationMode.BILINEAR), t.CenterCrop(crop), t.ToTensor(),
                      t.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])


def network(state):
    net = torchvision.models.resnet18(weights=None)
    net.load_state_dict(state, strict=False)
    return net.eval()


def trained(net, head=False):
    stages = ("layer3.", "layer4.", "fc.") if head else ("layer3.", "layer4.")
    return {name: p for name, p in net.named_parameters() if name.startswith(stages)}


def fisher_diagonal(state, data, count):
    """Squares of the gradients of single images' cross-entropy, averaged."""
    net = network(state)
    parameters = trained(net)
    for name, p in net.named_parameters():
        p.requires_grad = name in parameters
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    prepare = transform(256, 224)
    folder = os.path.join(data, "imagenet-sample")
    classes = sorted(os.listdir(folder))
    for label in range(0, len(classes), len(classes) // count):
        name = sorted(os.listdir(os.path.join(folder, classes[label])))[0]
        image = prepare(Image.open(os.path.join(folder, classes[label], name)).convert("RGB"))[None]
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(image), torch.tensor([label])).backward()
        for key, p in parameters.items():
            sums[key] += p.grad**2
    return {key: value / count for key, value in sums.items()}


def batch_of(seed, stream, count, step):
    per_epoch = -(-count // BATCH)
    return permutation(seed, stream + step // per_epoch, count)[step % per_epoch * BATCH :][:BATCH]


def reference_run(arguments, state, images, fisher, auxiliary, dtype):
    """auxiliary: an image of each class, of JO. fisher: of EWC."""
    net = network(state).to(dtype)
    head, net.fc = net.fc, torch.nn.Identity()
    jo = auxiliary is not None
    parameters = {**trained(net), **({"fc." + name: p for name, p in head.named_parameters()} if jo else {})}
    for name, p in net.named_parameters():
        p.requires_grad = name in parameters
    images = images.to(dtype)
    with torch.no_grad():
        center = torch.cat([net(block) for block in images.split(64)]).mean(0)
    anchor = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer = torch.optim.SGD(list(parameters.values()), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    losses, norms, shares = [], [], []
    for step in range(arguments.minibatches):
        batch = batch_of(arguments.seed, NORMAL_STREAM, len(images), step)
        compactness = ((net(images[batch]) - center) ** 2).sum(1).div(len(center)).mean()
        if jo:
            labels = batch_of(arguments.seed, AUXILIARY_STREAM, len(auxiliary), step)
            other = torch.nn.functional.cross_entropy(head(net(auxiliary[labels].to(dtype))), torch.tensor(labels))
            compactness = arguments.alpha * compactness
            optimizer.zero_grad()
            compactness.backward(retain_graph=True)
            pull = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in parameters.values()])
        else:
            other = sum((fisher[name].to(dtype) * (p - anchor[name]) ** 2).sum() for name, p in parameters.items()) * (STRENGTH / 2)
        optimizer.zero_grad()
        loss = compactness + other
        loss.backward()
        if jo:  # which part of the clipped step compactness has
            whole = torch.cat([p.grad.reshape(-1) for p in parameters.values()])
            shares.append(float(pull @ whole / whole.norm() ** 2))
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(parameters.values()), CLIP)))
        optimizer.step()
        losses.append(float(loss.detach()))
    moved = {name: (p.detach() - anchor[name]).double() for name, p in parameters.items()}
    return losses, norms, moved, shares


def our_run(arguments, weights, folder, extra):
    model, log = os.path.join(folder, "model"), os.path.join(folder, "log.csv")
    command = [arguments.program, "fit", arguments.method, "--dataset", "folder", "--data", os.path.join(folder, "set"), "--weights", weights, "--out", model,
               *extra, "--resize", str(arguments.pixels), "--crop", str(arguments.pixels), "--hold-out", "0", "--minibatches", str(arguments.minibatches),
               "--log", log, "--log-every", "1000000", "--seed", str(arguments.seed), "--threads", str(arguments.threads), "-q", "-o", "json"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rows = [row for row in csv.DictReader(open(log)) if row["loss"]]
    adapted = {name[len("network/"):]: t for name, t in safetensors.torch.load_file(model).items() if name.startswith("network/")}
    return [float(row["loss"]) for row in rows], [float(row["gradient_norm"]) for row in rows], adapted, result


def compared(ours, theirs):
    """Of two runs (losses, displacement): the largest relative difference of a loss, norm ratio and cosine of the displacements."""
    a = torch.cat([t.reshape(-1) for _, t in sorted(ours[1].items())])
    b = torch.cat([t.reshape(-1) for _, t in sorted(theirs[1].items())])
    return {
        "largest_relative_loss_difference": max(abs(x / y - 1) for x, y in zip(ours[0], theirs[0], strict=True)),
        "displacement_norm_ratio": float(a.norm() / b.norm()),
        "displacement_cosine": float(a @ b / a.norm() / b.norm()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/panda")
    parser.add_argument("--output")
    parser.add_argument("--data", default=os.environ.get("PANDA_DATA"))
    parser.add_argument("--class", dest="normal", default="airplane")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--minibatches", type=int, default=50)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--method", choices=["panda-ewc", "jo"], default="panda-ewc")
    parser.add_argument("--alpha", type=float, default=1.0, help="jo: the weight of compactness")
    parser.add_argument("--fisher-images", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("PANDA_DATA is not set: the real weights and images are needed")
    torch.set_num_threads(arguments.threads)
    weights = os.path.join(arguments.data, "weights", "resnet18-imagenet.safetensors")
    state = safetensors.torch.load_file(weights)
    source = os.path.join(arguments.data, "cifar10", "train", arguments.normal)
    names = sorted(os.listdir(source))[: arguments.images]
    prepare = transform(arguments.pixels, arguments.pixels)
    images = torch.stack([prepare(Image.open(os.path.join(source, name)).convert("RGB")) for name in names])
    jo = arguments.method == "jo"
    fisher, auxiliary = None, None
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(os.path.join(folder, "set", "train", "normal"))
        os.makedirs(os.path.join(folder, "set", "test"))
        for name in names:
            os.symlink(os.path.join(source, name), os.path.join(folder, "set", "train", "normal", name))
        if jo:
            labelled = os.path.join(arguments.data, "imagenet-sample")
            files = [os.path.join(labelled, label, sorted(os.listdir(os.path.join(labelled, label)))[0]) for label in sorted(os.listdir(labelled))]
            auxiliary = torch.stack([prepare(Image.open(file).convert("RGB")) for file in files])
            extra = ["--aux-data", labelled, "--alpha", str(arguments.alpha)]
        else:
            fisher = fisher_diagonal(state, arguments.data, arguments.fisher_images)
            fisher_path = os.path.join(folder, "fisher.safetensors")
            safetensors.torch.save_file({key: value.contiguous() for key, value in fisher.items()}, fisher_path)
            extra = ["--fisher", fisher_path]
        losses, norms, adapted, result = our_run(arguments, weights, folder, extra)
    theirs = {name: reference_run(arguments, state, images, fisher, auxiliary, dtype)
              for name, dtype in (("f32", torch.float32), ("f64", torch.float64))}
    # The fitted model holds no head: nothing of it scores.
    ours = (losses, {name: (adapted[name] - state[name]).double() for name in theirs["f32"][2] if name in adapted})
    theirs = {name: (run[0], run[1], {key: run[2][key] for key in ours[1]}, run[3]) for name, run in theirs.items()}
    runs = {name: (run[0], run[2]) for name, run in theirs.items()}
    report = {
        "what": f"{arguments.method}, {arguments.minibatches} minibatches of {BATCH}, ResNet-18, {len(names)} CIFAR-10 images of {arguments.normal} at {arguments.pixels} px",
        "options": {"lr": RATE, "momentum": MOMENTUM, "decay": DECAY, "clip": CLIP,
                    **({"alpha": arguments.alpha} if jo else {"lambda": STRENGTH, "fisher_images": arguments.fisher_images})},
        "clip_active_in_every_minibatch": min(norms) > CLIP, "smallest_gradient_norm": min(norms),
        "ours_against_torch_f32": compared(ours, runs["f32"]), "ours_against_torch_f64": compared(ours, runs["f64"]),
        "torch_f32_against_torch_f64": compared(runs["f32"], runs["f64"]),
        "largest_relative_norm_difference": max(abs(a / b - 1) for a, b in zip(norms, theirs["f32"][1], strict=True)),
        "share_of_compactness_in_the_step": theirs["f64"][3] or None,
        "displacement_norm": float(torch.cat([t.reshape(-1) for t in ours[1].values()]).norm()),
        "loss": {"ours": losses, "torch_f32": theirs["f32"][0], "torch_f64": theirs["f64"][0]},
        "device": result["device"], "machine": processor_facts(), "torch": torch.__version__, "torchvision": torchvision.__version__,
        "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps({key: value for key, value in report.items() if key not in ("loss", "machine")}, indent=1))
    if not arguments.output:
        return
    os.makedirs(os.path.dirname(arguments.output), exist_ok=True)
    with open(arguments.output, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
