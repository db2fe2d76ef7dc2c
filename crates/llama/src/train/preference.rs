//! Preference tuning: of two answers the one that was liked becomes likelier, measured against the model that it began as.
//!
//! Direct preference optimisation (Rafailov et al. 2023, *Direct preference optimization: your language model is secretly a
//! reward model*, eq. 7): `−ln σ(β · (Δ chosen − Δ rejected))`, where Δ is by how much the logarithm of an answer's probability
//! has risen.

use std::path::Path;

use burn::tensor::{Tensor, TensorData, activation};
use jielong_nn::module::ModuleError;
use jielong_nn::train::{Item, Learner, Numbers, Step, Task, TaskError};

use super::{Batch, Row, RowError, Settings, Trained};
use crate::model::Llama;

/// Two answers to a prompt. What counts of them is the answer alone, with a weight of 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The prompt and the answer that was liked.
    pub chosen: Row,
    /// The prompt and the answer that was not.
    pub rejected: Row,
}

/// A model in preference tuning.
#[derive(Debug)]
pub struct PreferenceTask {
    pairs: Vec<Compared>,
    held_out: Vec<Compared>,
    beta: f64,
    batch: usize,
    model: Learner<Llama>,
}

/// A pair, and the logarithms of both answers' probabilities under the model that it begins as.
#[derive(Debug)]
struct Compared {
    pair: Pair,
    reference: [f32; 2],
}

impl PreferenceTask {
    /// Tuning of a model whose weights are tensors of a device with gradients. `beta` is how much it costs to leave the model as it
    /// is: 0.1 is usual, more stays closer.
    ///
    /// # Errors
    /// [`RowError`]; the computation.
    pub fn new(model: Llama, pairs: [Vec<Pair>; 2], beta: f64, settings: &Settings) -> Result<Self, TaskError> {
        let model = settings.learner(model);
        let (batch, reference) = (settings.batch.max(1), model.result());
        let compared = |pairs: Vec<Pair>| -> Result<Vec<Compared>, TaskError> {
            let mut values = Vec::with_capacity(pairs.len());
            for pairs in pairs.chunks(batch) {
                values.extend(numbers(log_probabilities(&reference, pairs.iter())?)?);
            }
            let both = pairs.into_iter().zip(values.as_chunks::<2>().0);
            Ok(both.map(|(pair, &reference)| Compared { pair, reference }).collect())
        };
        let [pairs, held_out] = pairs;
        Ok(Self { pairs: compared(pairs)?, held_out: compared(held_out)?, beta, batch, model })
    }
}

/// Logarithms of the probabilities of the chosen and the rejected answers, `[pairs, 2]`.
fn log_probabilities<'a>(model: &Llama, pairs: impl Iterator<Item = &'a Pair>) -> Result<Tensor<2>, RowError> {
    let rows: Vec<Row> = pairs.flat_map(|pair| [pair.chosen.clone(), pair.rejected.clone()]).collect();
    let batch = Batch::new(&rows, model.config())?;
    let losses = model.losses(&batch);
    let (count, length) = (batch.targets().len(), batch.shape()[1]);
    // Which losses are of which row.
    let mut of = vec![0.0f32; rows.len() * count];
    for (target, (&place, &weight)) in batch.places.iter().zip(batch.weights()).enumerate() {
        of[place as usize / length * count + target] = -weight;
    }
    let of = Tensor::<2>::from_data(TensorData::new(of, [rows.len(), count]), &losses.device());
    Ok(of.matmul(losses.reshape([count, 1])).reshape([rows.len() / 2, 2]))
}

fn numbers(tensor: Tensor<2>) -> Result<Vec<f32>, ModuleError> {
    tensor.try_into_vec_as::<f32>().map_err(|error| ModuleError::Compute(error.to_string()))
}

/// `β · (Δ chosen − Δ rejected)` of each pair, `[pairs]`.
fn margins(model: &Llama, pairs: &[&Compared], beta: f64) -> Result<Tensor<1>, RowError> {
    let now = log_probabilities(model, pairs.iter().map(|compared| &compared.pair))?;
    let reference: Vec<f32> = pairs.iter().flat_map(|compared| compared.reference).collect();
    let reference = Tensor::<2>::from_data(TensorData::new(reference, [pairs.len(), 2]), &now.device());
    let risen = now - reference;
    let (chosen, rejected) = (risen.clone().narrow(1, 0, 1), risen.narrow(1, 1, 1));
    Ok((chosen - rejected).reshape([pairs.len()]) * beta)
}

impl Task for PreferenceTask {
    fn items(&self) -> usize {
        self.pairs.len()
    }

    fn learn(&mut self, batch: &[Item], step: &Step) -> Result<Numbers, TaskError> {
        let pairs: Vec<&Compared> = batch.iter().map(|item| &self.pairs[item.index]).collect();
        let parts = pairs.chunks(pairs.len().div_ceil(self.model.devices()).max(1)).collect();
        let loss = |model: &Llama, part: &[&Compared]| -> Result<Tensor<1>, TaskError> {
            Ok(-activation::log_sigmoid(margins(model, part, self.beta)?).sum() / pairs.len() as f64)
        };
        Ok(vec![("loss".into(), self.model.add_parts(parts, step.share, loss)?)])
    }

    fn update(&mut self, step: &Step) -> Result<(), TaskError> {
        self.model.update(step.rate)?;
        Ok(())
    }

    /// The loss; the share of held-out pairs whose chosen answer has risen more than the other (`accuracy`), and of those whose
    /// chosen answer is the likelier one (`preferred`).
    fn evaluate(&mut self, _: &Step, _: &Path) -> Result<Numbers, TaskError> {
        let model = self.model.result();
        let (mut loss, mut risen, mut preferred) = (0.0, 0, 0);
        let all: Vec<&Compared> = self.held_out.iter().collect();
        for pairs in all.chunks(self.batch) {
            let margins = numbers(margins(&model, pairs, self.beta)?.unsqueeze())?;
            for (margin, compared) in margins.into_iter().zip(pairs) {
                let (margin, [chosen, rejected]) = (f64::from(margin), compared.reference);
                loss += (-margin).exp().ln_1p();
                risen += usize::from(margin > 0.0);
                preferred += usize::from(margin / self.beta + f64::from(chosen - rejected) > 0.0);
            }
        }
        let count = self.held_out.len().max(1) as f64;
        let share = |pairs: usize| pairs as f64 / count;
        Ok(vec![
            ("loss".into(), loss / count),
            ("accuracy".into(), share(risen)),
            ("preferred".into(), share(preferred)),
        ])
    }

    fn save(&self, folder: &Path) -> Result<(), TaskError> {
        Ok(self.model.save(folder, "model")?)
    }

    fn load(&mut self, folder: &Path) -> Result<(), TaskError> {
        Ok(self.model.load(folder, "model")?)
    }
}

impl Trained for PreferenceTask {
    fn result(&self) -> Llama {
        self.model.result()
    }

    fn parameters(&self) -> usize {
        self.model.parameters()
    }
}
