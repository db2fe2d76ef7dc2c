#!/usr/bin/env python3
"""Makes tests/oracle/pictures: files that our own encoders cannot make, and their pixels by Pillow, as PNG.

    pip install numpy pillow
    python scripts/make_picture_oracle.py tests/oracle/pictures
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
y, x = np.mgrid[0:21, 0:37]
rgb = np.stack([x * 6, y * 11, 255 - x * 3 - y * 4], -1).clip(0, 255).astype(np.uint8)
picture = Image.fromarray(rgb)
clear = picture.copy()
clear.putalpha(Image.fromarray((x * 7).clip(0, 255).astype(np.uint8)))
other = Image.fromarray(rgb[:, ::-1])


def make(name, image, **options):
    image.save(folder / name, **options)
    with Image.open(folder / name) as read:
        read = read.convert("RGBA") if "A" in read.getbands() or "transparency" in read.info else read.convert("RGB")
        if read.mode == "RGBA":
            read = Image.alpha_composite(Image.new("RGBA", read.size, "white"), read).convert("RGB")
        read.save(folder / (name + ".png"), optimize=True)


make("cmyk.jpg", Image.fromarray(np.dstack([rgb, (x * 2 + y * 4).astype(np.uint8)]), "CMYK"), quality=95, subsampling=0)
make("grey.jpg", picture.convert("L"), quality=95)
make("progressive.jpg", picture, quality=90, progressive=True)
make("sampled.jpg", picture, quality=90, subsampling=2, restart_marker_blocks=1)
make("lossy.webp", picture, quality=90)
make("lossy-alpha.webp", clear, quality=95, exact=True)
make("lossless.webp", clear, lossless=True, exact=True)
make("animated.webp", picture, lossless=True, save_all=True, append_images=[other])
make("animated.png", picture, save_all=True, append_images=[other])
make("animated.gif", picture.quantize(32), save_all=True, append_images=[other.quantize(32)])
make("interlaced.gif", picture.quantize(16), interlace=True, transparency=3)
make("palette4.png", picture.quantize(13), bits=4, transparency=bytes([0, 80, 255, 128]))
