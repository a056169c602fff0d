#!/usr/bin/env python3
"""Makes resnet_goldens.txt: what PyTorch computes, in float64, for the seven ResNets.

The weights are those of nn/init.h (SeededResnetParameters, seed 7, kRandomized), made here a second time from the same definition:
Philox4x32-10 under (seed, stream = FNV-1a-64 of the tensor's name), Box-Muller in double, rounded to float32. Both sides' logarithms and
cosines may differ in the last bit of a double, so that about one weight in 10^8 may round to the other float: the sums of all weights are
compared to 1e-9 and not their hash.

Needs numpy, torch, torchvision. Usage: make_resnet_goldens.py > resnet_goldens.txt

Lines of the output: "ARCH QUANTITY VALUE...". For a stage output t of n elements, "layerS_norm" is its 2-norm and "layerS_samples" its
elements floor(j n / 128), j = 0..127, in row-major order of C,H,W.
"""

import sys

import numpy as np
import torch
import torchvision

SEED = 7
IMAGE_SHAPE = (1, 3, 64, 48)
SAMPLES = 128
ARCHITECTURES = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"]
CHUNK = 1 << 20  # Philox blocks at a time


def stream_of_name(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def philox_u64_pairs(seed, stream, first_block, count):
    """Two u64 per block: the numbers that Random(seed, stream).next_u64() gives."""
    mask = np.uint64(0xFFFFFFFF)
    block = np.arange(first_block, first_block + count, dtype=np.uint64)
    c = [block & mask, block >> np.uint64(32), np.full(count, stream & 0xFFFFFFFF, np.uint64), np.full(count, stream >> 32, np.uint64)]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c[0]
        p1 = np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), p1 & mask, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), p0 & mask]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c[0] | (c[1] << np.uint64(32)), c[2] | (c[3] << np.uint64(32))


def uniforms(seed, stream, count):
    out = np.empty(count + count % 2)
    for begin in range(0, len(out) // 2, CHUNK):
        n = min(CHUNK, len(out) // 2 - begin)
        a, b = philox_u64_pairs(seed, stream, begin, n)
        for offset, bits in ((0, a), (1, b)):
            out[2 * begin + offset : 2 * (begin + n) : 2] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return out[:count]


def normals(seed, stream, count):
    u = uniforms(seed, stream, count + count % 2)
    radius = np.sqrt(-2.0 * np.log(1.0 - u[0::2]))
    angle = 2.0 * np.pi * u[1::2]
    out = np.empty(len(u))
    out[0::2] = radius * np.cos(angle)
    out[1::2] = radius * np.sin(angle)
    return out[:count]


def parameter(name, shape, closing_bn, feature_channels):
    stream = stream_of_name(name)
    count = int(np.prod(shape))
    if name.startswith("fc."):
        bound = 1 / np.sqrt(feature_channels)
        values = -bound + (bound + bound) * uniforms(SEED, stream, count)
    elif len(shape) == 4:
        values = np.sqrt(2.0 / (shape[0] * shape[2] * shape[3])) * normals(SEED, stream, count)
    elif name.endswith("running_var"):
        values = 0.5 + (1.5 - 0.5) * uniforms(SEED, stream, count)
    elif name.endswith(".weight"):
        low, high = (0.1, 0.3) if closing_bn else (0.5, 1.5)
        values = low + (high - low) * uniforms(SEED, stream, count)
    else:  # bias, running_mean
        values = 0.2 * normals(SEED, stream, count)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def emit(arch, quantity, values):
    print(arch, quantity, *("%.9g" % v for v in np.asarray(values, dtype=np.float64).ravel()))


def sampled(t):
    flat = t[0].reshape(-1).numpy()
    return flat[[j * len(flat) // SAMPLES for j in range(SAMPLES)]]


def run(arch, images):
    net = getattr(torchvision.models, arch)(weights=None).eval()
    features = net.fc.in_features
    closing = ".bn3.weight" if hasattr(net.layer1[0], "conv3") else ".bn2.weight"
    state = net.state_dict()
    total = squares = 0.0
    for name in state:
        if name.endswith("num_batches_tracked"):
            continue
        state[name] = parameter(name, tuple(state[name].shape), name.endswith(closing), features)
        values = state[name].double()
        total += float(values.abs().sum())
        squares += float((values**2).sum())
    net.load_state_dict(state)
    del state
    net = net.double()
    emit(arch, "parameter_count", [sum(p.numel() for p in net.parameters())])
    print(arch, "absolute_sum", repr(total))
    print(arch, "sum_of_squares", repr(squares))
    with torch.no_grad():
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        for stage in range(1, 5):
            x = getattr(net, f"layer{stage}")(x)
            emit(arch, f"layer{stage}_norm", [float(x.norm())])
            emit(arch, f"layer{stage}_samples", sampled(x))
        pooled = net.avgpool(x).flatten(1)
        emit(arch, "features_norm", [float(pooled.norm())])
        emit(arch, "features_samples", sampled(pooled))
        emit(arch, "logits", net.fc(pooled))
        if arch in ("resnet18", "resnet50"):  # and the same through the module's own forward
            assert torch.equal(net(images), net.fc(pooled))


def main():
    images = torch.from_numpy(normals(SEED, stream_of_name("images"), int(np.prod(IMAGE_SHAPE))).astype(np.float32)).reshape(IMAGE_SHAPE)
    print("# made by make_resnet_goldens.py with torch", torch.__version__, "torchvision", torchvision.__version__, "numpy", np.__version__)
    for arch in ARCHITECTURES:
        print(arch, file=sys.stderr)
        run(arch, images.double())


if __name__ == "__main__":
    main()
