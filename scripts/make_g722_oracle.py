#!/usr/bin/env python3
"""Makes tests/oracle/sounds-g722: streams of ITU-T G.722 at 64 kbit/s, and their samples by ffmpeg (16 bits, little endian).

    python scripts/make_g722_oracle.py tests/oracle/sounds-g722

`sweep.g722` is a synthetic sound encoded by ffmpeg: silence, a rising tone, a vowel-like buzz, noise, a square wave at full
scale. `codes.g722` is random bytes, so that each of the 256 codes comes, those included that no encoder sends.
"""
import math
import random
import struct
import subprocess
import sys
from pathlib import Path

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
random.seed(1)
RATE = 16000
PCM = ["-f", "s16le", "-ar", str(RATE), "-ac", "1"]


def ffmpeg(read, write, data):
    command = ["ffmpeg", "-v", "error", *read, "-i", "pipe:0", *write, "pipe:1"]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


samples = []
for n in range(6400):
    t = n / RATE
    if n < 400:
        value = 0.0
    elif n < 2400:
        value = 0.6 * math.sin(2 * math.pi * (100 + 9000 * t) * t)
    elif n < 4000:
        value = sum(math.sin(2 * math.pi * 140 * k * t) * 0.5 / k for k in range(1, 30))
    elif n < 5200:
        value = random.uniform(-0.3, 0.3)
    else:
        value = 1.0 if (n // 20) % 2 else -1.0
    samples.append(round(max(-1.0, min(1.0, value)) * 32767))

sweep = ffmpeg(PCM, ["-c:a", "g722", "-f", "g722"], struct.pack(f"<{len(samples)}h", *samples))
codes = list(range(256)) * 6
random.shuffle(codes)
for name, stream in [("sweep", sweep), ("codes", bytes(codes))]:
    (folder / f"{name}.g722").write_bytes(stream)
    (folder / f"{name}.s16").write_bytes(ffmpeg(["-f", "g722"], ["-f", "s16le"], stream))
