//! Grouped-query attention over the cache (Ainslie et al. 2023), causal, optionally through a sliding window.

use burn::module::Module;
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, activation};

use crate::cache::KvCache;
use crate::config::{Config, QkNorm};
use crate::layers::{Linear, RmsNorm};
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

/// What the keys of one step may be seen by: the first visible position and, for several queries, a mask.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    from: usize,
    hidden: Option<Tensor<2, Bool>>, // [t, end - from], true where a query must not look
}

impl Sight {
    /// Queries at positions `start .. start + count`, each seeing itself and what is before, within `window`.
    pub(crate) fn new(start: usize, count: usize, window: Option<usize>, device: &Device) -> Self {
        let from = window.map_or(0, |w| (start + 1).saturating_sub(w));
        if count == 1 {
            return Self { from, hidden: None };
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
        Self { from, hidden: Some(hidden) }
    }
}

impl Attention {
    /// `[1, t, hidden]` → the same, reading and extending the cache of `layer`.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        angles: Option<&Angles>,
        sight: &Sight,
        cache: &mut KvCache,
        layer: usize,
    ) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let Shape { heads, kv_heads, head_dim, .. } = self.shape;
        let q = self.split(self.q.forward(x.clone()), heads, self.q_norm.as_ref(), angles);
        let k = self.split(self.k.forward(x.clone()), kv_heads, self.k_norm.as_ref(), angles);
        let v = self.split(self.v.forward(x), kv_heads, None, None);
        let (k, v) = cache.append(layer, k, v, sight.from); // [b, kv, s, d]
        let s = k.dims()[2];
        let group = heads / kv_heads;
        let q = (q * self.shape.scale).reshape([b, kv_heads, group * t, head_dim]);
        let scores = q.matmul(k.transpose()).cast(FloatDType::F32); // [b, kv, group · t, s]
        let scores = match self.shape.softcap {
            Some(cap) => (scores / cap).tanh() * cap,
            None => scores,
        };
        let scores = match &sight.hidden {
            Some(hidden) => scores
                .reshape([b, kv_heads, group, t, s])
                .mask_fill(hidden.clone().unsqueeze::<5>().expand([b, kv_heads, group, t, s]), f32::NEG_INFINITY)
                .reshape([b, kv_heads, group * t, s]),
            None => scores,
        };
        let weights = activation::softmax(scores, 3).cast(v.dtype());
        let y = weights.matmul(v).reshape([b, heads, t, head_dim]);
        self.o.forward(y.swap_dims(1, 2).reshape([b, t, heads * head_dim]))
    }

    /// `[b, t, heads · d]` → normalised and rotated `[b, heads, t, d]`
    fn split(&self, x: Tensor<3>, heads: usize, norm: Option<&RmsNorm>, angles: Option<&Angles>) -> Tensor<4> {
        let [b, t, _] = x.dims();
        let d = self.shape.head_dim;
        let x = match (norm, self.shape.qk_norm) {
            (Some(norm), QkNorm::Projection) => norm.forward(x).reshape([b, t, heads, d]),
            (Some(norm), _) => norm.forward(x.reshape([b, t, heads, d])),
            (None, _) => x.reshape([b, t, heads, d]),
        };
        let x = x.swap_dims(1, 2); // [b, heads, t, d]
        match angles {
            Some(angles) => angles.rotate(x),
            None => x,
        }
    }
}
