"""Makes kernels/kmeans.txt: scikit-learn's K-means in f64, from given centers to convergence.
Run: python make_kmeans_goldens.py DIRECTORY   (needs numpy and scikit-learn)

The points are made by a formula that the test has too. Each case: n d k weighted, iterations, inertia, labels.
"""

import pathlib
import sys

import numpy
import sklearn.cluster

CASES = {"small": (60, 2, 3, False), "many": (400, 6, 8, False), "weighted": (500, 5, 7, True)}


def points(n, d):
    i = numpy.arange(n * d, dtype=numpy.int64)
    return ((i * i * 31 + i * 7919) % 1009 - 504).reshape(n, d) / 64


def main(directory):
    with open(pathlib.Path(directory) / "kmeans.txt", "w", encoding="ascii") as out:
        for name, (n, d, k, weighted) in CASES.items():
            x = points(n, d)
            weights = (numpy.arange(n) % 4 + 1) / 2 if weighted else None
            fit = sklearn.cluster.KMeans(k, init=x[:k], n_init=1, max_iter=300, tol=0, algorithm="lloyd")
            fit.fit(x, sample_weight=weights)
            print(f"{name}.shape", n, d, k, int(weighted), file=out)
            print(f"{name}.iterations", fit.n_iter_, file=out)
            print(f"{name}.inertia", repr(float(fit.inertia_)), file=out)
            print(f"{name}.labels", *fit.labels_, file=out)


main(sys.argv[1])
