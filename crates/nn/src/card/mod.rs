//! What a card computes with kernels of our own, where Burn's are slow: steps of one token after another, which are bound by the
//! memory. Burn multiplies one row as it does many, and makes new kernels for each length of a cache.
//!
//! Kernels are written once in CubeCL and compiled at run time for the card that is there. The feature `cuda` builds them for CUDA;
//! `wgpu` for whatever Vulkan has, a processor too (Mesa's lavapipe), so that they are tested where there is no card
//! (`scripts/test_card.sh`). Without these features, on the CPU and where gradients are wanted, each leaves the work to its caller.

#[cfg(feature = "card")]
mod kernels;
#[cfg(feature = "card")]
mod operations;

use std::ops::Range;

#[cfg(feature = "card")]
use burn::tensor::DType;
use burn::tensor::Tensor;

use crate::attention::Scores;

/// Rows that are multiplied together at most: of more, Burn's products are the better ones.
pub const MOST_ROWS: usize = 8;

/// `x · Wᵀ` of a few rows, `[n, inputs]` and `[outputs, inputs]` → `[n, outputs]`, summed in f32. `None` if there are more than
/// [`MOST_ROWS`], or not on a card.
#[must_use]
pub fn rows_product(x: &Tensor<2>, weight: &Tensor<2>) -> Option<Tensor<2>> {
    #[cfg(feature = "card")]
    if x.dims()[0] <= MOST_ROWS && operations::here(x).is_some_and(|dtype| operations::here(weight) == Some(dtype)) {
        return Some(operations::rows_product(x.clone(), weight.clone()));
    }
    let _ = (x, weight);
    None
}

/// [`layers::rms_norm`](crate::layers::rms_norm) on a card, of tensors of one type; otherwise `None`.
pub(crate) fn rms_norm<const D: usize>(x: &Tensor<D>, weight: &Tensor<1>, eps: f64) -> Option<Tensor<D>> {
    #[cfg(feature = "card")]
    if operations::here(x).is_some_and(|dtype| operations::here(weight) == Some(dtype)) {
        return Some(operations::rms_norm(x.clone(), weight.clone(), eps));
    }
    let _ = (x, weight, eps);
    None
}

/// [`layers::rotate`](crate::layers::rotate) on a card, by angles in f32; otherwise `None`.
pub(crate) fn rotate(x: &Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Option<Tensor<4>> {
    #[cfg(feature = "card")]
    if operations::here(x).is_some() && [cos, sin].iter().all(|t| operations::here(*t) == Some(DType::F32)) {
        return Some(operations::rotate(x.clone(), cos.clone(), sin.clone()));
    }
    let _ = (x, cos, sin);
    None
}

/// [`layers::silu_gated`](crate::layers::silu_gated) on a card, of tensors of one type; otherwise `None`.
pub(crate) fn silu_gated<const D: usize>(gate: &Tensor<D>, up: &Tensor<D>) -> Option<Tensor<D>> {
    #[cfg(feature = "card")]
    if operations::here(gate).is_some_and(|dtype| operations::here(up) == Some(dtype)) {
        return Some(operations::silu_gated(gate.clone(), up.clone()));
    }
    let _ = (gate, up);
    None
}

/// Attention of one query, `[1, 1, heads, d]`, to the places `seen` of keys and values, `[1, kv, slots, d]` → `[1, 1, heads, d]`. The
/// tensors keep their shapes while more and more is seen. `None` if there are several queries, or not on a card.
#[must_use]
pub fn attend_one(
    q: &Tensor<4>,
    keys: &Tensor<4>,
    values: &Tensor<4>,
    seen: Range<usize>,
    scores: Scores,
) -> Option<Tensor<4>> {
    #[cfg(feature = "card")]
    if q.dims()[..2] == [1, 1]
        && operations::here(q)
            .is_some_and(|dtype| [keys, values].map(operations::here).iter().all(|other| *other == Some(dtype)))
    {
        return Some(operations::attend_one(q.clone(), keys.clone(), values.clone(), seen, scores));
    }
    let _ = (q, keys, values, seen, scores);
    None
}
