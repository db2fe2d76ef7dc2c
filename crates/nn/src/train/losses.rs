//! A loss that is a weighted sum, and what its parts are.

use burn::tensor::{Device, Tensor};

use super::{Numbers, scalar};
use crate::module::ModuleError;

/// A weighted sum of losses, and the value of each.
#[derive(Clone, Debug)]
pub struct Losses {
    pub(super) sum: Tensor<1>,
    pub(super) parts: Numbers,
}

impl Losses {
    /// None yet: their sum is 0.
    #[must_use]
    pub fn new(device: &Device) -> Self {
        Self { sum: Tensor::zeros([1], device), parts: Numbers::new() }
    }

    /// Adds a loss, `[1]`, times its weight. With a weight of 0 its value is known, and nothing is learned from it.
    ///
    /// # Errors
    /// [`ModuleError::Compute`].
    pub fn add(&mut self, name: impl Into<String>, weight: f64, loss: Tensor<1>) -> Result<(), ModuleError> {
        self.parts.push((name.into(), scalar(loss.clone())?));
        if weight != 0.0 {
            self.sum = self.sum.clone() + loss * weight;
        }
        Ok(())
    }
}
