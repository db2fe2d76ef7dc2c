#!/usr/bin/env python3
"""Makes tests/oracle/metrics: a small pair of pictures, and PSNR and SSIM of it by scikit-image.

    pip install numpy scikit-image pillow
    python scripts/make_metric_oracle.py tests/oracle/metrics
"""
import json
import sys
from pathlib import Path

import numpy as np
import skimage
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(7)
y, x = np.mgrid[0:19, 0:24]
a = np.stack([x * 10, y * 13, 128 + 100 * np.sin(x / 3) * np.cos(y / 2)], -1)
a = (a + random.normal(0, 6, a.shape)).clip(0, 255).round().astype(np.uint8)
b = (a * 0.9 + 8 + random.normal(0, 9, a.shape)).clip(0, 255).round().astype(np.uint8)
Image.fromarray(a).save(folder / "a.png", optimize=True)
Image.fromarray(b).save(folder / "b.png", optimize=True)

gaussian = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
luma = [picture.astype(np.float64) @ [0.299, 0.587, 0.114] for picture in (a, b)]
numbers = {
    "scikit-image": skimage.__version__,
    "psnr_rgb": peak_signal_noise_ratio(a, b, data_range=255),
    "psnr_luma": peak_signal_noise_ratio(*luma, data_range=255),
    "ssim_rgb_uniform7": structural_similarity(a, b, channel_axis=-1, data_range=255),
    "ssim_luma_uniform7": structural_similarity(*luma, data_range=255),
    "ssim_rgb_gaussian": structural_similarity(a, b, channel_axis=-1, data_range=255, **gaussian),
    "ssim_luma_gaussian": structural_similarity(*luma, data_range=255, **gaussian),
}
(folder / "metrics.json").write_text(json.dumps(numbers, indent=1) + "\n")
