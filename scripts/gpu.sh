#!/usr/bin/env bash
# Everything that a CUDA card can be asked: the checks, then the benchmarks, as one table.
#
#   scripts/gpu.sh build            build the release binary with the CUDA backend, without a CUDA toolkit or LLVM
#   scripts/gpu.sh run [BINARY]     check and measure; needs a driver, NVRTC and CUDA headers (Python's CUDA packages
#                                   carry the latter two), Python with safetensors for the comparisons, and with torch and
#                                   transformers for the benchmark
#
# Figures go into docs/gpu.md with commit, date and command.
set -euo pipefail
cd "$(dirname "$0")/.."

build() {
    local work=target/cuda-stubs
    mkdir -p "$work"
    # Burn's LLVM bundler downloads; as a "documentation build" it leaves LLVM out. Kernels then go through CUDA C++, and
    # what would call LLVM aborts with its name.
    {
        echo '#include <stdio.h>'
        echo '#include <stdlib.h>'
        echo 'static void absent(const char *name) { fprintf(stderr, "%s: built without LLVM\n", name); abort(); }'
        sed 's/.*/void &(void) { absent("&"); }/' scripts/cuda/llvm_symbols.txt
    } >"$work/llvm_stubs.c"
    cc -O1 -w -fno-builtin -c "$work/llvm_stubs.c" -o "$work/llvm_stubs.o"
    DOCS_RS=1 CUDARC_CUDA_VERSION=13000 cargo rustc --release --locked --features cuda --bin jielong -- \
        -C link-arg="$PWD/$work/llvm_stubs.o" -C link-arg=-Wl,--unresolved-symbols=ignore-all
    cp target/release/jielong "$work/jielong"
    strip "$work/jielong"
    ls -l "$work/jielong"
}

run() {
    local binary=${1:-target/cuda-stubs/jielong} out failed=0
    out=$(mktemp -d)
    "$binary" doctor
    printf '\n%-24s %-6s %12s %12s\n' checkpoint dtype "worst error" allowed
    for folder in tests/oracle/tiny-*/; do
        name=$(basename "$folder")
        ids=$(python3 - "$folder" <<'PY'
import sys
from safetensors import safe_open
with safe_open(sys.argv[1] + "oracle.safetensors", "np") as f:
    print(",".join(map(str, f.get_tensor("ids").tolist())))
PY
        )
        for dtype in f32 bf16; do
            if ! timeout 120 "$binary" logits -m "$folder" --ids "$ids" --all --context 64 --device cuda --dtype "$dtype" \
                -o "$out/l.safetensors"; then
                printf '%-24s %-6s   FAILED\n' "$name" "$dtype"
                failed=1
                continue
            fi
            python3 - "$folder" "$out/l.safetensors" "$name" "$dtype" <<'PY' || failed=1
import sys
from safetensors import safe_open
folder, ours, name, dtype = sys.argv[1:]
with safe_open(folder + "oracle.safetensors", "np") as f:
    expected = f.get_tensor("logits")
with safe_open(ours, "np") as f:
    error = abs(f.get_tensor("logits") - expected).max()
# bf16 keeps 8 bits: a few of its steps at the size of the largest logit.
allowed = 1e-3 if dtype == "f32" else 0.08 * abs(expected).max()
print(f"{name:24} {dtype:6} {error:12.2e} {allowed:12.2e}" + ("" if error <= allowed else "   WRONG"))
sys.exit(error > allowed)
PY
        done
    done
    printf '\n'
    # A codec computes on the card what it does on the CPU: the same codes, but for rounding.
    for device in cpu cuda; do
        "$binary" audio encode -c models/speech --device "$device" tests/oracle/sound-metrics/low.wav -o "$out/$device.json"
    done
    python3 - "$out" <<'PY' || failed=1
import json, sys
cpu, cuda = (json.load(open(f"{sys.argv[1]}/{d}.json"))["codes"] for d in ("cpu", "cuda"))
same = sum(a == b for a, b in zip(cpu, cuda)) / len(cpu)
print(f"codes of speech, CPU and CUDA: {same:.1%} are the same")
sys.exit(same < 0.95)
PY
    if "$binary" --offline show smollm2 >/dev/null 2>&1; then
        for device in cpu cuda; do
            echo "SmolLM2-135M-Instruct on $device:"
            "$binary" generate -m smollm2 --device "$device" --greedy -n 64 --stats "The capital of France is"
        done
    else
        echo "skipped: SmolLM2-135M-Instruct is not on this machine (jielong pull smollm2)"
    fi
    python3 scripts/bench_gpu.py --jielong "$binary" || failed=1
    rm -rf "$out"
    exit "$failed"
}

case ${1:-} in
build) build ;;
run) shift; run "$@" ;;
*) sed -n '2,10p' "$0" | sed 's/^# \?//'; exit 2 ;;
esac
