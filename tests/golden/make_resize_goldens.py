#!/usr/bin/env python3
"""Writes data/resize.txt: hashes of images resized by Pillow, bilinear with antialiasing.

Needs numpy and Pillow. The images are made from splitmix64 of a counter, so that the C++ test makes the same ones
(tests/unit/data/resize_test.cpp). A line: seed, kind, channels, height, width, new height, new width, crc32, adler32.
"""
import os
import zlib

import numpy as np
from PIL import Image, __version__


def splitmix64(counter):
    with np.errstate(over="ignore"):
        z = (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def make(seed, kind, channels, height, width):
    counter = np.arange(height * width * channels, dtype=np.uint64) + np.uint64(seed << 32)
    samples = (splitmix64(counter) >> np.uint64(56)).astype(np.uint8)
    if kind == 1:  # black and white only: sums at their extremes
        samples = np.where(samples < 128, 0, 255).astype(np.uint8)
    return samples.reshape((height, width, channels))


def main():
    rng = np.random.default_rng(0)
    lines = [f"# Pillow {__version__}"]
    for seed in range(200):
        channels = 1 if seed % 2 else 3
        kind = 1 if seed % 5 == 4 else 0
        limit = 90 if seed < 190 else 400
        height, width, new_height, new_width = (int(v) for v in rng.integers(1, limit, 4))
        if seed % 20 == 7:
            new_height = height
        if seed % 20 == 13:
            new_width = width
        if seed % 40 == 10:
            new_height, new_width = 224, 256
        if seed % 40 == 30:
            new_height, new_width = 1, 1
        image = make(seed, kind, channels, height, width)
        picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
        resized = np.asarray(picture.resize((new_width, new_height), Image.Resampling.BILINEAR)).tobytes()
        lines.append(f"{seed} {kind} {channels} {height} {width} {new_height} {new_width} "
                     f"{zlib.crc32(resized)} {zlib.adler32(resized)}")
    os.makedirs("data", exist_ok=True)
    with open("data/resize.txt", "w") as out:
        out.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    main()
