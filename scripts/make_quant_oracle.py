#!/usr/bin/env python3
"""Makes tests/oracle/quants.safetensors: random blocks of each GGML type, and their values by the `gguf` package.

    pip install gguf numpy safetensors
    python scripts/make_quant_oracle.py tests/oracle/quants.safetensors

Tensors `<TYPE>.bytes` (u8) and `<TYPE>.values` (f32), 512 values each.
"""
import sys

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize
from safetensors.numpy import save_file

SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
random = np.random.default_rng(11)
tensors = {}
for name, places in SCALES.items():
    kind = Type[name]
    length, size = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (512 // length, size), dtype=np.uint8)
    for place in places:
        scale = (random.standard_normal(len(blocks)) * 0.01).astype(np.float16)
        blocks[:, place : place + 2] = scale.view(np.uint8).reshape(-1, 2)
    tensors[name + ".bytes"] = blocks.reshape(-1)
    tensors[name + ".values"] = dequantize(blocks, kind).astype(np.float32).reshape(-1)
for name, values in (("F16", random.standard_normal(512).astype(np.float16)), ("F32", random.standard_normal(512).astype(np.float32))):
    tensors[name + ".bytes"] = values.view(np.uint8)
    tensors[name + ".values"] = values.astype(np.float32)
upper = (random.standard_normal(512).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
tensors["BF16.bytes"] = upper.view(np.uint8)
tensors["BF16.values"] = (upper.astype(np.uint32) << 16).view(np.float32)
save_file(tensors, sys.argv[1])
