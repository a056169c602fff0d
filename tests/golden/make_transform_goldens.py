#!/usr/bin/env python3
"""Writes data/transforms.txt: hashes of the floats that torchvision's transforms give; with PANDA_DATA set, also
data/imagenet_transforms.txt for 50 photographs of imagenet-sample.

Needs numpy, Pillow, torch and torchvision. A line of the first: mode, seed, channels, height, width, crc32, adler32 (images as in
make_resize_goldens.py); of the second: file below PANDA_DATA, crc32, adler32.
"""
import os
import zlib

import torchvision
from make_resize_goldens import make
from PIL import Image, __version__
from torchvision import transforms as T

NORMALIZE = T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def hashes(tensor):
    data = tensor.contiguous().numpy().tobytes()
    return f"{zlib.crc32(data)} {zlib.adler32(data)}"


def transform(mode):
    resize = {"short": T.Resize(256), "square": T.Resize((256, 256)), "none": T.Lambda(lambda image: image)}[mode]
    return T.Compose([resize, T.CenterCrop(224), T.ToTensor(),
                      T.Lambda(lambda x: x.repeat(3, 1, 1) if x.shape[0] == 1 else x), NORMALIZE])


def main():
    head = f"# torchvision {torchvision.__version__}, Pillow {__version__}\n"
    sizes = [(32, 32), (28, 28), (300, 400), (500, 333), (256, 374), (257, 301), (700, 300), (225, 227), (1024, 1024), (640, 257)]
    with open("data/transforms.txt", "w") as out:
        out.write(head)
        for seed, (height, width) in enumerate(sizes):
            for mode in ("short", "square", "none"):
                if mode == "none" and min(height, width) < 224:
                    continue
                for channels in (1, 3):
                    image = make(seed, 0, channels, height, width)
                    picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
                    out.write(f"{mode} {seed} {channels} {height} {width} {hashes(transform(mode)(picture))}\n")
    root = os.environ.get("PANDA_DATA")
    if not root:
        return
    files = sorted(os.path.join("imagenet-sample", d, f) for d in os.listdir(f"{root}/imagenet-sample")
                   for f in os.listdir(f"{root}/imagenet-sample/{d}"))[::20]
    with open("data/imagenet_transforms.txt", "w") as out:
        out.write(head)
        for name in files:
            out.write(f"{name} {hashes(transform('short')(Image.open(f'{root}/{name}').convert('RGB')))}\n")


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    main()
