"""Makes maps.txt: SciPy's Gaussian and PyTorch's bilinear interpolation in f64.  Run: python make_map_goldens.py > maps.txt

Lines "NAME QUANTITY VALUES...": `shape` (height width, and for interpolation the new height width), `sigma`, `input`, `output`.
"""

import numpy
import scipy.ndimage
import torch


def line(name, quantity, values):
    print(name, quantity, *(repr(float(v)) for v in numpy.ravel(values)))


def main():
    random = numpy.random.default_rng(11)
    for name, shape, sigma in (("smooth_5", (30, 41), 5), ("smooth_4", (24, 24), 4), ("smooth_tiny_map", (3, 7), 5),
                               ("smooth_one_row", (1, 9), 2.5), ("smooth_small_sigma", (8, 6), 0.7)):
        values = random.uniform(0, 10, shape)
        line(name, "shape", shape)
        line(name, "sigma", sigma)
        line(name, "input", values)
        line(name, "output", scipy.ndimage.gaussian_filter(values, sigma))
    for name, shape, out in (("larger_4", (7, 7), (28, 28)), ("larger_odd", (5, 3), (17, 22)), ("smaller", (9, 8), (4, 5)),
                             ("from_one", (1, 1), (3, 4))):
        values = random.uniform(0, 10, shape)
        result = torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], size=out, mode="bilinear", align_corners=False)
        line(name, "shape", shape + out)
        line(name, "input", values)
        line(name, "output", result.numpy())


if __name__ == "__main__":
    main()
