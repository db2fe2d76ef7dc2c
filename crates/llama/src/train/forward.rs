//! The transformer over whole batches, without a cache, with gradients where the device has them.

use burn::tensor::{Int, Tensor, TensorData};
use jielong_nn::cross_entropy::of_logits;

use super::Batch;
use crate::attention::Sight;
use crate::load::Compute;
use crate::model::Llama;

impl Llama {
    /// What the head reads at each place, `[b, t, hidden]`.
    ///
    /// # Panics
    /// If the weights are packed for kernels ([`Compute::Kernels`]).
    pub fn hidden(&self, batch: &Batch) -> Tensor<3> {
        assert!(matches!(self.compute, Compute::Burn { .. }), "a batch goes through tensors, not through kernels");
        let x = self.blocks(&batch.tokens, batch.shape, 0, |window| Sight::Within(batch.sees(window)), None);
        self.norm.forward(x, None)
    }

    /// Logits at each place, `[b, t, vocab]`, in f32.
    ///
    /// # Panics
    /// As [`Llama::hidden`].
    pub fn forward_batch(&self, batch: &Batch) -> Tensor<3> {
        self.head(self.hidden(batch))
    }

    /// −ln p of each token that is predicted, in their order, in nats: `[targets]`
    ///
    /// # Panics
    /// As [`Llama::hidden`].
    pub fn losses(&self, batch: &Batch) -> Tensor<1> {
        let x = self.hidden(batch);
        let [b, t, hidden] = x.dims();
        let places: Vec<i64> = batch.places.iter().map(|&place| i64::from(place)).collect();
        let places = Tensor::<1, Int>::from_data(TensorData::new(places, [batch.places.len()]), &x.device());
        let x = x.reshape([b * t, hidden]).select(0, places); // what is only read needs no logits
        let logits: Tensor<3> = self.head(x.unsqueeze());
        of_logits(logits.squeeze_dim(0), &batch.targets)
    }
}
