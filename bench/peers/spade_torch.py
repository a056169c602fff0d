"""SPADE by PyTorch, faiss, SciPy and scikit-learn on a data set in MVTec's layout: what `panda eval` is compared with.

Run: python spade_torch.py --data DIR --weights W.safetensors --arch resnet18 [--crop 224] [--threads N]

Shares nothing with the engine: torchvision's network and transforms, faiss's flat index, scipy.ndimage's Gaussian,
scikit-learn's ROCAUC, and PRO from its definition in NumPy. Prints one JSON object.
"""

import argparse
import json
import pathlib
import time

import faiss
import numpy
import PIL.Image
import safetensors.torch
import scipy.ndimage
import sklearn.metrics
import torch
import torchvision


def load_network(path, arch):
    network = getattr(torchvision.models, arch)(weights=None)
    state = {name: tensor.float() if tensor.is_floating_point() else tensor
             for name, tensor in safetensors.torch.load_file(path).items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing) and not unexpected, (missing, unexpected)
    return network.eval()


def features_of(network, files, crop):
    transform = torchvision.transforms.Compose([
        torchvision.transforms.Resize(256), torchvision.transforms.CenterCrop(crop), torchvision.transforms.ToTensor(),
        torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    layers, pooled = ([], [], []), []
    with torch.no_grad():
        for file in files:
            x = transform(PIL.Image.open(file).convert("RGB"))[None]
            x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
            for i in range(3):
                x = getattr(network, f"layer{i + 1}")(x)
                layers[i].append(x[0])
            pooled.append(network.avgpool(network.layer4(x)).flatten())
    return [torch.stack(layer) for layer in layers], torch.stack(pooled)


def rows_of(layer):
    n, c, h, w = layer.shape
    return numpy.ascontiguousarray(layer.permute(0, 2, 3, 1).reshape(n * h * w, c).numpy())


def pro(maps, masks, limit=0.3):
    """The curve at every distinct score by cumulative sums, then trapezoids."""
    scores, weights, normal, regions = [], [], [], 0
    for map_, mask in zip(maps, masks):
        labels, count = scipy.ndimage.label(mask, structure=numpy.ones((3, 3)))
        sizes = numpy.bincount(labels.ravel(), minlength=count + 1)
        share = numpy.concatenate([[0.0], 1.0 / sizes[1:]])
        scores.append(map_.ravel())
        weights.append(share[labels.ravel()])
        normal.append(labels.ravel() == 0)
        regions += count
    scores, weights, normal = map(numpy.concatenate, (scores, weights, normal))
    order = numpy.argsort(-scores, kind="stable")
    scores, weights, normal = scores[order], weights[order], normal[order]
    x = numpy.cumsum(normal) / normal.sum()
    y = numpy.cumsum(weights) / regions
    last = numpy.append(scores[1:] != scores[:-1], True)
    x, y = numpy.append(0, x[last]), numpy.append(0, y[last])
    inside = x <= limit
    y_limit = numpy.interp(limit, x, y)
    return float(numpy.trapezoid(numpy.append(y[inside], y_limit), numpy.append(x[inside], limit)) / limit)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    network = load_network(options.weights, options.arch)
    train = sorted((options.data / "train" / "good").iterdir())
    test = sorted((options.data / "test").glob("*/*"))
    gallery, gallery_pooled = features_of(network, train, options.crop)
    queries, pooled = features_of(network, test, options.crop)

    maps, seconds = numpy.zeros((len(test), options.crop, options.crop)), []
    for layer, query in zip(gallery, queries):
        index = faiss.IndexFlatL2(layer.shape[1])
        index.add(rows_of(layer))
        begin = time.perf_counter()
        squared, _ = index.search(rows_of(query), 1)
        seconds.append(time.perf_counter() - begin)
        grid = torch.from_numpy(numpy.sqrt(numpy.maximum(squared, 0))).double().reshape(len(test), 1, *query.shape[2:])
        maps += torch.nn.functional.interpolate(grid, size=(options.crop, options.crop), mode="bilinear")[:, 0].numpy()
    maps = numpy.stack([scipy.ndimage.gaussian_filter(m, 5) for m in maps])

    masks = []
    for file in test:
        truth = options.data / "ground_truth" / file.parent.name / (file.stem + "_mask.png")
        if not truth.exists():
            masks.append(numpy.zeros(maps.shape[1:], dtype=bool))
            continue
        mask = torch.from_numpy(numpy.array(PIL.Image.open(truth).convert("L")) >= 128).double()[None, None]
        area = torch.nn.functional.interpolate(mask, size=(256, 256), mode="area")[0, 0].numpy()
        border = (256 - options.crop) // 2
        masks.append(area[border:border + options.crop, border:border + options.crop] >= 0.5)
    masks = numpy.stack(masks)
    index = faiss.IndexFlatL2(pooled.shape[1])
    index.add(gallery_pooled.numpy())
    image_scores = index.search(pooled.numpy(), 2)[0].sum(1)
    print(json.dumps({
        "pixel_auroc": float(sklearn.metrics.roc_auc_score(masks.ravel(), maps.ravel())),
        "pro": pro(maps, masks),
        "image_auroc": float(sklearn.metrics.roc_auc_score([f.parent.name != "good" for f in test], image_scores)),
        "knn_seconds_by_layer": seconds, "images": len(test)}))


if __name__ == "__main__":
    main()
