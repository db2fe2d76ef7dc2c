//! The model as a task of the training loop.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use jielong_nn::module::ModuleError;
use jielong_nn::train::{AdamWConfig, Item, Learner, Numbers, Step, Task, TaskError};

use super::{Batch, Row, RowError, Rows, Trained};
use crate::model::Llama;

/// How a model is trained, besides the plan of the run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tokens of a row, at most.
    pub length: usize,
    /// Rows that are scored at once.
    pub batch: usize,
    /// AdamW.
    pub optimiser: AdamWConfig,
    /// How much of the mean weights stays in a step; 0: no mean, the last weights are the result.
    pub average: f64,
    /// Devices that share out the batches beside that of the model.
    pub beside: Vec<Device>,
}

/// A model in training.
#[derive(Debug)]
pub struct LlamaTask<R> {
    rows: R,
    settings: Settings,
    held_out: Vec<Batch>,
    model: Learner<Llama>,
}

impl<R: Rows> LlamaTask<R> {
    /// Training of a model whose weights are tensors of a device with gradients.
    ///
    /// # Errors
    /// [`RowError`], of the held-out rows.
    pub fn new(model: Llama, rows: R, settings: Settings) -> Result<Self, RowError> {
        let held_out = rows.held_out(settings.length);
        let held_out = held_out.chunks(settings.batch.max(1)).map(|rows| Batch::new(rows, model.config()));
        Ok(Self { held_out: held_out.collect::<Result<_, _>>()?, model: settings.learner(model), rows, settings })
    }

    /// Rows as a batch for each device.
    fn parts(&self, items: &[Item]) -> Result<Vec<Batch>, TaskError> {
        let row = |item: &Item| self.rows.row(item.seed, item.index, self.settings.length);
        let rows: Vec<Row> = items.iter().map(row).collect::<Result<_, _>>()?;
        let part = |rows: &[Row]| Ok(Batch::new(rows, self.model.module().config())?);
        rows.chunks(rows.len().div_ceil(self.model.devices()).max(1)).map(part).collect()
    }
}

impl Settings {
    pub(super) fn learner(&self, model: Llama) -> Learner<Llama> {
        Learner::new(model, self.optimiser.clone(), self.average).beside(&self.beside)
    }
}

/// The sum of the weights.
fn total(batch: &Batch) -> f64 {
    batch.weights().iter().map(|&weight| f64::from(weight)).sum()
}

/// `Σ weight · loss / total`
fn weighted(losses: Tensor<1>, batch: &Batch, total: f64) -> Tensor<1> {
    let weights: Vec<f32> = batch.weights().iter().map(|&weight| (f64::from(weight) / total) as f32).collect();
    let count = weights.len();
    let weights = Tensor::<1>::from_data(TensorData::new(weights, [count]), &losses.device());
    (losses * weights).sum()
}

impl<R: Rows> Task for LlamaTask<R> {
    fn items(&self) -> usize {
        self.rows.items()
    }

    fn learn(&mut self, batch: &[Item], step: &Step) -> Result<Numbers, TaskError> {
        let parts = self.parts(batch)?;
        let total = parts.iter().map(total).sum();
        let loss = |model: &Llama, batch: Batch| Ok::<_, ModuleError>(weighted(model.losses(&batch), &batch, total));
        Ok(vec![("loss".into(), self.model.add_parts(parts, step.share, loss)?)])
    }

    fn update(&mut self, step: &Step) -> Result<(), TaskError> {
        self.model.update(step.rate)?;
        Ok(())
    }

    fn evaluate(&mut self, _: &Step, _: &Path) -> Result<Numbers, TaskError> {
        let model = self.model.result();
        // Of all tokens, then of each kind: weighted losses, and weights.
        let mut sums = vec![[0.0f64; 2]; 1 + self.rows.kinds().len()];
        for batch in &self.held_out {
            let losses = model.losses(batch).try_into_vec_as::<f32>();
            let losses = losses.map_err(|error| ModuleError::Compute(error.to_string()))?;
            for ((loss, weight), target) in losses.iter().zip(batch.weights()).zip(batch.targets()) {
                let (loss, weight) = (f64::from(*loss), f64::from(*weight));
                let kinds = self.rows.kinds().iter().enumerate();
                let of = kinds.filter(|(_, (_, ids))| ids.contains(target)).map(|(index, _)| index + 1);
                for index in std::iter::once(0).chain(of) {
                    sums[index] = [sums[index][0] + weight * loss, sums[index][1] + weight];
                }
            }
        }
        let names = std::iter::once("loss").chain(self.rows.kinds().iter().map(|(name, _)| name.as_str()));
        let found = names.zip(sums).filter(|(_, [_, weight])| *weight > 0.0);
        Ok(found.map(|(name, [loss, weight])| (name.to_owned(), loss / weight)).collect())
    }

    fn save(&self, folder: &Path) -> Result<(), TaskError> {
        Ok(self.model.save(folder, "model")?)
    }

    fn load(&mut self, folder: &Path) -> Result<(), TaskError> {
        Ok(self.model.load(folder, "model")?)
    }
}

impl<R: Rows> Trained for LlamaTask<R> {
    fn result(&self) -> Llama {
        self.model.result()
    }

    fn parameters(&self) -> usize {
        self.model.parameters()
    }
}
