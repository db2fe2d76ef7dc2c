#!/usr/bin/env bash
# Tests the kernels for 64-bit ARM on another machine: cross-compiled, run by QEMU. Needs rustup, `qemu-user` and `gcc-aarch64-linux-gnu`.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
rustup target add "$target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# Once with products of bytes, once as on a processor of the first generation.
for cpu in max cortex-a53; do
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu $cpu -L /usr/aarch64-linux-gnu"
    cargo test --locked -p jielong-kernels --target "$target"
done
