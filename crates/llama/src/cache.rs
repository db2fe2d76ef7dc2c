//! Keys and values of what was read so far: the state of one generation, owned by the caller.
//!
//! Each layer holds two tensors `[1, kv_heads, slots, head_dim]` whose first `len` slots are filled. Slots double when they
//! run out, up to the context, so that a short chat never pays for a long context and a step allocates nothing. Writing is
//! in place; truncating only lowers `len`.

use burn::tensor::{DType, Device, Tensor, s};
use jielong_core::State;

/// Slots of a fresh cache.
const FIRST_SLOTS: usize = 256;

/// Keys and values of all layers.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<(Tensor<4>, Tensor<4>)>, // keys, values: [1, kv, slots, d]
    len: usize,
    slots: usize,
    context: usize,
}

impl KvCache {
    pub(crate) fn new(layers: usize, kv_heads: usize, head_dim: usize, context: usize, on: (&Device, DType)) -> Self {
        let slots = FIRST_SLOTS.min(context);
        let empty = || Tensor::<4>::zeros([1, kv_heads, slots, head_dim], (on.0, on.1));
        Self { layers: (0..layers).map(|_| (empty(), empty())).collect(), len: 0, slots, context }
    }

    /// Positions that can be held at most.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Makes room for `new` more positions.
    pub(crate) fn reserve(&mut self, new: usize) {
        let needed = self.len + new;
        if needed <= self.slots {
            return;
        }
        let slots = needed.next_power_of_two().min(self.context);
        for (keys, values) in &mut self.layers {
            for tensor in [keys, values] {
                let [one, kv, _, d] = tensor.dims();
                let filled = self.len;
                tensor.inplace(|old| {
                    let new = Tensor::<4>::zeros([one, kv, slots, d], (&old.device(), old.dtype()));
                    match filled {
                        0 => new,
                        n => new.slice_assign(s![.., .., 0..n, ..], old.narrow(2, 0, n)),
                    }
                });
            }
        }
        self.slots = slots;
    }

    /// Writes the keys and values `[1, kv, t, d]` of the newest positions, and returns those from position `from` on.
    /// The positions count as read only after [`KvCache::advance`].
    pub(crate) fn append(&mut self, layer: usize, k: Tensor<4>, v: Tensor<4>, from: usize) -> (Tensor<4>, Tensor<4>) {
        let start = self.len;
        let end = start + k.dims()[2];
        let (keys, values) = &mut self.layers[layer];
        keys.inplace(|t| t.slice_assign(s![.., .., start..end, ..], k));
        values.inplace(|t| t.slice_assign(s![.., .., start..end, ..], v));
        let seen = |t: &Tensor<4>| t.clone().narrow(2, from, end - from);
        (seen(keys), seen(values)) // [1, kv, end - from, d]
    }

    pub(crate) fn advance(&mut self, count: usize) {
        self.len += count;
    }
}

impl State for KvCache {
    fn len(&self) -> usize {
        self.len
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;

    use super::*;

    #[test]
    fn slots_double_and_keep_what_they_hold() {
        let device = Device::flex();
        let mut cache = KvCache::new(1, 2, 4, 3000, (&device, DType::F32));
        let mut all: Option<Tensor<4>> = None;
        for (index, count) in [1, 255, 1, 300, 44, 1500].into_iter().enumerate() {
            cache.reserve(count);
            let new = Tensor::<4>::ones([1, 2, count, 4], &device) * (index as f32 + 1.0);
            let (keys, values) = cache.append(0, new.clone(), new.clone() * 2.0, 0);
            cache.advance(count);
            let expected = match all.take() {
                Some(old) => Tensor::cat(vec![old, new], 2),
                None => new,
            };
            keys.into_data().assert_approx_eq::<f32>(&expected.clone().into_data(), Tolerance::default());
            values.into_data().assert_approx_eq::<f32>(&(expected.clone() * 2.0).into_data(), Tolerance::default());
            all = Some(expected);
        }
        assert_eq!((cache.len(), cache.slots), (2101, 3000));
        cache.truncate(5);
        cache.truncate(100);
        assert_eq!(cache.len(), 5);
    }
}
