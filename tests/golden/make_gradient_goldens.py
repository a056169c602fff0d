#!/usr/bin/env python3
"""Makes gradient_goldens.txt: whole-network gradients by PyTorch, in float64, for tests/unit/nn/trainable_resnet_test.cpp.

Networks: resnet18, and "bottleneck", a ResNet of one bottleneck block per stage. Weights and images as in
make_resnet_goldens.py (seed 7, BatchNormInit::kRandomized). Loss: mean cross-entropy of the logits plus the official compactness loss of the
features to a center of 0.1 everywhere. Modes: "evaluation" (batch norms by their running statistics) and "statistics" (by the batch's own; the
moved running statistics are compared too).

A value within rounding of a ReLU's corner may fall on either side in f32, and one such value in the last stages moves gradients by 1e-3: that would
test chance. So the images are the first of the streams images0, images1, ... for which no ReLU of layer3 and layer4 has an input within 1e-5 of 0.

Needs numpy, torch, torchvision. Usage: make_gradient_goldens.py > gradient_goldens.txt
Lines: "NETWORK/MODE stream NUMBER", "NETWORK/MODE loss VALUE" and "NETWORK/MODE PARAMETER NORM SAMPLE...", the samples being elements floor(j n / 8), j = 0..7, of the gradient.
"""
import numpy as np
import torch
import torchvision

from make_resnet_goldens import SEED, normals, parameter, stream_of_name

IMAGE_SHAPE = (4, 3, 64, 48)
SAMPLES = 8
LABELS = [3, 0, 9, 4]
MARGIN = 1e-5


def networks():
    yield "resnet18", torchvision.models.resnet18(num_classes=10), ".bn2.weight"
    net = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=10)
    yield "bottleneck", net, ".bn3.weight"


def emit(key, name, values):
    print(key, name, *("%.12g" % v for v in values))


def sampled(t):
    flat = t.detach().reshape(-1).numpy()
    return [float(np.linalg.norm(flat))] + [float(flat[j * len(flat) // SAMPLES]) for j in range(SAMPLES)]


def forward(net, images):
    x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
    return net.avgpool(net.layer4(net.layer3(net.layer2(net.layer1(x))))).flatten(1)


def choose_images(net, state):
    """Number of the stream, and the images."""
    nearest = []
    hooks = [
        module.register_forward_pre_hook(lambda _, args: nearest.append(float(args[0].detach().abs().min())))
        for layer in (net.layer3, net.layer4)
        for module in layer.modules()
        if isinstance(module, torch.nn.ReLU)
    ]
    number = 0
    while True:
        values = normals(SEED, stream_of_name(f"images{number}"), int(np.prod(IMAGE_SHAPE)))
        images = torch.from_numpy(values.astype(np.float32)).reshape(IMAGE_SHAPE).double()
        nearest.clear()
        with torch.no_grad():
            forward(net, images)
        if min(nearest) > MARGIN:
            break
        number += 1
    for hook in hooks:
        hook.remove()
    net.load_state_dict(state)  # the search moved the running statistics
    return number, images


def main():
    print("# made by make_gradient_goldens.py with torch", torch.__version__, "torchvision", torchvision.__version__)
    for name, net, closing in networks():
        state = net.state_dict()
        for key in state:
            if not key.endswith("num_batches_tracked"):
                state[key] = parameter(key, tuple(state[key].shape), key.endswith(closing), net.fc.in_features)
        for mode in ("evaluation", "statistics"):
            net.load_state_dict(state)
            net = net.double()
            net.train(mode == "statistics")
            net.zero_grad(set_to_none=True)
            number, images = choose_images(net, state)
            features = forward(net, images)
            loss = torch.nn.functional.cross_entropy(net.fc(features), torch.tensor(LABELS)) + torch.mean((features - 0.1) ** 2)
            loss.backward()
            key = f"{name}/{mode}"
            emit(key, "stream", [number])
            emit(key, "loss", [float(loss.detach())])
            for parameter_name, p in net.named_parameters():
                emit(key, parameter_name, sampled(p.grad))
            if mode == "statistics":
                for buffer_name, b in net.named_buffers():
                    if not buffer_name.endswith("num_batches_tracked"):
                        emit(key, buffer_name, sampled(b))


if __name__ == "__main__":
    main()
