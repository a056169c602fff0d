#!/usr/bin/env python3
"""Writes the picture files under data/images and their pixels' hashes to data/images.txt.

Needs numpy and Pillow. Pillow writes what it can; PNG of odd depths, BMP and PNM are assembled here from their specifications.
Hashes are of the pixels that Pillow reads back, except for 16-bit samples and alpha from tRNS, where this engine differs from
Pillow on purpose (round(v / 257); transparency becomes a channel) and the expected pixels are computed here.
A line: file, channels, height, width, crc32, adler32.
"""
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps, __version__

OUT = "data/images"
LINES = []


def photo(height, width, channels, top=255):
    """A smooth picture with an edge and some noise: compresses like a photograph, and is the same on every machine."""
    rng = np.random.default_rng(height * 1000 + width * 10 + channels)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for c in range(channels):
        plane = 0.5 + 0.3 * np.sin((x * (c + 2) + y) / 5.0) + 0.15 * ((x + 2 * y) % 17 < 8)
        planes.append(plane + 0.05 * rng.random((height, width)))
    return np.clip(np.stack(planes, -1) * top, 0, top).astype(np.uint16 if top > 255 else np.uint8)


def record(name, pixels):
    pixels = np.ascontiguousarray(pixels, dtype=np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    height, width, channels = pixels.shape
    data = pixels.tobytes()
    LINES.append(f"{name} {channels} {height} {width} {zlib.crc32(data)} {zlib.adler32(data)}")


def read_back(name, mode=None):
    image = Image.open(f"{OUT}/{name}")
    image.load()
    if mode:
        image = image.convert(mode)
    return np.asarray(image)


def write(name, data):
    with open(f"{OUT}/{name}", "wb") as out:
        out.write(data)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(name, width, height, depth, colour, rows, extra=b"", interlace=0, tail=b""):
    raw = b"".join(b"\0" + row for row in rows)
    write(name, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
          + extra + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"") + tail)


def pack(values, depth):
    bits = ((values[..., None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)
    return [np.packbits(row.reshape(-1)).tobytes() for row in bits]


def interlaced_rows(image):
    """Adam7: the rows of the seven passes."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    for y0, x0, dy, dx in passes:
        part = image[y0::dy, x0::dx]
        if part.size:
            yield from (row.tobytes() for row in part)


def make_png():
    height, width = 11, 13
    for depth in (1, 2, 4):
        gray = photo(height, width, 1)[:, :, 0] >> (8 - depth)
        png(f"gray{depth}.png", width, height, depth, 0, pack(gray, depth))
        record(f"gray{depth}.png", gray * (255 // (2**depth - 1)))
        assert (read_back(f"gray{depth}.png", "L") == gray * (255 // (2**depth - 1))).all()
        palette = photo(1, 2**depth, 3)[0]
        png(f"palette{depth}.png", width, height, depth, 3, pack(gray, depth), chunk(b"PLTE", palette.tobytes()))
        record(f"palette{depth}.png", read_back(f"palette{depth}.png", "RGB"))
    for name, channels, colour in (("gray8", 1, 0), ("rgb8", 3, 2), ("grayalpha8", 2, 4), ("rgba8", 4, 6)):
        image = photo(height, width, channels)
        png(f"{name}.png", width, height, 8, colour, [row.tobytes() for row in image])
        record(f"{name}.png", image)
        back = read_back(f"{name}.png")
        assert (back.reshape(image.shape) == image).all()
    for name, channels, colour in (("gray16", 1, 0), ("rgb16", 3, 2), ("grayalpha16", 2, 4), ("rgba16", 4, 6)):
        image = photo(height, width, channels, 65535)
        png(f"{name}.png", width, height, 16, colour, [row.astype(">u2").tobytes() for row in image])
        record(f"{name}.png", (image.astype(np.int64) + 128) // 257)
    image = photo(height, width, 3)
    png("rgb8-interlaced.png", width, height, 8, 2, list(interlaced_rows(image)), interlace=1)
    record("rgb8-interlaced.png", image)
    assert (read_back("rgb8-interlaced.png") == image).all()
    png("rgb8-trailing.png", width, height, 8, 2, [row.tobytes() for row in image], tail=b"left over")
    record("rgb8-trailing.png", image)

    index = (photo(height, width, 1)[:, :, 0] >> 5).astype(np.uint8)
    palette, alpha = photo(1, 8, 3)[0], np.array([0, 128, 255], np.uint8)
    png("palette8-transparent.png", width, height, 8, 3, [row.tobytes() for row in index],
        chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", alpha.tobytes()))
    record("palette8-transparent.png", read_back("palette8-transparent.png", "RGBA"))
    key = image[3, 4]
    png("rgb8-transparent.png", width, height, 8, 2, [row.tobytes() for row in image],
        chunk(b"tRNS", b"".join(struct.pack(">H", int(v)) for v in key)))
    opaque = np.where((image == key).all(-1), 0, 255)
    record("rgb8-transparent.png", np.concatenate([image, opaque[:, :, None]], -1))

    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0"
    png("rgb8-exif8.png", width, height, 8, 2, [row.tobytes() for row in image], chunk(b"eXIf", exif))
    record("rgb8-exif8.png", np.asarray(ImageOps.exif_transpose(Image.open(f"{OUT}/rgb8-exif8.png"))))


def make_jpeg():
    height, width = 29, 35
    rgb = Image.fromarray(photo(height, width, 3))
    gray = Image.fromarray(photo(height, width, 1)[:, :, 0])
    rgb.save(f"{OUT}/rgb420.jpg", quality=80, subsampling=2)
    rgb.save(f"{OUT}/rgb422.jpg", quality=80, subsampling=1)
    rgb.save(f"{OUT}/rgb444.jpg", quality=90, subsampling=0)
    rgb.save(f"{OUT}/progressive.jpg", quality=80, progressive=True)
    rgb.save(f"{OUT}/restart.jpg", quality=80, restart_marker_blocks=2)
    gray.save(f"{OUT}/gray.jpg", quality=80)
    Image.fromarray(photo(height, width, 4), "CMYK").save(f"{OUT}/cmyk.jpg", quality=80)
    for name in ("rgb420", "rgb422", "rgb444", "progressive", "restart", "gray"):
        record(f"{name}.jpg", read_back(f"{name}.jpg"))
    record("cmyk.jpg", read_back("cmyk.jpg", "RGB"))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        small = Image.fromarray(photo(9, 14, 3))
        small.save(f"{OUT}/exif{orientation}.jpg", quality=80, exif=exif)
        record(f"exif{orientation}.jpg", np.asarray(ImageOps.exif_transpose(Image.open(f"{OUT}/exif{orientation}.jpg"))))


def bmp(name, width, height, bits, rows, palette=b"", compression=0, masks=b"", header=40):
    body = b"".join(row + b"\0" * (-len(row) % 4) for row in rows)
    colours = len(palette) // 4
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(body), 2835, 2835, colours, 0)
    info += masks + b"\0" * max(0, header - 40 - len(masks))
    offset = 14 + len(info) + len(palette)
    write(name, b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + info + palette + body)


def make_bmp():
    height, width = 7, 11
    image = photo(height, width, 3)
    bgr = image[:, :, ::-1]
    bmp("rgb24.bmp", width, height, 24, [row.tobytes() for row in bgr[::-1]])
    bmp("rgb24-topdown.bmp", width, -height, 24, [row.tobytes() for row in bgr])
    filler = np.zeros((height, width, 1), np.uint8)
    bgrx = np.concatenate([bgr, filler], -1)
    bmp("rgb32.bmp", width, height, 32, [row.tobytes() for row in bgrx[::-1]])
    for name in ("rgb24.bmp", "rgb24-topdown.bmp", "rgb32.bmp"):
        record(name, image)
        assert (read_back(name) == image).all()
    rgba = photo(height, width, 4)
    bgra = rgba[:, :, [2, 1, 0, 3]]
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    bmp("rgba32.bmp", width, height, 32, [row.tobytes() for row in bgra[::-1]], compression=3, masks=masks, header=108)
    record("rgba32.bmp", rgba)
    assert (read_back("rgba32.bmp") == rgba).all()
    words = image.astype(np.uint16)
    rgb565 = (words[:, :, 0] >> 3) << 11 | (words[:, :, 1] >> 2) << 5 | words[:, :, 2] >> 3
    rgb555 = (words[:, :, 0] >> 3) << 10 | (words[:, :, 1] >> 3) << 5 | words[:, :, 2] >> 3
    bmp("rgb565.bmp", width, height, 16, [row.astype("<u2").tobytes() for row in rgb565[::-1]], compression=3,
        masks=struct.pack("<III", 0xF800, 0x07E0, 0x001F))
    bmp("rgb555.bmp", width, height, 16, [row.astype("<u2").tobytes() for row in rgb555[::-1]])
    for bits in (1, 4, 8):
        index = (photo(height, width, 1)[:, :, 0] >> (8 - bits)).astype(np.uint8)
        palette = np.concatenate([photo(1, 2**bits, 3)[0], np.zeros((2**bits, 1), np.uint8)], -1)
        bmp(f"palette{bits}.bmp", width, height, bits, pack(index[::-1], bits), palette.tobytes())
    gray = photo(height, width, 1)[:, :, 0]
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, 1)
    bmp("gray8.bmp", width, height, 8, [row.tobytes() for row in gray[::-1]], levels.tobytes())
    record("gray8.bmp", gray)
    for name in ("rgb565.bmp", "rgb555.bmp", "palette1.bmp", "palette4.bmp", "palette8.bmp"):
        record(name, read_back(name, "RGB"))


def make_pnm():
    height, width = 7, 11
    gray, rgb = photo(height, width, 1)[:, :, 0], photo(height, width, 3)
    bits = gray > 128
    write("bits.pbm", b"P4\n# a comment\n%d %d\n" % (width, height) + np.packbits(bits, axis=1).tobytes())
    write("gray8.pgm", b"P5 %d %d 255\n" % (width, height) + gray.tobytes())
    write("rgb8.ppm", b"P6\n%d %d\n255\n" % (width, height) + rgb.tobytes())
    write("gray8-max100.pgm", b"P5\n%d %d\n100\n" % (width, height) + (gray // 3).tobytes())
    for name in ("gray8.pgm", "rgb8.ppm", "gray8-max100.pgm"):
        record(name, read_back(name))
    record("bits.pbm", read_back("bits.pbm", "L"))
    gray16, rgb16 = photo(height, width, 1, 65535)[:, :, 0], photo(height, width, 3, 65535)
    write("gray16.pgm", b"P5\n%d %d\n65535\n" % (width, height) + gray16.astype(">u2").tobytes())
    write("rgb16.ppm", b"P6\n%d %d\n65535\n" % (width, height) + rgb16.astype(">u2").tobytes())
    record("gray16.pgm", (gray16.astype(np.int64) + 128) // 257)
    record("rgb16.ppm", (rgb16.astype(np.int64) + 128) // 257)


def main():
    os.makedirs(OUT, exist_ok=True)
    make_png()
    make_jpeg()
    make_bmp()
    make_pnm()
    with open("data/images.txt", "w") as out:
        out.write(f"# Pillow {__version__}\n" + "\n".join(sorted(LINES)) + "\n")


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    main()
