#!/usr/bin/env python3
"""Makes tests/oracle/sound-metrics: short sounds like speech, what became of them, and how far the two are apart.

    pip install numpy scipy librosa soundfile pystoi==0.4.1 pesq==0.0.4
    python scripts/make_sound_metric_oracle.py tests/oracle/sound-metrics

STOI and ESTOI are pystoi's, PESQ-WB is the ITU's program, spectra and mel bands are librosa's, the rest is numpy.
"""
import json
import sys
from importlib.metadata import version
from pathlib import Path

import librosa
import numpy as np
import pesq
import pystoi
import soundfile
from scipy.signal import butter, lfilter

RATE = 16000
SCALES = [(32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320)]
# Formants in Hz of vowels, from Peterson and Barney (1952), and where a hiss stands in for a consonant.
VOWELS = {
    "i": (270, 2290, 3010),
    "e": (530, 1840, 2480),
    "a": (730, 1090, 2440),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)


def resonance(x, frequency, width):
    radius = np.exp(-np.pi * width / RATE)
    return lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2], x)


def speech(text, pitch, seed):
    """1.5 seconds: vowels are pulses through formants, `s` a hiss, `t` a short one, a space silence."""
    random = np.random.default_rng(seed)
    length = int(1.5 * RATE / len(text))
    parts = []
    for place, letter in enumerate(text):
        time = np.arange(length)
        envelope = np.sin(np.pi * (time + 0.5) / length) ** 0.5
        noise = random.normal(0, 1, length)
        if letter == " ":
            part = np.zeros(length)
        elif letter in VOWELS:
            phase = np.cumsum(pitch * (1 + 0.15 * np.sin(0.9 * place + time / length)) / RATE)
            part = np.diff(np.floor(phase), prepend=0) + 0.01 * noise
            for frequency, width in zip(VOWELS[letter], (60, 90, 150)):
                part = resonance(part, frequency, width)
            part *= 0.3 / np.sqrt(np.mean(part**2))
        else:
            part = 0.08 * lfilter(*butter(2, 3000, "high", fs=RATE), noise)
            envelope = envelope if letter == "s" else np.exp(-time / 200) * envelope
        parts.append(part * envelope)
    sound = np.concatenate(parts) + random.normal(0, 2e-4, length * len(text))
    return words(0.7 * sound / np.max(np.abs(sound)))


def words(x):
    return np.clip(np.round(x * 32768), -32768, 32767).astype(np.int16)


def noisy(x, ratio):
    random = np.random.default_rng(11)
    return x + random.normal(0, np.sqrt(np.mean(x**2) / 10 ** (ratio / 10)), len(x))


def coarse(x, levels):
    squeezed = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    squeezed = np.round(squeezed * levels) / levels
    return np.sign(squeezed) * (256 ** np.abs(squeezed) - 1) / 255


def si_sdr(s, e):
    target = e @ s / (s @ s) * s
    return 10 * np.log10(np.sum(target**2) / np.sum((e - target) ** 2))


def mel_distance(a, b, window, bands):
    """One term of the loss of the Descript audio codec."""
    filters = librosa.filters.mel(sr=RATE, n_fft=window, n_mels=bands, dtype=np.float64)
    a, b = (np.abs(librosa.stft(x, n_fft=window, hop_length=window // 4, pad_mode="reflect")) for x in (a, b))
    return np.mean(np.abs(np.log10((filters @ a).clip(1e-5)) - np.log10((filters @ b).clip(1e-5))))


sounds = {"low": speech("sate o tis ua", 110, 1), "high": speech("tisa ose ute ", 210, 2)}
changes = {
    "noise": ("low", lambda x: noisy(x, 5)),
    "lowpass": ("low", lambda x: lfilter(*butter(6, 2000, fs=RATE), x) + 0.01),  # late, and not of mean 0
    "coarse": ("high", lambda x: coarse(x, 6)),
}
pairs = []
np.random.seed(0)  # pystoi adds some 1e-16 of noise
for name, data in sounds.items():
    soundfile.write(folder / f"{name}.wav", data, RATE, subtype="PCM_16")
for name, (reference, change) in changes.items():
    ref = sounds[reference]
    deg = words(change(ref / 32768))
    soundfile.write(folder / f"{name}.wav", deg, RATE, subtype="PCM_16")
    a, b = ref / 32768, deg / 32768
    pairs.append({
        "ref": f"{reference}.wav",
        "deg": f"{name}.wav",
        "stoi": float(pystoi.stoi(a, b, RATE)),
        "estoi": float(pystoi.stoi(a, b, RATE, extended=True)),
        "si_sdr_db": float(si_sdr(a, b)),
        "si_sdr_zero_mean_db": float(si_sdr(a - a.mean(), b - b.mean())),
        "pesq_wb": float(pesq.pesq(RATE, ref, deg, "wb")),
        "mel_distances": [float(mel_distance(a, b, *scale)) for scale in SCALES],
    })
versions = {name: version(name) for name in ("numpy", "scipy", "librosa", "pystoi", "pesq")}
(folder / "metrics.json").write_text(json.dumps({"versions": versions, "speech": pairs}, indent=1) + "\n")

samples = sounds["low"][3000:3150] / 32768
magnitudes = np.abs(librosa.stft(samples, n_fft=64, hop_length=16, pad_mode="reflect"))
bands = {
    "slaney": dict(n_mels=6, fmin=100, fmax=7000),
    "htk": dict(n_mels=6, fmin=100, fmax=7000, htk=True),
    "whole_slaney": dict(n_mels=12),
}
rounded = lambda x: [round(float(value), 9) for value in x.T.flat]
spectrum = {"samples": samples.tolist(), "magnitudes": rounded(magnitudes)}
for name, options in bands.items():
    spectrum[name] = rounded(librosa.filters.mel(sr=RATE, n_fft=64, dtype=np.float64, **options) @ magnitudes)
(folder / "spectrum.json").write_text(json.dumps(spectrum) + "\n")


def encoded(x):
    """torchaudio's mu_law_encoding, in float32."""
    x = np.asarray(x, np.float32)
    mu = np.float32(255)
    return ((np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu) + 1) / 2 * mu + np.float32(0.5)).astype(np.int64)


every = np.arange(-32768, 32768)
codes = encoded(every / 32768)
y = np.arange(256) / 255 * 2 - 1
grid = np.arange(-32, 33) / 32
mulaw = {
    "encode_samples": [[float(x), int(code)] for x, code in zip(grid, encoded(grid))],
    "decode_table": (np.sign(y) * (np.exp(np.abs(y) * np.log1p(255)) - 1) / 255).tolist(),
    "encode_s16_first_sample_of_each_code": [int(every[codes == code][0]) for code in range(256)],
}
(folder / "mulaw.json").write_text(json.dumps(mulaw) + "\n")
