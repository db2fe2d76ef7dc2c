//! Attention (Vaswani et al. 2017) with grouped queries (Ainslie et al. 2023), over given keys and values.

use std::sync::Arc;

use burn::tensor::{Bool, Device, FloatDType, Tensor, TensorData, activation};

/// How a query and a key become a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Factor on `q · k`.
    pub scale: f64,
    /// `cap · tanh(score / cap)` in place of the score.
    pub softcap: Option<f64>,
}

/// Which keys each query of some rows sees: those from its first one up to itself.
#[derive(Clone, Debug)]
pub struct Sees {
    first: Arc<[u32]>, // [rows, length], places of the row
    length: usize,
}

impl Sees {
    /// In rows of `length` places, each of which holds examples one after another: a place sees its own example up to itself,
    /// and at most `window` places of it. Neighbours of the same number are of one example.
    ///
    /// # Panics
    /// If `examples` are not whole rows.
    #[must_use]
    pub fn packed(examples: &[u32], length: usize, window: Option<usize>) -> Self {
        assert!(examples.len().is_multiple_of(length.max(1)), "{} places in rows of {length}", examples.len());
        let window = window.unwrap_or(length);
        let mut first = Vec::with_capacity(examples.len());
        for row in examples.chunks(length.max(1)) {
            let mut begin = 0;
            for (place, example) in row.iter().enumerate() {
                if place > 0 && *example != row[place - 1] {
                    begin = place;
                }
                first.push(begin.max((place + 1).saturating_sub(window)) as u32);
            }
        }
        Self { first: first.into(), length }
    }

    /// `[rows, length, length]`, true where a query must not look.
    fn hidden(&self, device: &Device) -> Tensor<3, Bool> {
        let length = self.length;
        let places = |(index, &first): (usize, &u32)| {
            let query = index % length;
            (0..length).map(move |key| key > query || key < first as usize)
        };
        let hidden: Vec<bool> = self.first.iter().enumerate().flat_map(places).collect();
        Tensor::from_data(TensorData::new(hidden, [self.first.len() / length, length, length]), device)
    }
}

/// Attention of rows to themselves: queries `[b, t, heads, d]`, keys and values `[b, t, kv, d]` → `[b, t, heads, d]`
#[must_use]
pub fn attend_within(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, sees: &Sees, scores: Scores) -> Tensor<4> {
    let hidden = sees.hidden(&q.device());
    attend(q, k.swap_dims(1, 2), v.swap_dims(1, 2), Some(&hidden), scores)
}

/// Attention of queries `[b, t, heads, d]` to keys and values `[b, kv, s, d]` → `[b, t, heads, d]`. Scores are f32;
/// `hidden`, `[b or 1, t, s]`, is true where a query must not look.
#[must_use]
pub fn attend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<&Tensor<3, Bool>>,
    Scores { scale, softcap }: Scores,
) -> Tensor<4> {
    let [b, t, heads, d] = q.dims();
    let [_, kv, s, _] = k.dims();
    let group = heads / kv;
    let q = (q.swap_dims(1, 2) * scale).reshape([b, kv, group * t, d]);
    let scores = q.matmul(k.transpose()).cast(FloatDType::F32); // [b, kv, group · t, s]
    let scores = match softcap {
        Some(cap) => (scores / cap).tanh() * cap,
        None => scores,
    };
    let scores = match hidden {
        Some(hidden) => scores
            .reshape([b, kv, group, t, s])
            .mask_fill(hidden.clone().unsqueeze_dims::<5>(&[1, 2]).expand([b, kv, group, t, s]), f32::NEG_INFINITY)
            .reshape([b, kv, group * t, s]),
        None => scores,
    };
    let weights = activation::softmax(scores, 3).cast(v.dtype());
    weights.matmul(v).reshape([b, heads, t, d]).swap_dims(1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_sees_its_example_through_the_window() {
        let sees = Sees::packed(&[0, 0, 0, 0, 5, 5, 1, 1, 1, 0, 0, 2], 6, None);
        assert_eq!(sees.first[..], [0, 0, 0, 0, 4, 4, 0, 0, 0, 3, 3, 5]);
        let sees = Sees::packed(&[0, 0, 0, 0, 5, 5], 6, Some(2));
        assert_eq!(sees.first[..], [0, 0, 1, 2, 4, 4]);
        let hidden: Vec<bool> = sees.hidden(&Device::flex()).into_data().iter().collect();
        assert_eq!(
            hidden[12..24].iter().map(|&h| u8::from(h)).collect::<Vec<_>>(),
            [1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1]
        );
    }
}
