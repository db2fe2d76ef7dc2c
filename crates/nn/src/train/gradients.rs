//! Gradients by the name of their parameter: summed over batches, and their norm.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients as Backward, Tensor};
use jielong_kernels::{Isa, sum_of_squares};
use rayon::prelude::*;

use crate::cpu::{self, Values};
use crate::module::{ModuleError, Names};

/// Values of a parameter that are one thread's work.
pub(super) const PART: usize = 1 << 16;

/// Gradients of a module, by name, each in one row.
#[derive(Debug, Default)]
pub struct Gradients(BTreeMap<String, Tensor<1>>);

impl Gradients {
    /// Adds those of a module, times `weight`.
    pub fn add<M: Module>(&mut self, module: &M, backward: &mut Backward, weight: f64) {
        module.visit(&mut Collect { names: Names::default(), backward, weight, into: self });
    }

    /// Adds others, brought to this device.
    pub(super) fn join(&mut self, others: Self, device: &Device) {
        others.0.into_iter().for_each(|(name, gradient)| self.add_one(name, gradient.to_device(device)));
    }

    fn add_one(&mut self, name: String, gradient: Tensor<1>) {
        let sum = match self.0.remove(&name) {
            Some(before) => before + gradient,
            None => gradient,
        };
        self.0.insert(name, sum);
    }

    pub(super) fn into_rows(self) -> BTreeMap<String, Tensor<1>> {
        self.0
    }

    /// The norm of all of them together.
    ///
    /// # Errors
    /// [`ModuleError::Compute`].
    pub fn norm(&self) -> Result<f64, ModuleError> {
        let (here, elsewhere): (Vec<_>, Vec<_>) = self.0.values().cloned().partition(cpu::is_here);
        let mut sum = 0.0;
        for gradient in here {
            let values = Values::of(gradient);
            let parts = values.as_slice().par_chunks(PART).map(|part| sum_of_squares(Isa::best(), part));
            sum += parts.collect::<Vec<_>>().into_iter().sum::<f64>(); // in order
        }
        let squares = elsewhere.into_iter().map(|gradient| (gradient.clone() * gradient).sum());
        Ok((sum + squares.reduce(|a, b| a + b).map_or(Ok(0.0), scalar)?).sqrt())
    }
}

/// The only number of a tensor.
///
/// # Errors
/// [`ModuleError::Compute`].
pub fn scalar(tensor: Tensor<1>) -> Result<f64, ModuleError> {
    let values = tensor.try_into_data_as::<f32>().map_err(|e| ModuleError::Compute(e.to_string()))?;
    Ok(values.iter::<f64>().next().unwrap_or(f64::NAN))
}

struct Collect<'a> {
    names: Names,
    backward: &'a mut Backward,
    weight: f64,
    into: &'a mut Gradients,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.names.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.names.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad_remove(self.backward) else { return };
        let gradient = row(gradient);
        let gradient = if self.weight == 1.0 { gradient } else { gradient * self.weight };
        self.into.add_one(self.names.path(), gradient);
    }
}

pub(super) fn row<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let count = tensor.dims().iter().product::<usize>();
    tensor.reshape([count])
}
