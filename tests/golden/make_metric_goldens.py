"""Makes metrics/*.txt and metrics/random_maps.csv: pixel metrics of small maps by an implementation that shares
nothing with the engine's. Run: python make_metric_goldens.py DIRECTORY   (needs numpy, scipy and scikit-learn)

The cases are computed from the definitions in exact rational arithmetic, one pass over the pixels for every
threshold. The 1,000 random maps are computed by scikit-learn (ROCAUC, average precision) and by plain NumPy on
floats (PRO), and differ from exact values by rounding. metrics/README.md describes the format.
"""

import bisect
import csv
import pathlib
import sys
from fractions import Fraction

import numpy
import scipy.ndimage
import sklearn.metrics

EIGHT = numpy.ones((3, 3), dtype=int)


class Case:
    def __init__(self, name, about, maps, limit=0.3, thresholds=7):
        self.name, self.about, self.maps, self.limit, self.thresholds = name, about, maps, limit, thresholds


def pixels_and_regions(maps):
    """(scores of normal pixels, [(kind, scores of one region)])"""
    normal, regions = [], []
    for kind, scores, mask in maps:
        labels, count = scipy.ndimage.label(mask, structure=EIGHT)
        normal += [float(s) for s in scores[labels == 0]]
        regions += [(kind, [float(s) for s in scores[labels == i + 1]]) for i in range(count)]
    return normal, regions


def exact_auroc(anomalous, normal):
    twice = sum(2 * (a > n) + (a == n) for a in anomalous for n in normal)
    return Fraction(twice, 2 * len(anomalous) * len(normal))


def exact_average_precision_and_f1(anomalous, normal):
    every = sorted(set(anomalous) | set(normal), reverse=True)
    area, found_before, best = Fraction(0), 0, (Fraction(-1), None)
    for i, threshold in enumerate(every):
        found = sum(a >= threshold for a in anomalous)
        alarms = sum(n >= threshold for n in normal)
        area += Fraction(found - found_before, len(anomalous)) * Fraction(found, found + alarms)
        f1 = Fraction(2 * found, found + alarms + len(anomalous))
        if f1 > best[0]:
            best = (f1, every[i + 1] if i + 1 < len(every) else None)
        found_before = found
    return area, best


def area_to(points, limit):
    """Trapezoids under points (x rising) from the first x to limit, in rationals."""
    area = Fraction(0)
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        if x0 >= limit or x1 == x0:
            continue
        end = min(x1, limit)
        y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        area += (end - x0) * (y0 + y_end) / 2
    return area


def exact_pro(regions, normal, limit):
    every = sorted(set(normal) | {s for region in regions for s in region}, reverse=True)
    points = [(Fraction(0), Fraction(0))]
    for threshold in every:
        x = Fraction(sum(n >= threshold for n in normal), len(normal))
        y = sum(Fraction(sum(s >= threshold for s in region), len(region)) for region in regions) / len(regions)
        points.append((x, y))
    return area_to(points, limit) / limit


def exact_pro_evenly_spaced(regions, normal, limit, count):
    ordered = sorted(normal)
    points = [(Fraction(1), Fraction(1))]
    for position in numpy.linspace(0, len(ordered) - 1, num=count, dtype=int):
        threshold = ordered[position]
        x = 1 - Fraction(int(position) + 1, len(ordered))
        y = sum(Fraction(sum(s > threshold for s in region), len(region)) for region in regions) / len(regions)
        points.append((x, y))
    return area_to(points[::-1], limit) / limit


def write_case(folder, case):
    normal, labelled = pixels_and_regions(case.maps)
    regions = [scores for _, scores in labelled]
    anomalous = [s for region in regions for s in region]
    limit = Fraction(case.limit)
    out = [f"# {case.about}", f"fpr_limit {case.limit!r}", f"evenly_spaced_thresholds {case.thresholds}"]
    for kind, scores, mask in case.maps:
        out.append(f"map {kind} {scores.shape[0]} {scores.shape[1]}")
        out += [" ".join(repr(float(s)) for s in row) for row in scores]
        out += [" ".join(str(int(m)) for m in row) for row in mask]
    out += [f"expect normal_pixels {len(normal)}", f"expect anomalous_pixels {len(anomalous)}",
            f"expect regions {len(regions)}"]

    def value(name, fraction):
        out.append(f"expect {name} {float(fraction)!r} {fraction.numerator}/{fraction.denominator}")

    if anomalous:
        average_precision, (f1, threshold) = exact_average_precision_and_f1(anomalous, normal)
        value("average_precision", average_precision)
        value("best_f1", f1)
        if threshold is not None:
            out.append(f"expect best_f1_threshold {threshold!r}")
    if anomalous and normal:
        value("pixel_auroc", exact_auroc(anomalous, normal))
        value("pro", exact_pro(regions, normal, limit))
        value("pro_evenly_spaced", exact_pro_evenly_spaced(regions, normal, limit, case.thresholds))
        for kind in sorted({kind for kind, _ in labelled}):
            of_kind = [scores for k, scores in labelled if k == kind]
            value(f"pixel_auroc_of_kind_{kind}", exact_auroc([s for r in of_kind for s in r], normal))
            value(f"pro_of_kind_{kind}", exact_pro(of_kind, normal, limit))
    (folder / f"{case.name}.txt").write_text("\n".join(out) + "\n")


def grid(text):
    return numpy.array([[int(c) for c in row] for row in text.split()])


def cases():
    random = numpy.random.default_rng(20260101)

    def scores(height, width, levels=None):
        values = random.uniform(size=(height, width)) if levels is None else random.integers(0, levels, (height, width))
        return values.astype(numpy.float32)

    square = grid("000000 011000 011000 000010 000000")
    yield Case("two_regions", "Distinct scores, two regions of different size in one image.", [(0, scores(5, 6), square)])
    yield Case("ties", "Scores on four levels: equal scores are one threshold.", [(0, scores(5, 6, 4), square)])
    yield Case("all_equal", "One score everywhere: ROCAUC 1/2, the PRO curve is the diagonal.",
               [(0, numpy.full((5, 6), 0.25, numpy.float32), square)])
    diagonal = grid("10000 01000 00100 00010 00001")
    yield Case("diagonal", "Pixels that touch at corners are one region (8-connectivity), also at the border.",
               [(0, scores(5, 5), diagonal)])
    yield Case("single_pixels", "Regions of one pixel beside a large one weigh as much as it.",
               [(0, scores(6, 7), grid("1010101 0000000 1010101 0000000 0111110 0111110"))])
    yield Case("ring", "A ring and a dot inside it are two regions.",
               [(0, scores(7, 7), grid("0000000 0111110 0100010 0101010 0100010 0111110 0000000"))])
    yield Case("normal_images_count", "The normal pixels of images without an anomaly count in the false-positive rate.",
               [(0, scores(4, 4), numpy.zeros((4, 4), int)), (1, scores(5, 6), square), (0, scores(3, 8), numpy.zeros((3, 8), int))])
    yield Case("perfect", "Every anomalous pixel above every normal one: both PRO definitions give 1.",
               [(0, (square + scores(5, 6) / 2).astype(numpy.float32), square)])
    yield Case("reversed", "Every anomalous pixel below every normal one.",
               [(0, (scores(5, 6) / 2 - square).astype(numpy.float32), square)])
    signed = scores(5, 6, 5) - 2
    signed[0, 0], signed[1, 1] = -0.0, 0.0
    yield Case("signed_zero", "Negative scores; 0 and -0 are equal.", [(0, signed, square)])
    yield Case("limit_between", "A limit that falls between two thresholds far apart.", [(0, scores(5, 6, 3), square)], limit=0.41)
    yield Case("limit_one", "The whole curve.", [(0, scores(5, 6, 9), square)], limit=1.0)
    yield Case("few_thresholds", "Two evenly spaced thresholds: the lowest and the highest normal score.",
               [(0, scores(6, 6), grid("000000 011100 011100 000000 000011 000011"))], thresholds=2)
    yield Case("many_thresholds", "More evenly spaced thresholds than pixels.",
               [(0, scores(5, 6, 6), square)], thresholds=101)
    kinds = [(k, scores(6, 5, 12), (random.uniform(size=(6, 5)) < 0.25).astype(int)) for k in (1, 2, 1, 3, 2)]
    yield Case("kinds", "Three kinds of defects and normal images: each kind against all normal pixels.",
               [(0, scores(6, 5, 12), numpy.zeros((6, 5), int))] + kinds)
    yield Case("no_anomaly", "Without an anomalous pixel nothing but the counts is defined.",
               [(0, scores(3, 3), numpy.zeros((3, 3), int))])
    yield Case("no_normal", "Without a normal pixel neither ROCAUC nor PRO is defined.",
               [(0, scores(3, 3), numpy.ones((3, 3), int))])


MASK64 = (1 << 64) - 1


class SplitMix64:
    """Steele, Lea and Flood, OOPSLA 2014."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK64
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
        return z ^ (z >> 31)

    def below(self, bound):
        return self.next() % bound


def random_map(seed):
    """README.md says how; the engine's test makes the same."""
    random = SplitMix64(seed)
    height, width = 4 + random.below(29), 4 + random.below(29)
    levels = (3, 17, 1000, 1 << 24)[random.below(4)]
    mask = numpy.zeros((height, width), numpy.uint8)
    for _ in range(1 + random.below(4)):
        top, left = random.below(height), random.below(width)
        mask[top : top + 1 + random.below(8), left : left + 1 + random.below(8)] = 1
    mask[0, 0] = 0
    shift = random.below(levels)
    scores = numpy.empty((height, width), numpy.float32)
    for y in range(height):
        for x in range(width):
            scores[y, x] = random.below(levels) + (shift if mask[y, x] and random.below(2) else 0)
    return scores, mask


def float_pro(scores, mask, limit, thresholds=None):
    labels, count = scipy.ndimage.label(mask, structure=EIGHT)
    normal = numpy.sort(scores[labels == 0])
    regions = [numpy.sort(scores[labels == i + 1]) for i in range(count)]
    if thresholds is None:
        at = numpy.unique(scores)[::-1]
        x = [0.0] + [1 - bisect.bisect_left(normal, t) / len(normal) for t in at]
        y = [0.0] + [float(numpy.mean([1 - numpy.searchsorted(r, t, "left") / len(r) for r in regions])) for t in at]
    else:
        positions = numpy.linspace(0, len(normal) - 1, num=thresholds, dtype=int)[::-1]
        x = [1 - (p + 1) / len(normal) for p in positions] + [1.0]
        y = [float(numpy.mean([1 - numpy.searchsorted(r, normal[p], "right") / len(r) for r in regions])) for p in positions]
        y.append(1.0)
    x, y = numpy.array(x), numpy.array(y)
    # At equal x the curve goes straight up: interpolate on the last of them before the limit.
    inside = x <= limit
    x_end, y_end = x[inside], y[inside]
    if x_end[-1] < limit:
        i = int(inside.sum())
        y_limit = y[i - 1] + (y[i] - y[i - 1]) * (limit - x[i - 1]) / (x[i] - x[i - 1])
        x_end, y_end = numpy.append(x_end, limit), numpy.append(y_end, y_limit)
    return float(numpy.trapezoid(y_end, x_end)) / limit


def write_random(folder, count=1000):
    with open(folder / "random_maps.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seed", "pixel_auroc", "average_precision", "pro", "pro_evenly_spaced_50"])
        for seed in range(count):
            scores, mask = random_map(seed)
            flat = (mask.ravel(), scores.ravel().astype(numpy.float64))
            writer.writerow([seed] + [repr(float(v)) for v in (
                sklearn.metrics.roc_auc_score(*flat), sklearn.metrics.average_precision_score(*flat),
                float_pro(scores, mask, 0.3), float_pro(scores, mask, 0.3, 50))])


def main():
    folder = pathlib.Path(sys.argv[1])
    for case in cases():
        write_case(folder, case)
    write_random(folder)


if __name__ == "__main__":
    main()
