"""The points of the K-means benchmarks, and what centers are worth: by faiss's exact nearest centers and NumPy in f64."""
import faiss
import numpy as np


def make_points(n, d, k, seed):
    """Clusters of different sizes, twice as many as are asked for, in 16 dimensions of which every component is made; never negative."""
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((16, d), dtype=np.float32) / 4
    middles = 2 * generator.standard_normal((2 * k, 16), dtype=np.float32)
    which = np.minimum((2 * k * generator.random(n) ** 1.5).astype(np.int64), 2 * k - 1)
    hidden = middles[which] + generator.standard_normal((n, 16), dtype=np.float32)
    return np.maximum(hidden @ mixing, 0)


def nearest(points, centers):
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(centers)
    return index.search(points, 1)[1][:, 0]


def inertia(points, centers):
    labels, total = nearest(points, centers), 0.0
    for begin in range(0, len(points), 65536):
        part = slice(begin, begin + 65536)
        total += float(np.square(points[part].astype(np.float64) - centers[labels[part]].astype(np.float64)).sum())
    return total
