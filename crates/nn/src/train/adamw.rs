//! AdamW (Loshchilov & Hutter 2019, *Decoupled weight decay regularization*).
//!
//! Burn's optimisers keep their state under ids that are drawn anew in each process and clip each parameter for itself; here
//! all gradients are clipped together, and state goes to a file under the parameters' names, as the weights do.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use jielong_kernels::{AdamWStep, Isa};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::gradients::{Gradients, PART, row, scalar};
use crate::cpu::{self, Values};
use crate::module::{ModuleError, Names, Stored, write};
use crate::weights::{Weights, WeightsError};

/// Settings of AdamW: part of `configs/train/*.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// How much of the mean gradient stays in a step.
    pub beta1: f64,
    /// How much of the mean square stays in a step.
    pub beta2: f64,
    /// What keeps the division finite.
    pub eps: f64,
    /// How much of a matrix or kernel goes in a step of rate 1; nothing of vectors.
    pub decay: f64,
    /// The largest norm of all gradients together; 0 for any.
    pub clip: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.99, eps: 1e-8, decay: 0.01, clip: 1.0 }
    }
}

/// What AdamW remembers of a parameter.
#[derive(Clone, Debug)]
struct Moments {
    mean: Tensor<1>,
    square: Tensor<1>,
}

/// An optimiser of one module.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    updates: u64,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// An optimiser that remembers nothing yet.
    #[must_use]
    pub fn new(config: AdamWConfig) -> Self {
        Self { config, updates: 0, moments: BTreeMap::new() }
    }

    /// Steps made so far.
    pub(super) fn updates(&self) -> u64 {
        self.updates
    }

    /// The module after a step against its gradients, and their norm before clipping. A parameter without a gradient stays.
    ///
    /// # Errors
    /// [`ModuleError::Compute`].
    pub fn step<M: Module>(&mut self, module: M, gradients: Gradients, rate: f64) -> Result<(M, f64), ModuleError> {
        let norm = gradients.norm()?;
        let scale = if self.config.clip > 0.0 && norm > self.config.clip { self.config.clip / norm } else { 1.0 };
        self.updates += 1;
        let mut step = Step { names: Names::default(), gradients: gradients.into_rows(), optimiser: self, scale, rate };
        Ok((module.map(&mut step), norm))
    }

    /// Writes what it remembers, as safetensors.
    ///
    /// # Errors
    /// [`ModuleError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), ModuleError> {
        let mut tensors = Vec::new();
        for (name, Moments { mean, square }) in &self.moments {
            tensors.push((format!("mean.{name}"), Stored::read(mean.clone())?));
            tensors.push((format!("square.{name}"), Stored::read(square.clone())?));
        }
        // Exact in f32 up to 2²⁴ updates; beyond, both corrections are 1 anyway.
        tensors.push(("updates".into(), Stored::new(vec![1], TensorData::new(vec![self.updates as f32], [1]))));
        write(tensors, path)
    }

    /// Reads back what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`ModuleError::Weights`] and [`ModuleError::Mismatch`].
    pub fn load(&mut self, path: &Path, device: &Device) -> Result<(), ModuleError> {
        let weights = Weights::open(path)?;
        let values = |name: &str| -> Result<Tensor<1>, ModuleError> {
            let Some(view) = weights.get(name) else {
                return Err(ModuleError::Mismatch { problems: vec![format!("`{name}` is missing")] });
            };
            let values = view.to_f32()?;
            let count = values.len();
            Ok(Tensor::from_data(TensorData::new(values, [count]), device))
        };
        self.updates = scalar(values("updates")?)? as u64;
        self.moments.clear();
        for name in weights.names().filter_map(|name| name.strip_prefix("mean.")) {
            let moments =
                Moments { mean: values(&format!("mean.{name}"))?, square: values(&format!("square.{name}"))? };
            if moments.mean.dims() != moments.square.dims() {
                return Err(WeightsError::damaged(path, format!("the moments of `{name}` differ in size")).into());
            }
            self.moments.insert(name.into(), moments);
        }
        Ok(())
    }
}

struct Step<'a> {
    names: Names,
    gradients: BTreeMap<String, Tensor<1>>,
    optimiser: &'a mut AdamW,
    scale: f64,
    rate: f64,
}

impl ModuleMapper for Step<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.names.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.names.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.names.path();
        let Some(gradient) = self.gradients.remove(&name) else { return param };
        let AdamWConfig { beta1, beta2, eps, decay, .. } = self.optimiser.config;
        let updates = self.optimiser.updates as f64;
        let (correct1, correct2) = (1.0 - beta1.powf(updates), 1.0 - beta2.powf(updates));
        let before = self.optimiser.moments.remove(&name);
        let Moments { mean, square } = before.unwrap_or_else(|| {
            let zeros = gradient.zeros_like();
            Moments { mean: zeros.clone(), square: zeros }
        });
        // weight · keep − rate · (mean / correct1) / (√(square / correct2) + eps), with the constants brought together
        let (rate, root) = (self.rate / correct1, 1.0 / correct2.sqrt());
        let keep = if D > 1 { 1.0 - self.rate * decay } else { 1.0 };
        let (scale, moments) = (self.scale, &mut self.optimiser.moments);
        replace(param, |weight| {
            let [weight, mean, square] = if cpu::is_here(&gradient) && cpu::is_here(&weight) {
                let float = |x: f64| x as f32;
                let [scale, rate, root, eps, keep] = [scale, rate, root, eps, keep].map(float);
                let step = AdamWStep { scale, betas: [beta1, beta2].map(float), rate, root, eps, keep };
                let gradient = Values::of(gradient);
                cpu::update_all([weight, mean, square], |[weight, mean, square]| {
                    let parts = weight.par_chunks_mut(PART).zip(mean.par_chunks_mut(PART));
                    let parts = parts.zip(square.par_chunks_mut(PART)).zip(gradient.as_slice().par_chunks(PART));
                    parts.for_each(|(((w, m), v), g)| step.apply(Isa::best(), g, [w, m, v]));
                })
            } else {
                let gradient = gradient * scale;
                let mean = mean * beta1 + gradient.clone() * (1.0 - beta1);
                let square = square * beta2 + gradient.clone() * gradient * (1.0 - beta2);
                let change = mean.clone() / (square.clone().sqrt() * root + eps) * rate;
                [weight * keep - change, mean, square]
            };
            moments.insert(name, Moments { mean, square });
            weight
        })
    }
}

/// The parameter with new values.
pub(super) fn replace<const D: usize>(
    param: Param<Tensor<D>>,
    new: impl FnOnce(Tensor<1>) -> Tensor<1>,
) -> Param<Tensor<D>> {
    let (id, tensor, mapper) = param.consume();
    let (shape, tracked, autodiff) = (tensor.dims(), tensor.is_require_grad(), tensor.is_autodiff());
    let mut values = new(row(tensor.without_autodiff())).reshape(shape);
    if autodiff {
        values = values.autodiff();
    }
    Param::from_mapped_value(id, values.set_require_grad(tracked), mapper)
}
