#!/usr/bin/env python3
"""Makes fisher_goldens.txt: the Fisher diagonal (paper Eq. 3) of two small networks by PyTorch, in float64, one image after another, for
tests/unit/nn/fisher_golden_test.cpp.

Networks of one block per stage and 16 channels in the stem: "basic" and "bottleneck". Weights as in make_resnet_goldens.py (seed 7,
BatchNormInit::kRandomized), evaluation mode. Images: 3 of the first stream images0, images1, ... for which no ReLU has an input within 1e-5 of 0:
there f32 may fall on the other side, and a comparison with it would test chance.

Needs numpy, torch, torchvision. Usage: make_fisher_goldens.py > fisher_goldens.txt
Lines: "NETWORK stream NUMBER" and "NETWORK PARAMETER NORM SAMPLE...": of the mean squares of the gradients, elements floor(j n / 8), j = 0..7.
"""
import numpy as np
import torch
import torchvision

from make_resnet_goldens import SEED, normals, parameter, stream_of_name

IMAGE_SHAPE = (3, 3, 40, 32)
SAMPLES = 8
LABELS = [3, 0, 9]
MARGIN = 1e-5


def small_network(block):
    net = torchvision.models.ResNet(block, [1, 1, 1, 1], num_classes=10)
    net.inplanes = 16
    net.conv1 = torch.nn.Conv2d(3, 16, 7, 2, 3, bias=False)
    net.bn1 = torch.nn.BatchNorm2d(16)
    for stage in range(4):
        setattr(net, f"layer{stage + 1}", net._make_layer(block, 16 << stage, 1, stride=1 if stage == 0 else 2))
    net.fc = torch.nn.Linear(128 * block.expansion, 10)
    closing = ".bn2.weight" if block.expansion == 1 else ".bn3.weight"
    state = net.state_dict()
    for key in state:
        if not key.endswith("num_batches_tracked"):
            state[key] = parameter(key, tuple(state[key].shape), key.endswith(closing), net.fc.in_features)
    net.load_state_dict(state)
    return net.double().eval()


def choose_images(net):
    """Number of the stream, and the images."""
    nearest = []
    hooks = [
        module.register_forward_pre_hook(lambda _, args: nearest.append(float(args[0].detach().abs().min())))
        for module in net.modules()
        if isinstance(module, torch.nn.ReLU)
    ]
    number = 0
    while True:
        values = normals(SEED, stream_of_name(f"images{number}"), int(np.prod(IMAGE_SHAPE)))
        images = torch.from_numpy(values.astype(np.float32)).reshape(IMAGE_SHAPE).double()
        nearest.clear()
        with torch.no_grad():
            net(images)
        if min(nearest) > MARGIN:
            break
        number += 1
    for hook in hooks:
        hook.remove()
    return number, images


def main():
    print("# made by make_fisher_goldens.py with torch", torch.__version__, "torchvision", torchvision.__version__)
    for name, block in (("basic", torchvision.models.resnet.BasicBlock), ("bottleneck", torchvision.models.resnet.Bottleneck)):
        net = small_network(block)
        number, images = choose_images(net)
        print(name, "stream", number)
        sums = {key: torch.zeros_like(p) for key, p in net.named_parameters()}
        for i, label in enumerate(LABELS):
            net.zero_grad()
            torch.nn.functional.cross_entropy(net(images[i : i + 1]), torch.tensor([label])).backward()
            for key, p in net.named_parameters():
                sums[key] += p.grad**2 / len(LABELS)
        for key, values in sums.items():
            flat = values.reshape(-1).numpy()
            summary = [float(np.linalg.norm(flat))] + [float(flat[j * len(flat) // SAMPLES]) for j in range(SAMPLES)]
            print(name, key, *("%.15g" % v for v in summary))


if __name__ == "__main__":
    main()
