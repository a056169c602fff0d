#!/usr/bin/env python3
"""Makes imagenet_goldens.txt: what torchvision and PyTorch give for the ImageNet sample with the two real networks.

Needs numpy, torch, torchvision, Pillow, safetensors and the folder $PANDA_DATA. Usage: make_imagenet_goldens.py > imagenet_goldens.txt

Lines of the output: "MODEL QUANTITY VALUE...". "predictions" are the classes with the largest logit, in float32, of the images in
the order of their sorted folder names (an image's true class is its rank); "top1" counts the right ones. "logits" are those of the
first image in float64.
"""

import os
import sys

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

BATCH = 20


def load_images(root):
    transform = torchvision.transforms.Compose([
        torchvision.transforms.Resize(256),
        torchvision.transforms.CenterCrop(224),
        torchvision.transforms.ToTensor(),
        torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])
    for folder in sorted(os.listdir(root)):
        (name,) = os.listdir(os.path.join(root, folder))
        yield transform(Image.open(os.path.join(root, folder, name)).convert("RGB"))


def main():
    root = os.environ["PANDA_DATA"]
    images = torch.stack(list(load_images(os.path.join(root, "imagenet-sample"))))
    print("# made by make_imagenet_goldens.py with torch", torch.__version__, "torchvision", torchvision.__version__)
    for model, arch in (("resnet18-imagenet", "resnet18"), ("resnet50-imagenet-f16", "resnet50")):
        net = getattr(torchvision.models, arch)(weights=None).eval()
        state = load_file(os.path.join(root, "weights", model + ".safetensors"))
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        with torch.no_grad():
            predictions = torch.cat([net(batch).argmax(1) for batch in images.split(BATCH)])
            logits = net.double()(images[:1].double())[0]
        print(model, "top1", int((predictions == torch.arange(len(images))).sum()))
        print(model, "predictions", *predictions.tolist())
        print(model, "logits", *("%.9g" % v for v in logits.tolist()))
        print(model, "done", file=sys.stderr)


if __name__ == "__main__":
    main()
