#!/usr/bin/env python3
"""Makes baseline_goldens.txt: scores of the paper's baselines by scikit-learn and NumPy, in float64, for tests/unit/anomaly/.

Features and queries are drawn by NumPy and rounded to multiples of 1/64, so that f32 holds them exactly; they stand in the file.
whitening-tall: 12 images, 5 features; whitening-wide: 6 images, 9 features. Lines: "NAME QUANTITY VALUE...".
  features, queries        row after row
  shrinkage                of sklearn.covariance.ledoit_wolf
  ledoit-wolf              squared Mahalanobis distances of the queries in that covariance (its 1/n turned into 1/(n-1))
  shrunk                   the same with shrinkage 0.3, by numpy.linalg.solve
  plain                    with the pseudo-inverse of the sample covariance
  components               squared lengths of sklearn.decomposition.PCA(3, whiten=True).transform
  left-out                 of each image, in the mean and the covariance of the others, shrinkage 0.3 towards the mean variance of all
svm: 60 images, 7 features, 12 queries, nu n no whole number (rho is not unique where it is); svm-copies: the same with every image twice. "scale" is gamma="scale".
  features, queries        row after row
  gamma                    1 / (d var)
  decision/NU/GAMMA        OneClassSVM.decision_function of the queries, tol=1e-12
  rho/NU/GAMMA             -intercept_
  support/NU/GAMMA         the number of support vectors

Needs numpy, scikit-learn. Usage: make_baseline_goldens.py > baseline_goldens.txt
"""
import numpy as np
import sklearn
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.svm import OneClassSVM

SHRINKAGE, COMPONENTS = 0.3, 3


def line(name, quantity, values):
    print(name, quantity, *(f"{v:.17g}" for v in np.asarray(values, dtype=np.float64).reshape(-1)))


def drawn(rng, n, mixing, mean):
    return np.round((rng.standard_normal((n, len(mean))) @ mixing + mean) * 64) / 64


def distances(queries, mean, inverse):
    z = queries - mean
    return np.einsum("ij,jk,ik->i", z, inverse, z)


def left_out(x, towards):
    result = []
    for i in range(len(x)):
        rest = np.delete(x, i, axis=0)
        covariance = (1 - SHRINKAGE) * np.cov(rest.T) + towards * np.eye(x.shape[1])
        result.append(distances(x[i:i + 1], rest.mean(0), np.linalg.inv(covariance))[0])
    return result


def whitening(name, rng, n, d):
    mixing = rng.standard_normal((d, d)) * np.linspace(2, 0.25, d)
    mean = rng.standard_normal(d) * 3
    x, queries = drawn(rng, n, mixing, mean), drawn(rng, 4, mixing * 1.5, mean)
    line(name, "features", x)
    line(name, "queries", queries)
    covariance = np.cov(x.T)
    towards = SHRINKAGE * np.trace(covariance) / d
    shrunk_by_sklearn, shrinkage = ledoit_wolf(x)
    line(name, "shrinkage", shrinkage)
    line(name, "ledoit-wolf", distances(queries, x.mean(0), np.linalg.inv(shrunk_by_sklearn * n / (n - 1))))
    shrunk = (1 - SHRINKAGE) * covariance + towards * np.eye(d)
    z = queries - x.mean(0)
    line(name, "shrunk", np.sum(z * np.linalg.solve(shrunk, z.T).T, axis=1))
    line(name, "plain", distances(queries, x.mean(0), np.linalg.pinv(covariance, rcond=1e-10, hermitian=True)))
    pca = PCA(COMPONENTS, whiten=True, svd_solver="full").fit(x)
    line(name, "components", np.sum(pca.transform(queries) ** 2, axis=1))
    line(name, "left-out", left_out(x, towards))


def svm(name, rng, copies):
    mixing = rng.standard_normal((7, 7))
    x, queries = drawn(rng, 60, mixing, np.zeros(7)), drawn(rng, 12, mixing * 1.5, np.zeros(7))
    x = np.repeat(x, copies, axis=0)
    line(name, "features", x)
    line(name, "queries", queries)
    line(name, "gamma", 1 / (7 * x.var()))
    for nu in [0.13, 0.57, 0.93, 0.99]:
        for gamma in ["scale", 2**-7, 0.25, 4.0]:
            machine = OneClassSVM(nu=nu, gamma=gamma, tol=1e-12).fit(x)
            line(name, f"decision/{nu:g}/{gamma}", machine.decision_function(queries))
            line(name, f"rho/{nu:g}/{gamma}", -machine.intercept_)
            line(name, f"support/{nu:g}/{gamma}", len(machine.support_))


print(f"# made by make_baseline_goldens.py with numpy {np.__version__} scikit-learn {sklearn.__version__}")
whitening("whitening-tall", np.random.default_rng(1), 12, 5)
whitening("whitening-wide", np.random.default_rng(2), 6, 9)
svm("svm", np.random.default_rng(3), 1)
svm("svm-copies", np.random.default_rng(3), 2)
