#!/usr/bin/env python3
"""Makes tests/oracle/quantize.safetensors: values of many kinds, and the blocks that GGML's reference makes of them.

    pip install gguf numpy safetensors
    python scripts/make_quantize_oracle.py path/to/libggml-base.so tests/oracle/quantize.safetensors

The library is that of llama.cpp, built without contraction of products and sums (`-ffp-contract=off`, or a target without
FMA): the searches of the K types depend on each rounding. Where the `gguf` package packs a type too, both must agree.

Tensors `values` (f32, 3072 of them) and `<TYPE>.bytes` (u8).
"""
import ctypes
import sys

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import quantize
from safetensors.numpy import save_file

random = np.random.default_rng(23)
normal = lambda: random.standard_normal(256)
blocks = [
    normal() * 0.02,
    random.standard_t(3, 256),
    normal() * np.repeat(10.0 ** random.uniform(-5, 3, 16), 16),  # runs that need other scales than their neighbours
    random.random(256) + 0.5,
    -random.random(256) - 0.5,
    random.integers(-6, 7, 256),  # ties: peaks of both signs, halves
    normal() * (random.random(256) < 0.05),
    np.repeat([0.0, -0.0, 1.5, -0.75, 3e-9, 0.1, 100.0, -1e4], 32),
    np.zeros(256),
    normal() * 1e-7,  # scales below f16's normal numbers
    normal() * 1e-10,  # scales that f16 has as zero
    np.concatenate([normal()[:128] * 1e4, np.linspace(-1, 1, 128)]),
]
values = np.concatenate(blocks).astype(np.float32)
library = ctypes.CDLL(sys.argv[1])


def reference(name, values):
    length, size = GGML_QUANT_SIZES[Type[name]]
    packed = np.zeros(len(values) // length * size, dtype=np.uint8)
    function = getattr(library, f"quantize_row_q{name[1:]}_ref")
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function(values.ctypes.data, packed.ctypes.data, len(values))
    return packed


tensors = {"values": values, "F16.bytes": values.astype(np.float16).view(np.uint8), "BF16.bytes": quantize(values, Type.BF16)}
for name in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"):
    tensors[name + ".bytes"] = reference(name, values)
    if "K" not in name:
        positive = values + 0.0  # of a block's extremes that are zeros, the package may take one of another sign
        assert (reference(name, positive) == quantize(positive, Type[name])).all(), name
save_file(tensors, sys.argv[2])
