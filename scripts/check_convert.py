#!/usr/bin/env python3
"""check_convert.py MODEL [--jielong target/release/jielong] [--llama PATH/llama-completion] [--logits 2e-3] [--folder-only]

What `jielong convert` writes, read by the programs it is for. MODEL (a name, folder or GGUF file; greedy text is compared, so
an instruct model of its own language) is written as an f32 folder and as GGUF files of several types:
  - Transformers loads the folder; its logits over 32 ids are within --logits of ours, its tokenizer gives our ids;
  - the `gguf` package reads every file and finds the tensors of the folder within the error of their type;
  - llama.cpp, where it is named, goes on with the same words as ours from the f32 file.

    pip install torch transformers safetensors gguf
"""
import argparse, json, os, pathlib, subprocess, sys, tempfile

os.environ.update(CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1")
import numpy as np, torch, transformers
from gguf import GGUFReader, dequantize
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("model"); ap.add_argument("--jielong", default="target/release/jielong"); ap.add_argument("--llama")
ap.add_argument("--logits", type=float, default=2e-3, help="the largest difference that logits may have")
ap.add_argument("--folder-only", action="store_true", help="no GGUF files: for a vocabulary that they cannot say")
a = ap.parse_args()
transformers.logging.set_verbosity_error()
# Relative root mean square error that a type may have on weights of a normal distribution.
ERROR = {"f32": 1e-7, "bf16": 3e-3, "q8_0": 8e-3, "q4_0": 0.13, "q4_k": 0.11, "q4_k_m": 0.11, "q6_k": 0.03}
TEXT = "The capital of France is"
failed = []


def ours(*args):
    return subprocess.run([a.jielong, *map(str, args)], check=True, capture_output=True, text=True).stdout


def check(name, error, allowed):
    print(f"{name:40} {error:10.2e} {allowed:10.2e}" + ("" if error <= allowed else "   WRONG"))
    if not error <= allowed:
        failed.append(name)


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    ours("convert", a.model, folder / "hf", "--dtype", "f32")
    model = AutoModelForCausalLM.from_pretrained(folder / "hf", dtype=torch.float32)
    ids = [(i * 7919 + 13) % model.config.vocab_size for i in range(32)]
    ours("logits", "-m", folder / "hf", "--ids", ",".join(map(str, ids)), "--all", "-o", folder / "l.safetensors")
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    check("Transformers: logits", np.abs(load_file(folder / "l.safetensors")["logits"] - expected).max(), a.logits)
    text = TEXT + " 接龍 12345's  \n"
    ids = json.loads(ours("tokens", "encode", text, "-m", folder / "hf", "--json"))["ids"]
    check("Transformers: ids", float(AutoTokenizer.from_pretrained(folder / "hf")(text)["input_ids"] != ids), 0)
    reference = None
    for dtype in {} if a.folder_only else ERROR:
        path = folder / f"{dtype}.gguf"
        ours("convert", folder / "hf", path, "--dtype", dtype)
        tensors = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}
        reference = reference or tensors
        error = lambda x, y: float(np.sqrt(((x - y) ** 2).sum() / (y**2).sum()))
        check(f"gguf: {dtype}", max(error(tensors[n], reference[n]) for n in reference), ERROR[dtype])
        path.unlink() if dtype != "f32" else None
    if a.llama and not a.folder_only:
        command = [a.llama, "-m", folder / "f32.gguf", "-p", TEXT, "-n", "12", "--temp", "0", "-no-cnv", "--no-display-prompt"]
        theirs = subprocess.run(list(map(str, command)), capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
        mine = ours("generate", "-m", folder / "f32.gguf", TEXT, "--greedy", "-n", "12")
        print("llama.cpp:", repr(theirs.strip()), "jielong:", repr(mine.strip()))
        check("llama.cpp: words", float(theirs.split()[:8] != mine.split()[:8]), 0)
sys.exit(bool(failed))
