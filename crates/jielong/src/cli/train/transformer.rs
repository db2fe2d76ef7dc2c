//! Training of a transformer on tasks of any kinds of tokens.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, anyhow, bail};
use jielong::mixed::{Material, Media, Mixed, MixedConfig, PreferenceConfig, TrainingConfig};
use jielong::pipeline::Settings as Loading;
use jielong::sources::{LocalModel, ModelKind};
use jielong_core::{Token, Vocab};
use jielong_kernels::Dtype;
use jielong_llama::train::{LlamaTask, ModelConfig, PreferenceTask, Settings, Trained};
use jielong_llama::{Compute, Llama, LoadOptions};
use jielong_nn::device::{Device, DeviceChoice, FloatDType};
use jielong_nn::factors::set_training_factors;
use jielong_nn::train::{Item, Numbers, Step, Task, TaskError};
use jielong_text::{Tokenizer, tokenizer_config};
use serde_json::{Map, Value, json};

use super::super::{Global, files, interrupt, progress};
use super::samples::Samples;
use super::{Args, Run, Training, essential};

/// The folder of the model as it is so far, while it answers.
const SO_FAR: &str = ".partial-model";

/// The transformer in training, and what is saved with it.
struct MixedTask<T> {
    task: T,
    rest: Rest,
    scores: Option<Numbers>,
}

/// All but the weights.
struct Rest {
    config: MixedConfig,
    tokenizer: Tokenizer,
    specials: Map<String, Value>,
    context: usize,
    device: DeviceChoice,
    samples: Samples,
}

pub fn train(args: &Args, global: &Global) -> Result<()> {
    let mut config = TrainingConfig::open(&args.recipe)?;
    let mixed = config.mixed()?;
    mixed.check().with_context(|| args.recipe.display().to_string())?;
    let essential = essential(&config)?;
    let all = (&mut config.plan, &*config.out, &*config.device);
    let (devices, run) = Run::new(args, global, all, (&essential, &mixed.vocab))?;
    let ([device, beside @ ..], [choice, ..]) = (&*devices, &*run.choices) else { bail!("`device`: none is named") };
    let choice = *choice;
    let run = Run { shape: toml::to_string(&mixed)?, ..run };
    let media = Media::open(&mixed, device).with_context(|| args.recipe.display().to_string())?;
    let vocab = &media.vocab;
    let mut bar = None;
    let material = Material::gather(&mixed, &media, &global.sources, &mut |data, done, count| {
        let bar = bar.get_or_insert_with(|| progress::counted(global, count, "coded"));
        if let Some(bar) = bar {
            bar.set_length(count as u64);
            bar.set_position(done as u64);
            bar.set_message(data.to_owned());
        }
        !interrupt::flag().load(Ordering::Relaxed)
    })?;
    if let Some(bar) = bar.flatten() {
        bar.finish_and_clear();
    }
    let tokenizer = tokenizer(&config.model, vocab, &material)?;
    let corpus = material.corpus(&tokenizer, config.length, config.scored)?;
    let data = corpus.summary();
    let model = model(&config, &media, device)?;
    set_training_factors(config.factors.into());
    let context = model.config().context;
    let settings = Settings {
        length: config.length,
        batch: config.plan.batch,
        optimiser: config.optimiser.clone(),
        average: config.average,
        beside: beside.to_vec(),
    };
    let names: Vec<String> = vocab.added().take(2).collect();
    let specials =
        ["bos_token", "eos_token"].iter().zip(names).map(|(key, name)| ((*key).into(), name.into())).collect();
    let samples = Samples::of(&mixed.tasks, &corpus);
    let run = Run { data, ..run };
    let rest = Rest { config: mixed.clone(), tokenizer, specials, context, device: choice, samples };
    match config.preference {
        None => run.train(MixedTask { task: LlamaTask::new(model, corpus, settings)?, rest, scores: None }),
        Some(PreferenceConfig { beta }) => {
            let task =
                PreferenceTask::new(model, corpus.pairs(), beta, &settings).map_err(|error| anyhow!("{error}"))?;
            run.train(MixedTask { task, rest, scores: None })
        }
    }
}

/// The tokenizer of the model that is gone on with, or a new one, and in both the tokens of the other kinds.
fn tokenizer(model: &ModelConfig, vocab: &Vocab, material: &Material) -> Result<Tokenizer> {
    let added: Vec<String> = vocab.added().collect();
    let first = &vocab.kinds()[0];
    let text = if first.text { first.books[0].len() } else { 0 };
    match model {
        ModelConfig::New(_) => {
            Ok(Tokenizer::learn(&material.texts()?, text, &added).context("the vocabulary of text")?)
        }
        ModelConfig::Base(folder) => {
            let path = folder.join("tokenizer.json");
            let tokenizer = Tokenizer::from_file(&path)?;
            if tokenizer.vocab_size() == vocab.size() {
                return Ok(tokenizer); // they are there already
            }
            tokenizer.with_special(text, &added).with_context(|| path.display().to_string())
        }
    }
}

fn model(config: &TrainingConfig, media: &Media, device: &Device) -> Result<Llama> {
    let vocab = &media.vocab;
    let compute = Compute::Burn { device: device.clone().autodiff(), dtype: FloatDType::F32 };
    let options = LoadOptions { compute, context: None };
    let (begin, Token(end), seed) = (vocab.begin().0, vocab.end(), config.plan.seed);
    match &config.model {
        ModelConfig::New(new) => {
            let shape = new.config(vocab.size(), Some(begin), &[end]).context("model")?;
            Ok(Llama::new(&shape, seed, &media.token_vectors()?, &options)?)
        }
        ModelConfig::Base(folder) => Ok(Llama::enlarged(folder, vocab.size(), seed, &options)?),
    }
}

impl Rest {
    fn write(&self, folder: &Path) -> Result<()> {
        files::write(&folder.join("tokenizer.json"), self.tokenizer.to_json()?.as_bytes())?;
        let config = Value::Object(tokenizer_config(&self.specials, None, self.context));
        files::write(&folder.join("tokenizer_config.json"), format!("{config:#}\n").as_bytes())
    }

    /// What was written, opened as anyone opens it.
    fn open(&self, folder: &Path) -> Result<Mixed> {
        files::write(&folder.join(MixedConfig::FILE), toml::to_string(&self.config)?.as_bytes())?;
        let (name, origin) = (folder.display().to_string(), "folder".to_owned());
        let model = LocalModel { name, path: folder.to_path_buf(), kind: ModelKind::Folder, origin, license: None };
        Mixed::open(&model, &Loading { device: self.device, ..Loading::default() })
    }
}

impl<T: Trained> Task for MixedTask<T> {
    fn items(&self) -> usize {
        self.task.items()
    }

    fn learn(&mut self, batch: &[Item], step: &Step) -> Result<Numbers, TaskError> {
        self.task.learn(batch, step)
    }

    fn update(&mut self, step: &Step) -> Result<(), TaskError> {
        self.task.update(step)
    }

    fn evaluate(&mut self, step: &Step, out: &Path) -> Result<Numbers, TaskError> {
        let scores = self.task.evaluate(step, out)?;
        self.scores = Some(scores.clone());
        let folder = out.join(SO_FAR);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        self.write(&folder)?; // over what a killed run left
        let written = self.rest.open(&folder).and_then(|mixed| self.rest.samples.write(&mixed, step.number, out));
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        written?;
        Ok(scores)
    }

    fn save(&self, folder: &Path) -> Result<(), TaskError> {
        self.task.save(folder)
    }

    fn load(&mut self, folder: &Path) -> Result<(), TaskError> {
        self.task.load(folder)
    }
}

impl<T: Trained> Training for MixedTask<T> {
    const RESULT: &'static str = "model";
    const CONFIG: &'static str = MixedConfig::FILE;

    fn parameters(&self) -> usize {
        self.task.parameters()
    }

    fn write(&self, folder: &Path) -> Result<()> {
        self.task.result().save(folder, Dtype::BF16)?;
        self.rest.write(folder)
    }

    fn scores(&self) -> Option<Value> {
        let scores = self.scores.as_ref()?;
        Some(scores.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>().into())
    }
}
