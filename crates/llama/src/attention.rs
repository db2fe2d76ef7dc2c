//! Grouped-query attention over the cache (Ainslie et al. 2023), causal, optionally through a sliding window.

use burn::module::Module;
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, activation};

use jielong_core::State;
use jielong_kernels::{Cpu, attend, rotate};
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
    scale: f64,
    softcap: Option<f64>,
}

impl From<&Config> for Shape {
    fn from(c: &Config) -> Self {
        Self {
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            qk_norm: c.qk_norm,
            scale: c.attention_scale,
            softcap: c.attention_softcap,
        }
    }
}

/// What the keys of one step may be seen by: the window, the first visible position and, for several queries of tensors, a
/// mask.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    window: Option<usize>,
    from: usize,
    hidden: Option<Tensor<2, Bool>>, // [t, end - from], true where a query must not look
}

impl Sight {
    /// For kernels, which make no mask.
    pub(crate) fn window(window: Option<usize>) -> Self {
        Self { window, from: 0, hidden: None }
    }

    /// Queries at positions `start .. start + count`, each seeing itself and what is before, within `window`.
    pub(crate) fn new(start: usize, count: usize, window: Option<usize>, device: &Device) -> Self {
        let from = window.map_or(0, |w| (start + 1).saturating_sub(w));
        if count == 1 {
            return Self { window, from, hidden: None };
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
        Self { window, from, hidden: Some(hidden) }
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

    /// `[1, t, hidden]` → the same, reading and extending the cache.
    pub(crate) fn forward(&self, x: Tensor<3>, step: Step, cache: &mut KvCache) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let Shape { heads, kv_heads, head_dim, .. } = self.shape;
        let [q, k, v] = together([&self.q, &self.k, &self.v], x, step.on);
        let q = self.split(q, heads, self.q_norm.as_ref(), step); // [b, t, heads, d]
        let k = self.split(k, kv_heads, self.k_norm.as_ref(), step);
        let v = v.reshape([b, t, kv_heads, head_dim]);
        let y = match step.on {
            Some(cpu) => self.by_kernel(q, k, v, step, cpu, cache),
            None => self.by_tensors(q, k, v, step, cache),
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
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        step: Step,
        cpu: &Cpu,
        cache: &mut KvCache,
    ) -> Tensor<4> {
        let Shape { heads, scale, softcap, .. } = self.shape;
        let (shape, start) = (q.dims(), cache.len());
        let (q, k, v) = (Values::of(q), Values::of(k), Values::of(v));
        let store = cache.store(step.layer);
        store.append(start, k.as_slice(), v.as_slice());
        let mut out = vec![0.0; q.as_slice().len()];
        let (scale, softcap, window) = (scale as f32, softcap.map(|cap| cap as f32), step.sight.window);
        let attention = jielong_kernels::Attention { heads, scale, softcap, window };
        attend(cpu, store, &attention, q.as_slice(), start, &mut out);
        cpu::tensor(out, shape)
    }

    /// As [`Attention::by_kernel`].
    fn by_tensors(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, step: Step, cache: &mut KvCache) -> Tensor<4> {
        let [b, t, heads, head_dim] = q.dims();
        let kv_heads = self.shape.kv_heads;
        let (k, v) = (k.swap_dims(1, 2), v.swap_dims(1, 2));
        let (k, v) = cache.append(step.layer, k, v, step.sight.from); // [b, kv, s, d]
        let s = k.dims()[2];
        let group = heads / kv_heads;
        let q = (q.swap_dims(1, 2) * self.shape.scale).reshape([b, kv_heads, group * t, head_dim]);
        let scores = q.matmul(k.transpose()).cast(FloatDType::F32); // [b, kv, group · t, s]
        let scores = match self.shape.softcap {
            Some(cap) => (scores / cap).tanh() * cap,
            None => scores,
        };
        let scores = match &step.sight.hidden {
            Some(hidden) => scores
                .reshape([b, kv_heads, group, t, s])
                .mask_fill(hidden.clone().unsqueeze::<5>().expand([b, kv_heads, group, t, s]), f32::NEG_INFINITY)
                .reshape([b, kv_heads, group * t, s]),
            None => scores,
        };
        let weights = activation::softmax(scores, 3).cast(v.dtype());
        weights.matmul(v).reshape([b, heads, t, head_dim]).swap_dims(1, 2)
    }
}
