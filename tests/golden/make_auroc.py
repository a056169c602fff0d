"""Makes auroc.txt: ROCAUC by scikit-learn on scores with and without ties. Run: python make_auroc.py > auroc.txt

One case: a line "case NAME COUNT AUROC", then COUNT lines "LABEL SCORE"; numbers as hexadecimal floats.
"""

import numpy
from sklearn.metrics import roc_auc_score


def print_case(name, labels, scores):
    scores = numpy.asarray(scores, dtype=numpy.float64)
    print("case", name, len(labels), float(roc_auc_score(labels, scores)).hex())
    for label, score in zip(labels, scores):
        print(int(label), float(score).hex())


def main():
    random = numpy.random.default_rng(7)
    for count, levels in ((10, None), (97, None), (200, None), (50, 3), (128, 10), (200, 2)):
        labels = random.integers(0, 2, count)
        labels[:2] = (0, 1)
        scores = random.normal(size=count) + 0.7 * labels
        if levels is not None:
            scores = numpy.floor(levels * (scores - scores.min()) / (numpy.ptp(scores) + 1e-9))
        print_case(f"{'ties' if levels else 'distinct'}_{count}", labels, scores)
    labels = numpy.array([0] * 40 + [1] * 3)
    print_case("unbalanced", labels, random.normal(size=43) + labels)
    print_case("all_equal", labels, numpy.full(43, 0.25))
    print_case("reversed", labels, -random.uniform(size=43) - 5 * labels)


if __name__ == "__main__":
    main()
