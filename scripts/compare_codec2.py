#!/usr/bin/env python3
"""compare_codec2.py DATA [--limit 60] [--jielong PATH] [--codecs speech,speech-4]

Our codecs for speech beside codec2, the classical codec for radio, on the same held-out recordings: mean STOI and PESQ-WB.

DATA is the folder of a data set with index.json, as `jielong data fetch prompts` makes it. Needs the programs c2enc and c2dec
(Debian: codec2) and Python with numpy, scipy, pystoi and pesq. codec2 works at 8 kHz: recordings are resampled for it and back,
moved by the delay at which both agree most, and cut to one length. Prints a Markdown table.
"""
import argparse, json, math, pathlib, subprocess, tempfile, warnings

import numpy as np
from pesq import PesqError, pesq
from pystoi import stoi
from scipy.io import wavfile
from scipy.signal import correlate, resample_poly

warnings.filterwarnings("ignore")
ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("data", type=pathlib.Path)
ap.add_argument("--limit", type=int, default=60)
ap.add_argument("--jielong", default="target/release/jielong")
ap.add_argument("--codecs", default="speech,speech-4")
ap.add_argument("--modes", default="700C,1300,3200")
a = ap.parse_args()

entries = [e for e in json.loads((a.data / "index.json").read_text())["entries"] if e["split"] == "held-out"]
entries = [e for e in entries if e["seconds"] > 1.5]
entries = [entries[i * len(entries) // a.limit] for i in range(min(a.limit, len(entries)))]


def read(path):
    rate, x = wavfile.read(path)
    assert rate == 16000
    return x.astype(np.float64) / 32768


def ours(codec, path, folder):
    subprocess.run([a.jielong, "-q", "audio", "roundtrip", "-c", codec, str(path), "-o", f"{folder}/our"], check=True,
                   stdout=subprocess.DEVNULL)
    return read(f"{folder}/our-decoded.wav")


def codec2(mode, x, folder):
    raw = (np.clip(resample_poly(x, 1, 2), -1, 1) * 32767).astype("<i2")
    pathlib.Path(folder, "in.raw").write_bytes(raw.tobytes())
    subprocess.run(["c2enc", mode, f"{folder}/in.raw", f"{folder}/c2"], check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["c2dec", mode, f"{folder}/c2", f"{folder}/out.raw"], check=True, stderr=subprocess.DEVNULL)
    y = np.frombuffer(pathlib.Path(folder, "out.raw").read_bytes(), "<i2") / 32768
    y = resample_poly(y, 2, 1)
    # Envelopes agree where waves do not.
    envelope = lambda s: np.convolve(np.abs(s), np.ones(160) / 160, "same")
    lags = correlate(envelope(y), envelope(x), "full")
    middle = len(x) - 1
    window = lags[middle - 1600:middle + 1600]
    delay = int(np.argmax(window)) - 1600
    y = np.pad(y, (max(0, -delay), 0))[max(0, delay):]
    return np.pad(y, (0, max(0, len(x) - len(y))))[:len(x)]


def score(x, y):
    try:
        quality = pesq(16000, x, y, "wb")
    except PesqError:
        quality = math.nan
    return stoi(x, y, 16000), quality


table = {}
with tempfile.TemporaryDirectory() as folder:
    for entry in entries:
        path = a.data / f"{entry['id']}.wav"
        x = read(path)
        for codec in a.codecs.split(","):
            table.setdefault(f"jielong {codec}", []).append(score(x, ours(codec, path, folder)))
        for mode in a.modes.split(","):
            table.setdefault(f"codec2 {mode}", []).append(score(x, codec2(mode, x, folder)))
print(f"{len(entries)} held-out recordings of {sum(e['seconds'] for e in entries) / 60:.1f} min\n")
print("| codec | STOI | PESQ-WB |\n|---|---|---|")
for name, rows in table.items():
    s, q = np.nanmean(np.array(rows), axis=0)
    print(f"| {name} | {s:.3f} | {q:.2f} |")
