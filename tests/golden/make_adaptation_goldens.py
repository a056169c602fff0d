#!/usr/bin/env python3
"""Makes adaptation_goldens.txt: ten minibatches of PANDA-EWC by PyTorch, in float64, for tests/unit/anomaly/adaptation_golden_test.cpp.

Network: a ResNet of one basic block per stage, width 0.25 (16 channels in the stem), seeded as in make_resnet_goldens.py. Images: 13 of noise, as
tests/unit/anomaly/noise_images.h makes them with seed 5. What is done is the official code's (panda.py, utils.py): evaluation mode, layer3 and
layer4 trained, the center of the features before training, compactness by the mean over batch and width, lambda / 2 sum F (theta0 - theta)^2,
clip of the global norm, then SGD with momentum and decay. Shuffled epochs as anomaly/adaptation.cpp draws them, the last batch kept.

Needs numpy, torch, torchvision. Usage: make_adaptation_goldens.py > adaptation_goldens.txt
Lines: "ewc QUANTITY VALUE...": loss (penalty included), penalty and norm (before the clip) of each minibatch; "ewc moved/PARAMETER NORM SAMPLE...": how far
the parameter went, the samples being elements floor(j n / 8), j = 0..7.
"""
import numpy as np
import torch
import torchvision

from make_resnet_goldens import SEED, parameter, philox_u64_pairs, stream_of_name, uniforms

IMAGES, IMAGE_SEED, EXTENT, CROP = 13, 5, 40, 32
BATCH, STEPS, FIT_SEED = 4, 10, 3
RATE, MOMENTUM, DECAY, CLIP, STRENGTH = 1e-2, 0.9, 1e-3, 0.02, 30.0
NORMAL_STREAM = 0x6E6F726D << 32
SAMPLES = 8


def u64s(seed, stream, count):
    a, b = philox_u64_pairs(seed, stream, 0, (count + 1) // 2)
    return np.stack([a, b], axis=1).reshape(-1)[:count]


def permutation(seed, stream, count):
    """Random(seed, stream).permutation(count); the chance of a rejected draw is 1e-16 and not looked at."""
    draws = u64s(seed, stream, count)
    order = list(range(count))
    for used, i in enumerate(range(count - 1, 0, -1)):
        j = int(draws[used] % np.uint64(i + 1))
        order[i], order[j] = order[j], order[i]
    return order


def image(index):
    pixels = (u64s(IMAGE_SEED, index, EXTENT * EXTENT * 3) % np.uint64(90)).astype(np.float32).reshape(EXTENT, EXTENT, 3)
    edge = (EXTENT - CROP) // 2
    x = torch.from_numpy(pixels[edge : edge + CROP, edge : edge + CROP].transpose(2, 0, 1).copy()) / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return ((x - mean) / deviation).double()


def small_network():
    net = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
    net.inplanes = 16
    net.conv1 = torch.nn.Conv2d(3, 16, 7, 2, 3, bias=False)
    net.bn1 = torch.nn.BatchNorm2d(16)
    for stage in range(4):
        setattr(net, f"layer{stage + 1}", net._make_layer(torchvision.models.resnet.BasicBlock, 16 << stage, 1, stride=1 if stage == 0 else 2))
    net.fc = torch.nn.Identity()
    state = net.state_dict()
    for key in state:
        if not key.endswith("num_batches_tracked"):
            state[key] = parameter(key, tuple(state[key].shape), key.endswith(".bn2.weight"), 128)
    net.load_state_dict(state)
    return net.double().eval()


def emit(name, values):
    print("ewc", name, *("%.12g" % v for v in values))


def main():
    print("# made by make_adaptation_goldens.py with torch", torch.__version__, "torchvision", torchvision.__version__)
    net = small_network()
    images = torch.stack([image(i) for i in range(IMAGES)])
    trained = {name: p for name, p in net.named_parameters() if name.startswith(("layer3.", "layer4."))}
    for name, p in net.named_parameters():
        p.requires_grad = name in trained
    anchor = {name: p.detach().clone() for name, p in trained.items()}
    fisher = {
        name: torch.from_numpy(uniforms(SEED, stream_of_name("fisher/" + name), p.numel()).astype(np.float32)).double().reshape(p.shape)
        for name, p in trained.items()
    }
    with torch.no_grad():
        center = net(images).mean(0)
    optimizer = torch.optim.SGD(list(trained.values()), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    per_epoch = -(-IMAGES // BATCH)
    losses, penalties, norms = [], [], []
    for step in range(STEPS):
        order = permutation(FIT_SEED, NORMAL_STREAM + step // per_epoch, IMAGES)
        batch = order[step % per_epoch * BATCH :][:BATCH]
        optimizer.zero_grad()
        compactness = ((net(images[batch]) - center) ** 2).sum(1).div(len(center)).mean()
        penalty = 0.5 * STRENGTH * sum((fisher[name] * (p - anchor[name]) ** 2).sum() for name, p in trained.items())
        loss = compactness + penalty
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(trained.values()), CLIP)))
        optimizer.step()
        losses.append(float(loss.detach()))
        penalties.append(float(penalty.detach()))
    assert min(norms) > CLIP, "the clip must be active"
    emit("loss", losses)
    emit("penalty", penalties)
    emit("norm", norms)
    for name, p in trained.items():
        moved = (p.detach() - anchor[name]).reshape(-1).numpy()
        emit("moved/" + name, [float(np.linalg.norm(moved))] + [float(moved[j * len(moved) // SAMPLES]) for j in range(SAMPLES)])


if __name__ == "__main__":
    main()
