//! A module in training: what a [`Task`](super::Task) has of each of its modules.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{AdamW, AdamWConfig, Average, Gradients, Losses, Numbers, scalar};
use crate::module::{ModuleError, load, made, save};
use crate::weights::Weights;

/// A module with its optimiser, the gradients of the step under way, and the mean of its weights if there is to be one.
///
/// Several devices train one module where each learns from its part of a batch ([`add_parts`](Self::add_parts)): the gradients of
/// all are summed on the first, in their order, and the new weights go to all (data parallelism with a synchronous step; Li et al.
/// 2020, *PyTorch Distributed*, section 2).
///
/// ```text
/// let mut model = Learner::new(Net::new(&device.autodiff()), config.optimiser, config.average);
/// for each step:
///     for each of its batches:
///         let loss = …model.module().forward(…)…;
///         model.add(loss, step.share)?;
///     model.update(step.rate)?;
/// let net = model.result();
/// ```
#[derive(Debug)]
pub struct Learner<M> {
    module: M,
    /// The same module on further devices.
    copies: Vec<(Device, M)>,
    optimiser: AdamW,
    gradients: Gradients,
    average: Option<Average<M>>,
}

impl<M: Module> Learner<M> {
    /// A module that has learned nothing yet, on a device with gradients. Weights that are still lazy are made now.
    ///
    /// `average` is how much of the mean of the weights stays in a step; with 0 there is no mean.
    #[must_use]
    pub fn new(module: M, optimiser: AdamWConfig, average: f64) -> Self {
        let module = made(module);
        let average = (average > 0.0).then(|| Average::new(&module, average));
        let (optimiser, gradients) = (AdamW::new(optimiser), Gradients::default());
        Self { module, copies: Vec::new(), optimiser, gradients, average }
    }

    /// Learns on these devices too, beside that of the module; a device that is there twice computes two parts at once.
    #[must_use]
    pub fn beside(mut self, devices: &[Device]) -> Self {
        let copy = |device: &Device| (device.clone(), copy(&self.module, device));
        self.copies = devices.iter().map(copy).collect();
        self
    }

    /// On how many devices it learns.
    #[must_use]
    pub fn devices(&self) -> usize {
        1 + self.copies.len()
    }

    /// The module with its weights of now, for losses.
    #[must_use]
    pub fn module(&self) -> &M {
        &self.module
    }

    /// How many numbers the parameters of the module are.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.module.num_params()
    }

    /// The module for use, on the device without gradients: with the mean of its weights if there is one.
    #[must_use]
    pub fn result(&self) -> M {
        self.average.as_ref().map_or_else(|| self.module.valid(), |average| average.module.clone())
    }

    /// Adds the gradients of a loss, `[1]`, times `share`, to those of the step; gives the loss.
    ///
    /// # Errors
    /// [`ModuleError::Compute`].
    pub fn add(&mut self, loss: Tensor<1>, share: f64) -> Result<f64, ModuleError> {
        collect(&mut self.gradients, &self.module, loss, share)
    }

    /// As [`add`](Self::add), for a batch in parts, at most one for each device: the loss of the batch is the sum of theirs.
    ///
    /// # Errors
    /// [`ModuleError::Compute`]; what `loss` says.
    pub fn add_parts<P: Send, E: From<ModuleError> + Send>(
        &mut self,
        parts: Vec<P>,
        share: f64,
        loss: impl Fn(&M, P) -> Result<Tensor<1>, E> + Sync,
    ) -> Result<f64, E> {
        let (device, loss, mut parts) = (self.device(), &loss, parts.into_iter());
        let Some(first) = parts.next() else { return Ok(0.0) };
        thread::scope(|scope| {
            let learn = |((_, module), part): (&(Device, M), P)| {
                let module = module.clone();
                scope.spawn(move || {
                    let mut gradients = Gradients::default();
                    let value = collect(&mut gradients, &module, loss(&module, part)?, share)?;
                    Ok::<_, E>((value, gradients))
                })
            };
            let others: Vec<_> = self.copies.iter().zip(parts).map(learn).collect();
            let mut sum = collect(&mut self.gradients, &self.module, loss(&self.module, first)?, share)?;
            for other in others {
                let (value, gradients) = other.join().unwrap_or_else(|panic| resume_unwind(panic))?;
                self.gradients.join(gradients, &device);
                sum += value;
            }
            Ok(sum)
        })
    }

    /// As [`add`](Self::add), for a loss of parts; gives their sum, as `loss`, and all of them.
    ///
    /// # Errors
    /// [`ModuleError::Compute`].
    pub fn add_all(&mut self, losses: Losses, share: f64) -> Result<Numbers, ModuleError> {
        let mut numbers = vec![("loss".into(), self.add(losses.sum, share)?)];
        numbers.extend(losses.parts);
        Ok(numbers)
    }

    /// Steps against the gradients, and forgets them; gives their norm before it was clipped.
    ///
    /// # Errors
    /// [`ModuleError::Compute`].
    pub fn update(&mut self, rate: f64) -> Result<f64, ModuleError> {
        self.update_then(rate, |module| module)
    }

    /// As [`update`](Self::update), with a change of the module that is part of the step: the mean is taken after it.
    ///
    /// # Errors
    /// [`ModuleError::Compute`].
    pub fn update_then(&mut self, rate: f64, change: impl FnOnce(M) -> M) -> Result<f64, ModuleError> {
        let gradients = std::mem::take(&mut self.gradients);
        let (module, norm) = self.optimiser.step(self.module.clone(), gradients, rate)?;
        self.module = change(module);
        self.spread();
        if let Some(average) = &mut self.average {
            average.update(&self.module, self.optimiser.updates());
        }
        Ok(norm)
    }

    /// Writes what it has learned, between steps: `NAME.safetensors`, `NAME-optimiser.safetensors`, and the mean, if there is
    /// one, `NAME-average.safetensors`. Where NAME is `model`, the others are without it. Parameters are called by the fields
    /// that lead to them.
    ///
    /// # Errors
    /// [`ModuleError::Write`] and [`ModuleError::Compute`].
    pub fn save(&self, folder: &Path, name: &str) -> Result<(), ModuleError> {
        let files = Files::of(folder, name);
        save(&self.module, &files.module)?;
        self.optimiser.save(&files.optimiser)?;
        self.average.as_ref().map_or(Ok(()), |average| save(&average.module, &files.average))
    }

    /// Reads back what [`save`](Self::save) wrote under this name.
    ///
    /// # Errors
    /// [`ModuleError::Weights`] and [`ModuleError::Mismatch`].
    pub fn load(&mut self, folder: &Path, name: &str) -> Result<(), ModuleError> {
        let files = Files::of(folder, name);
        let read = |module: &M, path: &Path| load(module.clone(), &Weights::open(path)?, |_| false);
        self.module = read(&self.module, &files.module)?;
        self.spread();
        self.optimiser.load(&files.optimiser, &self.device())?;
        if let Some(average) = &mut self.average {
            average.module = read(&average.module, &files.average)?;
        }
        Ok(())
    }

    /// Gives the weights to the other devices.
    fn spread(&mut self) {
        for (device, module) in &mut self.copies {
            *module = copy(&self.module, device);
        }
    }

    /// The device of the module, without gradients.
    fn device(&self) -> Device {
        self.module.devices().into_iter().next().unwrap_or_default().inner()
    }
}

/// Adds the gradients of a loss of a module, times `share`; gives the loss.
fn collect<M: Module>(into: &mut Gradients, module: &M, loss: Tensor<1>, share: f64) -> Result<f64, ModuleError> {
    let value = scalar(loss.clone())?;
    into.add(module, &mut loss.backward(), share);
    Ok(value)
}

/// The same weights on a device, to take gradients of there.
fn copy<M: Module>(module: &M, device: &Device) -> M {
    module.clone().fork(&device.clone().autodiff())
}

/// The files of a learner in a folder.
struct Files {
    module: PathBuf,
    optimiser: PathBuf,
    average: PathBuf,
}

impl Files {
    fn of(folder: &Path, name: &str) -> Self {
        let file = |name: String| folder.join(name + ".safetensors");
        let more = |what: &str| file(if name == "model" { what.into() } else { format!("{name}-{what}") });
        Self { module: file(name.into()), optimiser: more("optimiser"), average: more("average") }
    }
}
