#!/usr/bin/env python3
"""Makes tests/golden/kernels/*.txt: what PyTorch computes in float64, for the oracle to equal (needs torch; no test runs this).

Inputs are made of integers on both sides (see `values`), so they are exact and need no file. Each line of an output file is
"case-name value value ...", values in row-major order.
"""
import pathlib

import torch
import torch.nn.functional as F

OUT = pathlib.Path(__file__).resolve().parent / "kernels"


def values(seed, *shape):
    """Element i is ((i * 7919 + seed * 104729) mod 211 - 105) / 64: exact in f32."""
    count = 1
    for extent in shape:
        count *= extent
    i = torch.arange(count, dtype=torch.int64)
    return (((i * 7919 + seed * 104729) % 211 - 105).to(torch.float64) / 64).reshape(shape)


def line(name, tensor):
    return name + " " + " ".join(repr(float(v)) for v in tensor.reshape(-1)) + "\n"


def conv_cases():
    for name, (n, c, h, w, k, r, s, stride, pad) in {
        "3x3": (2, 3, 5, 6, 4, 3, 3, 1, 1),
        "stride2": (1, 4, 7, 7, 3, 3, 3, 2, 1),
        "1x1_stride2": (1, 5, 5, 4, 2, 1, 1, 2, 0),
        "7x7_stride2": (1, 2, 9, 11, 2, 7, 7, 2, 3),
        "2x4": (1, 2, 5, 6, 3, 2, 4, 1, 1),
    }.items():
        x, f, b = values(1, n, c, h, w), values(2, k, c, r, s), values(3, k)
        y = F.conv2d(x, f, b, stride=stride, padding=pad)
        yield line(name, torch.relu(y + values(4, *y.shape)))


def pool_cases():
    x = values(5, 2, 3, 7, 8)
    yield line("max_3_2_1", F.max_pool2d(x, 3, 2, 1))
    yield line("avg_3_2_1", F.avg_pool2d(x, 3, 2, 1))
    yield line("avg_2_1_0", F.avg_pool2d(x, 2, 1, 0))
    yield line("global", x.mean(dim=(2, 3)))


def other_cases():
    x = values(6, 3, 7)
    yield line("softmax", torch.softmax(x, 1))
    yield line("sigmoid", torch.sigmoid(x))
    yield line("normalize", F.normalize(x, dim=1))
    yield line("linear", F.linear(x, values(7, 4, 7), values(8, 4)))
    y = values(9, 2, 4, 3, 3)
    yield line("batch_norm", F.batch_norm(y, values(10, 4), values(11, 4).abs() + 0.125, values(12, 4), values(13, 4), False, 0.0, 1e-5))


def main():
    OUT.mkdir(exist_ok=True)
    (OUT / "conv2d.txt").write_text("".join(conv_cases()))
    (OUT / "pool2d.txt").write_text("".join(pool_cases()))
    (OUT / "other.txt").write_text("".join(other_cases()))


if __name__ == "__main__":
    main()
