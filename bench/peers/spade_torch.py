#!/usr/bin/env python3
"""SPADE by PyTorch, faiss, SciPy and scikit-learn on a data set in MVTec's layout, beside `panda fit spade` and `panda eval`.

Shares nothing with the engine: torchvision's network and transforms, faiss's flat index, scipy.ndimage's Gaussian, scikit-learn's ROCAUC,
and PRO from its definition in NumPy. Fails where a figure differs by more than 0.1 points. Then times the exact search of one image's
pixels on the same features (drives `bench_knn`), ours and faiss alternating, and `panda score`, by processor time on one thread.

  OPENBLAS_CORETYPE=SKYLAKEX spade_torch.py --data $PANDA_DATA/toothbrush --weights $PANDA_DATA/weights/resnet18-imagenet.safetensors \
      --arch resnet18 --output bench/results/<machine>/<date>-<commit>-spade-toothbrush-resnet18.json
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import tempfile
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import faiss
import numpy
import PIL.Image
import safetensors.torch
import scipy.ndimage
import sklearn.metrics
import torch
import torchvision

from machine_facts import command_output, processor_facts

LIMIT_POINTS = 0.1


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


def masks_of(data, files, crop):
    """As the image: resized by area, cropped; anomalous where at least half of a pixel is."""
    masks = []
    for file in files:
        truth = data / "ground_truth" / file.parent.name / (file.stem + "_mask.png")
        if not truth.exists():
            masks.append(numpy.zeros((crop, crop), dtype=bool))
            continue
        mask = torch.from_numpy(numpy.array(PIL.Image.open(truth).convert("L")) >= 128).double()[None, None]
        area = torch.nn.functional.interpolate(mask, size=(256, 256), mode="area")[0, 0].numpy()
        border = (256 - crop) // 2
        masks.append(area[border:border + crop, border:border + crop] >= 0.5)
    return numpy.stack(masks)


def peer_figures(data, test, gallery, queries, gallery_pooled, pooled, crop):
    maps = numpy.zeros((len(test), crop, crop))
    for layer, query in zip(gallery, queries):
        index = faiss.IndexFlatL2(layer.shape[1])
        index.add(rows_of(layer))
        squared, _ = index.search(rows_of(query), 1)
        grid = torch.from_numpy(numpy.sqrt(numpy.maximum(squared, 0))).double().reshape(len(test), 1, *query.shape[2:])
        maps += torch.nn.functional.interpolate(grid, size=(crop, crop), mode="bilinear")[:, 0].numpy()
    maps = numpy.stack([scipy.ndimage.gaussian_filter(m, 5) for m in maps])
    masks = masks_of(data, test, crop)
    index = faiss.IndexFlatL2(pooled.shape[1])
    index.add(gallery_pooled.numpy())
    image_scores = index.search(pooled.numpy(), 2)[0].sum(1)
    return {"pixel_auroc": float(sklearn.metrics.roc_auc_score(masks.ravel(), maps.ravel())),
            "pro": pro(maps, masks),
            "image_auroc": float(sklearn.metrics.roc_auc_score([f.parent.name != "good" for f in test], image_scores))}


def run_panda(*words):
    """The command's JSON, and its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run([str(word) for word in words] + ["--threads", "1", "-q", "-o", "json"], check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(out), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def our_figures(options, test, folder):
    """What `panda eval` says, and the processor time of scoring one image: of many less that of few."""
    model = folder / "model.panda"
    fitted, fit_seconds = run_panda(options.program, "fit", "spade", "--dataset", "mvtec", "--data", options.data, "--weights", options.weights,
                                    "--crop", options.crop, "--out", model)
    result, _ = run_panda(options.program, "eval", model, "--dataset", "mvtec", "--data", options.data)
    short, long = 2, 14
    difference = min(run_panda(options.program, "score", model, *test[:long])[1] - run_panda(options.program, "score", model, *test[:short])[1]
                     for _ in range(options.rounds))
    figures = {name: result[name] for name in ("pixel_auroc", "pro", "image_auroc", "pro_evenly_spaced")}
    return figures, {"fit_processor_seconds": fit_seconds, "score_processor_seconds_per_image": difference / (long - short),
                     "gallery_pixels": fitted["gallery_pixels"], "gallery_bytes": fitted["gallery_bytes"]}


class BenchKnn:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "PANDA_THREADS": "1"})
        self.description = self.process.stdout.readline().strip()

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()


def search_times(options, gallery, queries, folder):
    """Nearest pixels of one image, layer by layer. Each filter of ours is timed; `panda` takes what a probe of the gallery says."""
    bench = BenchKnn(options.bench_knn)
    peak = float(bench.description.split(", ")[-1].split()[0])
    layers = []
    for i, (layer, query) in enumerate(zip(gallery, queries)):
        rows, wanted = rows_of(layer), rows_of(query[:1])
        numpy.save(folder / "g.npy", rows)
        numpy.save(folder / "q.npy", wanted)
        index = faiss.IndexFlatL2(rows.shape[1])
        index.add(rows)
        flop = 2.0 * len(rows) * len(wanted) * rows.shape[1]
        seconds = {"int8": [], "int16": [], "faiss": []}
        for _ in range(options.rounds):
            for code in ("int8", "int16"):
                assert bench.ask(f"gallery {folder}/g.npy {code}")[3] == code
                bench.ask(f"queries {folder}/q.npy")
                seconds[code].append(float(bench.ask("search 1 1")[1]))
            begin = time.process_time()
            _, theirs = index.search(wanted, 1)
            seconds["faiss"].append(time.process_time() - begin)
        bench.ask(f"write {folder}/i.npy {folder}/d.npy")
        ours, distances = numpy.load(folder / "i.npy"), numpy.load(folder / "d.npy")
        exact = ((wanted.astype(float) - rows[theirs[:, 0]].astype(float)) ** 2).sum(1)
        assert (distances[:, 0] <= exact * (1 + 1e-12)).all(), "faiss knows nearer pixels"
        least = {name: min(times) for name, times in seconds.items()}
        best = min(("int8", "int16"), key=least.get)
        layers.append({"layer": i + 1, "nb": len(rows), "nq": len(wanted), "d": rows.shape[1], "seconds": seconds, "min": least, "faster_filter": best,
                       "gflops": flop / least[best] / 1e9, "percent_of_f32_fma_peak": flop / least[best] / 1e7 / peak,
                       "percent_of_that_filter_peak": flop / least[best] / 1e7 / (peak * {"int8": 4, "int16": 2}[best]),
                       "faiss_to_ours": least["faiss"] / least[best], "same_neighbours": float((ours == theirs).mean())})
    total = {name: sum(layer["min"][layer["faster_filter"] if name == "ours" else name] for layer in layers) for name in ("ours", "faiss")}
    flop = sum(2.0 * layer["nb"] * layer["nq"] * layer["d"] for layer in layers)
    return {"device": bench.description, "layers": layers, "one_image": {
        "ours_seconds": total["ours"], "faiss_seconds": total["faiss"], "faiss_to_ours": total["faiss"] / total["ours"],
        "gflops": flop / total["ours"] / 1e9, "percent_of_f32_fma_peak": flop / total["ours"] / 1e7 / peak}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/panda")
    parser.add_argument("--bench-knn", default="build/release/bin/bench_knn")
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    load_before = os.getloadavg()
    network = load_network(options.weights, options.arch)
    train = sorted((options.data / "train" / "good").iterdir())
    test = sorted((options.data / "test").glob("*/*"))
    gallery, gallery_pooled = features_of(network, train, options.crop)
    queries, pooled = features_of(network, test, options.crop)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        searches = search_times(options, gallery, queries, folder)
        ours, cost = our_figures(options, test, folder)
    theirs = peer_figures(options.data, test, gallery, queries, gallery_pooled, pooled, options.crop)
    difference = {name: 100 * (ours[name] - theirs[name]) for name in theirs}
    report = {"what": f"SPADE on {options.data.name}, {options.arch}, {len(train)} training images, {len(test)} tested, crop {options.crop}",
              "ours": ours, "peer": theirs, "difference_points": difference, "cost": cost, "exact_search": searches, "threads": 1, "clock": "cpu",
              "machine": processor_facts(), "torch": torch.__version__, "torchvision": torchvision.__version__, "faiss": faiss.__version__,
              "scikit_learn": sklearn.__version__, "scipy": scipy.__version__, "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE", ""),
              "load_average_before": load_before, "load_average_after": os.getloadavg(),
              "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d")}
    print(json.dumps(report, indent=1))
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(report, indent=1) + "\n")
    worst = max(abs(points) for points in difference.values())
    assert worst <= LIMIT_POINTS, f"ours and the peer's differ by {worst} points"


if __name__ == "__main__":
    main()
