//! Attention (Vaswani et al. 2017) with grouped queries (Ainslie et al. 2023), over given keys and values.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::{Bool, Device, FloatDType, Tensor, TensorData, activation};
use burn_flex::{Flex, FlexTensor};
use jielong_kernels::{Attended, AttendedGradients, AttentionWithin, Isa};
use rayon::prelude::*;

use crate::card;
use crate::cpu::{Where, differentiable, plain, tracked, values};

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

/// Attention of rows to themselves: queries `[b, t, heads, d]`, keys and values `[b, t, kv, d]` → `[b, t, heads, d]`. With
/// gradients; kernels of our own on the CPU, Burn's operations elsewhere.
#[must_use]
pub fn attend_within(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, sees: &Sees, scores: Scores) -> Tensor<4> {
    let within = Within { sees: sees.clone(), scores, heads: q.dims()[2], kv: k.dims()[2], d: q.dims()[3] };
    match Where::of(&[q.device(), k.device(), v.device()], &[q.dtype(), k.dtype(), v.dtype()]) {
        Where::Cpu => {
            let (y, _) = within.forward([&plain(q), &plain(k), &plain(v)]);
            Tensor::from_primitive::<Flex>(y)
        }
        Where::Training => differentiable(AttendWithin, [q, k, v].map(tracked), |inputs| {
            let (y, attended) = within.forward(inputs.each_ref());
            ((within, inputs, attended), y)
        }),
        Where::Elsewhere => with_burn(q, k, v, sees, scores),
    }
}

/// The same out of Burn's operations.
fn with_burn(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, sees: &Sees, scores: Scores) -> Tensor<4> {
    let hidden = sees.hidden(&q.device());
    attend(q, k.swap_dims(1, 2), v.swap_dims(1, 2), Some(&hidden), scores)
}

/// What the kernels need besides the tensors.
#[derive(Clone, Debug)]
struct Within {
    sees: Sees,
    scores: Scores,
    heads: usize,
    kv: usize,
    d: usize,
}

impl Within {
    fn kernel(&self) -> AttentionWithin<'_> {
        let Self { ref sees, scores: Scores { scale, softcap }, heads, kv, d } = *self;
        let (scale, softcap) = (scale as f32, softcap.map(|cap| cap as f32));
        AttentionWithin { first: &sees.first, length: sees.length, heads, kv, d, scale, softcap }
    }

    /// Row and head of keys, one after another.
    fn tasks(&self) -> impl IndexedParallelIterator<Item = (usize, usize)> {
        let kv = self.kv;
        (0..self.sees.first.len() / self.sees.length * kv).into_par_iter().map(move |task| (task / kv, task % kv))
    }

    /// Parts `[heads, length, d]` of each task as one tensor `[b, length, parts, d]`.
    fn together<'a>(&self, parts: impl Iterator<Item = &'a [f32]>, heads: usize) -> FlexTensor {
        let (length, d) = (self.sees.length, self.d);
        let rows = self.sees.first.len() / length;
        let (mut all, group) = (vec![0.0; self.sees.first.len() * heads * d], heads / self.kv);
        for (task, part) in parts.enumerate() {
            let (row, head) = (task / self.kv, task % self.kv * group);
            for (at, values) in part.chunks_exact(d).enumerate() {
                let (member, place) = (at / length, at % length);
                let to = (row * length + place) * heads + head + member;
                all[to * d..][..d].copy_from_slice(values);
            }
        }
        FlexTensor::from_data(TensorData::new(all, [rows, length, heads, d]))
    }

    fn forward(&self, inputs: [&FlexTensor; 3]) -> (FlexTensor, Vec<Attended>) {
        let inputs = inputs.map(values);
        let (inputs, isa) = (inputs.each_ref().map(|x| &**x), Isa::best());
        let attended: Vec<_> = self.tasks().map(|(row, head)| self.kernel().forward(isa, inputs, row, head)).collect();
        (self.together(attended.iter().map(|part| &*part.values), self.heads), attended)
    }

    fn backward(&self, inputs: [&FlexTensor; 3], attended: &[Attended], dy: &FlexTensor) -> [FlexTensor; 3] {
        let (inputs, dy, isa) = (inputs.map(values), values(dy), Isa::best());
        let inputs = inputs.each_ref().map(|x| &**x);
        let parts = self.tasks().zip(attended);
        let found: Vec<_> = parts
            .map(|((row, head), attended)| self.kernel().backward(isa, inputs, attended, &dy, row, head))
            .collect();
        let of = |part: fn(&AttendedGradients) -> &[f32], heads| self.together(found.iter().map(part), heads);
        [of(|g| &g.queries, self.heads), of(|g| &g.keys, self.kv), of(|g| &g.values, self.kv)]
    }
}

#[derive(Debug)]
struct AttendWithin;

impl Backward<Flex, 3> for AttendWithin {
    type State = (Within, [FlexTensor; 3], Vec<Attended>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (within, inputs, attended) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let gradients = within.backward(inputs.each_ref(), &attended, &dy);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// Attention of queries `[1, t, heads, d]` to the places `seen` of a cache, keys and values `[1, kv, slots, d]` → `[1, t, heads, d]`; `hidden`
/// as of [`attend`].
#[must_use]
pub fn attend_cached(
    q: Tensor<4>,
    [keys, values]: [Tensor<4>; 2],
    seen: Range<usize>,
    hidden: Option<&Tensor<3, Bool>>,
    scores: Scores,
) -> Tensor<4> {
    if hidden.is_none()
        && let Some(y) = card::attend_one(&q, &keys, &values, seen.clone(), scores)
    {
        return y;
    }
    let [k, v] = [keys, values].map(|all| all.narrow(2, seen.start, seen.len()));
    attend(q, k, v, hidden, scores)
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
    #![allow(clippy::unwrap_used)]

    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn values_and_gradients_are_those_of_burns_operations() {
        let device = Device::flex().autodiff();
        // More places than a block of queries has, and examples that begin within one.
        let length = 150;
        let examples: Vec<u32> = (0..2 * length).map(|at| (at / 47 + at / length) as u32).collect();
        for (window, softcap) in [(None, None), (Some(9), None), (None, Some(2.0))] {
            let sees = Sees::packed(&examples, length as usize, window);
            let scores = Scores { scale: 0.4, softcap };
            let random =
                |heads| Tensor::<4>::random([2, length as usize, heads, 8], Distribution::Normal(0.0, 1.0), &device);
            let inputs = [random(6), random(2), random(2)].map(Tensor::require_grad);
            let weights = random(6);
            let run = |of: fn(Tensor<4>, Tensor<4>, Tensor<4>, &Sees, Scores) -> Tensor<4>| {
                let [q, k, v] = inputs.clone();
                let y = of(q, k, v, &sees, scores);
                let gradients = (y.clone() * weights.clone()).sum().backward();
                let grads = inputs.each_ref().map(|x| x.grad(&gradients).unwrap().to_data());
                [vec![y.to_data()], grads.to_vec()].concat()
            };
            for (ours, burns) in run(attend_within).iter().zip(&run(with_burn)) {
                assert_eq!(ours.shape(), burns.shape());
                for (a, b) in ours.iter::<f32>().zip(burns.iter::<f32>()) {
                    assert!((a - b).abs() < 1e-4 * b.abs().max(1.0), "{window:?} {softcap:?}: {a} {b}");
                }
            }
            let [q, k, v] = inputs.map(Tensor::inner);
            let y = attend_within(q, k, v, &sees, scores);
            assert!(y.into_data().iter::<f32>().all(f32::is_finite));
        }
    }

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
