//! Grouped-query attention (Ainslie et al. 2023), causal, optionally through a sliding window: over the cache, or of packed
//! rows to themselves.

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};

use jielong_core::State;
use jielong_kernels::{Cpu, rotate};
use jielong_nn::attention::{Scores, Sees, attend_cached, attend_within};
use jielong_nn::cpu::{self, Values};

use crate::cache::KvCache;
use crate::config::{Config, QkNorm};
use crate::layers::RmsNorm;
use crate::linear::{Linear, Weight, together};
use crate::rope::Angles;

/// The attention layer of one block.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    pub(crate) q: Linear,
    pub(crate) k: Linear,
    pub(crate) v: Linear,
    pub(crate) o: Linear,
    pub(crate) q_norm: Option<RmsNorm>,
    pub(crate) k_norm: Option<RmsNorm>,
    #[module(skip)]
    pub(crate) shape: Shape,
}

/// The numbers that attention needs of a [`Config`].
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    qk_norm: QkNorm,
    scores: Scores,
}

impl From<&Config> for Shape {
    fn from(c: &Config) -> Self {
        Self {
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            qk_norm: c.qk_norm,
            scores: Scores { scale: c.attention_scale, softcap: c.attention_softcap },
        }
    }
}

/// Which keys the queries of one step see.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each kind of window: a box would save nothing")]
pub(crate) enum Sight {
    /// For kernels, which make no mask: so many, up to itself.
    Window(Option<usize>),
    /// Those of a cache of tensors from this position on; for several queries with a mask, `[1, t, end - from]`.
    Cached(usize, Option<Tensor<3, Bool>>),
    /// Those of the rows themselves, without a cache.
    Within(Sees),
}

impl Sight {
    /// Queries at positions `start .. start + count` of a cache of tensors, each seeing itself and what is before, within
    /// `window`.
    pub(crate) fn cached(start: usize, count: usize, window: Option<usize>, device: &Device) -> Self {
        let from = window.map_or(0, |w| (start + 1).saturating_sub(w));
        if count == 1 {
            return Self::Cached(from, None);
        }
        let range = |a: usize, b: usize| Tensor::<1, Int>::arange(a as i64..b as i64, device);
        let end = start + count;
        let key = range(from, end).unsqueeze_dim::<2>(0).expand([count, end - from]);
        let query = range(start, end).unsqueeze_dim::<2>(1).expand([count, end - from]);
        let future = key.clone().greater(query.clone());
        let hidden = match window {
            Some(w) if w < end => future.bool_or((key + w as i64).lower_equal(query)),
            _ => future,
        };
        Self::Cached(from, Some(hidden.unsqueeze()))
    }
}

/// What attention needs besides its input.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a> {
    pub(crate) angles: Option<&'a Angles>,
    pub(crate) sight: &'a Sight,
    pub(crate) layer: usize,
    pub(crate) on: Option<&'a Cpu>,
}

impl Attention {
    /// The matrices that one token reads.
    pub(crate) fn weights(&self) -> Vec<&Weight> {
        [&self.q, &self.k, &self.v, &self.o].map(|linear| &linear.weight).to_vec()
    }

    /// `[b, t, hidden]` → the same; reads and extends the cache, if there is one.
    pub(crate) fn forward(&self, x: Tensor<3>, step: Step, cache: Option<&mut KvCache>) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let Shape { heads, kv_heads, head_dim, scores, .. } = self.shape;
        let [q, k, v] = together([&self.q, &self.k, &self.v], x, step.on);
        let q = self.split(q, heads, self.q_norm.as_ref(), step); // [b, t, heads, d]
        let k = self.split(k, kv_heads, self.k_norm.as_ref(), step);
        let v = v.reshape([b, t, kv_heads, head_dim]);
        let y = match (step.sight, step.on, cache) {
            (Sight::Window(window), Some(cpu), Some(cache)) => {
                self.by_kernel([q, k, v], *window, step.layer, cpu, cache)
            }
            (Sight::Cached(from, hidden), None, Some(cache)) => {
                let all = cache.append(step.layer, k.swap_dims(1, 2), v.swap_dims(1, 2)); // [1, kv, slots, d]
                attend_cached(q, all, *from..cache.len() + t, hidden.as_ref(), scores)
            }
            (Sight::Within(sees), None, None) => attend_within(q, k, v, sees, scores),
            (sight, ..) => unreachable!("sight, processor and cache are made for each other: {sight:?}"),
        };
        self.o.forward(y.reshape([b, t, heads * head_dim]), step.on)
    }

    /// `[b, t, heads · d]` → normalised and rotated `[b, t, heads, d]`
    fn split(&self, x: Tensor<3>, heads: usize, norm: Option<&RmsNorm>, step: Step) -> Tensor<4> {
        let [b, t, _] = x.dims();
        let d = self.shape.head_dim;
        let x = match (norm, self.shape.qk_norm) {
            (Some(norm), QkNorm::Projection) => norm.forward(x, step.on).reshape([b, t, heads, d]),
            (Some(norm), _) => norm.forward(x.reshape([b, t, heads, d]), step.on),
            (None, _) => x.reshape([b, t, heads, d]),
        };
        match (step.angles, step.on) {
            (Some(angles), Some(cpu)) => {
                let (cos, sin) = angles.values();
                cpu::update(x, |x| rotate(cpu, x, heads, d, cos.as_slice(), sin.as_slice()))
            }
            (Some(angles), None) => angles.rotate(x),
            (None, _) => x,
        }
    }

    /// Queries `[1, t, heads, d]`, keys and values `[1, t, kv, d]` → `[1, t, heads, d]`
    fn by_kernel(
        &self,
        [q, k, v]: [Tensor<4>; 3],
        window: Option<usize>,
        layer: usize,
        cpu: &Cpu,
        cache: &mut KvCache,
    ) -> Tensor<4> {
        let Shape { heads, scores, .. } = self.shape;
        let (shape, start) = (q.dims(), cache.len());
        let (q, k, v) = (Values::of(q), Values::of(k), Values::of(v));
        let store = cache.store(layer);
        store.append(start, k.as_slice(), v.as_slice());
        let mut out = vec![0.0; q.as_slice().len()];
        let (scale, softcap) = (scores.scale as f32, scores.softcap.map(|cap| cap as f32));
        let attention = jielong_kernels::Attention { heads, scale, softcap, window };
        jielong_kernels::attend(cpu, store, &attention, q.as_slice(), start, &mut out);
        cpu::tensor(out, shape)
    }
}
