//! Keys and values of what was read so far: the state of one generation, owned by the caller.
//!
//! Slots double when they run out, up to the context, so that a short chat never pays for a long context and a step
//! allocates nothing. Writing is in place; truncating only lowers `len`. Where kernels compute, a layer is a [`KvStore`] in
//! the layout they read; elsewhere it is two tensors `[1, kv_heads, slots, head_dim]`.

use burn::tensor::{Tensor, s};
use jielong_core::State;
use jielong_kernels::KvStore;

/// Slots of a fresh cache.
pub(crate) const FIRST_SLOTS: usize = 256;

/// Keys and values of all layers.
#[derive(Debug)]
pub struct KvCache {
    layers: Layers,
    len: usize,
    slots: usize,
    context: usize,
}

/// The layers, in the form of whoever computes.
#[derive(Debug)]
pub(crate) enum Layers {
    Tensors(Vec<(Tensor<4>, Tensor<4>)>), // keys, values: [1, kv, slots, d]
    Stores(Vec<KvStore>),
}

impl KvCache {
    /// Empty layers of `slots` slots each, that may grow to `context`.
    pub(crate) fn new(layers: Layers, slots: usize, context: usize) -> Self {
        Self { layers, len: 0, slots, context }
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
        match &mut self.layers {
            Layers::Stores(stores) => stores.iter_mut().for_each(|store| store.grow(slots)),
            Layers::Tensors(layers) => {
                for tensor in layers.iter_mut().flat_map(|(keys, values)| [keys, values]) {
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
        }
        self.slots = slots;
    }

    /// Writes the keys and values `[1, kv, t, d]` of the newest positions, and returns all, `[1, kv, slots, d]`.
    /// The positions count as read only after [`KvCache::advance`].
    pub(crate) fn append(&mut self, layer: usize, k: Tensor<4>, v: Tensor<4>) -> [Tensor<4>; 2] {
        let start = self.len;
        let end = start + k.dims()[2];
        let Layers::Tensors(layers) = &mut self.layers else { unreachable!("a cache of tensors") };
        let (keys, values) = &mut layers[layer];
        keys.inplace(|t| t.slice_assign(s![.., .., start..end, ..], k));
        values.inplace(|t| t.slice_assign(s![.., .., start..end, ..], v));
        [keys.clone(), values.clone()]
    }

    /// The store of a layer.
    pub(crate) fn store(&mut self, layer: usize) -> &mut KvStore {
        let Layers::Stores(stores) = &mut self.layers else { unreachable!("a cache of stores") };
        &mut stores[layer]
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
    use burn::tensor::{Device, Tolerance};

    use super::*;

    #[test]
    fn slots_double_and_keep_what_they_hold() {
        let device = Device::flex();
        let empty = || Tensor::<4>::zeros([1, 2, 256, 4], &device);
        let mut cache = KvCache::new(Layers::Tensors(vec![(empty(), empty())]), 256, 3000);
        let mut all: Option<Tensor<4>> = None;
        for (index, count) in [1, 255, 1, 300, 44, 1500].into_iter().enumerate() {
            cache.reserve(count);
            let new = Tensor::<4>::ones([1, 2, count, 4], &device) * (index as f32 + 1.0);
            let all_slots = cache.append(0, new.clone(), new.clone() * 2.0);
            cache.advance(count);
            let [keys, values] = all_slots.map(|tensor| tensor.narrow(2, 0, cache.len()));
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
