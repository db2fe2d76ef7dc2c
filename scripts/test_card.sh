#!/usr/bin/env bash
# Tests the kernels for cards without one: by Vulkan on the processor. Needs `mesa-vulkan-drivers` and `libvulkan1`.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo test --locked -p jielong-nn --features wgpu --test card -- --nocapture
cargo test --locked -p jielong-llama --features wgpu --test oracle -- --nocapture
