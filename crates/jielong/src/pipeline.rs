//! A model ready to use: weights on a device, tokenizer, template, and the loop turned into text.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jielong_core::{
    Event, Guess, Model, Request, Sampler, SamplerConfig, Speculation, Step, StopReason, Token, generate,
};
use jielong_kernels::{CacheType, Cpu, Dtype, Layout};
use jielong_llama::{Compute, KvCache, Llama, LoadOptions};
use jielong_nn::device::{Device, DeviceChoice, FloatDType};
use jielong_nn::load::Packing;

use jielong_text::{Message, StopStrings, Template, Tokenizer};

use crate::assets::{Assets, Files};
use crate::session::Session;
use crate::shapes::published;
use crate::sources::{self, LocalModel, NoProgress, SourceOptions};

/// How to load a model.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where to.
    pub device: DeviceChoice,
    /// Another type for the weights than that they are stored in; on a card bf16 if `None`.
    pub dtype: Option<Dtype>,
    /// Where weights in blocks are kept on the CPU.
    pub layout: Layout,
    /// Type of the cache on the CPU.
    pub cache: CacheType,
    /// Threads on the CPU; 0: one for each physical core.
    pub threads: usize,
    /// Threads that another model has already: two models that take turns share them.
    pub cpu: Option<Arc<Cpu>>,
    /// Positions of the context; those of the model if `None`.
    pub context: Option<usize>,
}

/// A loaded model with all that belongs to it.
pub struct Pipeline {
    /// The name it was asked for by.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// The transformer.
    pub model: Llama,
    /// Everything but the weights.
    pub assets: Assets,
    /// The template of a chat: the official one unless replaced.
    pub template: Option<Template>,
    /// What was picked.
    pub device: DeviceChoice,
}

/// What to continue, as text sees it.
pub struct TextRequest<'a> {
    /// The whole context, of which `state` holds the beginning.
    pub prompt: &'a [Token],
    /// At most so many tokens.
    pub max_new_tokens: usize,
    /// Any of these ends the answer and is not part of it.
    pub stop: &'a [String],
    /// Alternatives reported with each step.
    pub top: usize,
    /// End tokens do not end the answer.
    pub ignore_end: bool,
    /// Ends the answer when set.
    pub cancel: Option<&'a AtomicBool>,
}

/// Speculative decoding: who guesses, and how many tokens at a time.
pub struct Guesses<'a> {
    /// Who guesses.
    pub guess: Box<dyn Guess + 'a>,
    /// Tokens at a time.
    pub count: usize,
}

/// News of a generation under way.
pub enum News<'a> {
    /// So much of the prompt was read.
    Prefill {
        /// Tokens read.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// A token was chosen.
    Step(&'a Step),
    /// Text that is certain now; never part of a character, never part of a stop string.
    Text(&'a str),
}

/// What came of a generation.
pub struct Outcome {
    /// New tokens, the end token included.
    pub ids: Vec<Token>,
    /// Their text, without special tokens and without the stop string.
    pub text: String,
    /// Why it ended.
    pub stop: StopReason,
    /// Each token with its probability and the alternatives.
    pub steps: Vec<Step>,
    /// Tokens of the prompt that the state held already.
    pub reused: usize,
    /// Tokens of the prompt that were read.
    pub read: usize,
    /// How often guesses were right, where somebody guessed.
    pub speculation: Option<Speculation>,
    /// Time for reading the prompt, up to the first token.
    pub prefill: Duration,
    /// Time for all further tokens.
    pub decode: Duration,
}

impl Outcome {
    /// Prompt tokens a second.
    pub fn prefill_rate(&self) -> f64 {
        self.read as f64 / self.prefill.as_secs_f64().max(1e-9)
    }

    /// New tokens a second, the first left out as it belongs to the prompt; 0 with fewer than two.
    pub fn decode_rate(&self) -> f64 {
        self.ids.len().saturating_sub(1) as f64 / self.decode.as_secs_f64().max(1e-9)
    }
}

impl Settings {
    /// How the transformer is loaded on a device that was picked.
    pub(crate) fn options(&self, device: Device, picked: DeviceChoice) -> Result<LoadOptions> {
        let compute = match picked {
            DeviceChoice::Cuda(_) => Compute::Burn { device, dtype: float(self.dtype)? },
            _ => {
                let cpu = self.cpu.clone().unwrap_or_else(|| Arc::new(Cpu::new(self.threads)));
                let packing = Packing { dtype: self.dtype, layout: self.layout };
                Compute::Kernels { cpu, packing, cache: self.cache }
            }
        };
        Ok(LoadOptions { compute, context: self.context })
    }

    /// A model of one of the published shapes in `configs/shapes.toml`, with random weights made in memory; bf16 unless
    /// another type is set.
    ///
    /// # Errors
    /// A shape that is not there, with those that are; a device that cannot be had.
    pub fn random(&self, shape: &str) -> Result<Llama> {
        let config = published(shape)?;
        let (device, picked) = self.device.open()?;
        Ok(Llama::random(&config, &self.options(device, picked)?)?)
    }
}

/// The type of weights on a card.
fn float(dtype: Option<Dtype>) -> Result<FloatDType> {
    Ok(match dtype {
        None | Some(Dtype::BF16) => FloatDType::BF16,
        Some(Dtype::F32) => FloatDType::F32,
        Some(Dtype::F16) => FloatDType::F16,
        Some(other) => bail!("{other} weights are computed on the CPU only; use f32, f16 or bf16, or --device cpu"),
    })
}

impl Pipeline {
    /// Loads a model by name: an alias, a Hugging Face id, a folder or a GGUF file. What is not here yet is fetched.
    ///
    /// # Errors
    /// Where the model was looked for and what to do; what is wrong with its files.
    pub fn load(name: &str) -> Result<Self> {
        let model = sources::pull(name, &SourceOptions::from_env()?, &NoProgress)?;
        Self::open(&model, &Settings::default())
    }

    /// Loads a model that is on this machine.
    ///
    /// # Errors
    /// What is wrong with its files, by file and field; a device that cannot be had.
    pub fn open(local: &LocalModel, settings: &Settings) -> Result<Self> {
        let files = Files::open(local)?;
        let (device, picked) = settings.device.open()?;
        let options = settings.options(device, picked)?;
        // A large vocabulary takes as long to read as the weights do.
        let (assets, model) = std::thread::scope(|scope| {
            let assets = scope.spawn(|| files.assets().with_context(|| format!("cannot use {}", local.name)));
            let model = match &files {
                Files::Folder(folder) => Llama::from_folder(folder, &options),
                Files::Gguf(gguf) => Llama::from_gguf(gguf, &options),
            };
            (assets.join(), model)
        });
        let assets = assets.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let model = model?;
        if let Some(tokenizer) = &assets.tokenizer
            && tokenizer.vocab_size() > model.vocab_size()
        {
            bail!(
                "{}: the tokenizer has {} tokens, the model {}; they do not belong together",
                local.path.display(),
                tokenizer.vocab_size(),
                model.vocab_size()
            );
        }
        let template = files.template()?.map(Template::Chat);
        Ok(Self { name: local.name.clone(), path: local.path.clone(), model, assets, template, device: picked })
    }

    /// The threads of the CPU, where its kernels compute.
    pub fn cpu(&self) -> Option<Arc<Cpu>> {
        match self.model.compute() {
            Compute::Kernels { cpu, .. } => Some(Arc::clone(cpu)),
            Compute::Burn { .. } => None,
        }
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// If the model has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.assets
            .tokenizer
            .as_ref()
            .with_context(|| format!("{} has no tokenizer.json; give token ids with --ids", self.path.display()))
    }

    /// One answer to a conversation, greedily, up to 512 tokens.
    ///
    /// # Errors
    /// A model without tokenizer or template; a conversation that does not fit the context.
    pub fn chat(&self, messages: &[Message]) -> Result<String> {
        let mut session = Session::new(self, SamplerConfig { temperature: 0.0, ..SamplerConfig::default() })?;
        session.messages = messages.to_vec();
        session.max_new_tokens = 512;
        Ok(session.answer(None, &mut |_| {})?.outcome.text)
    }

    /// The loop with text at its end: continues `request.prompt` and reports what happens as it happens.
    ///
    /// # Errors
    /// As [`generate`]; what was read stays in the state.
    pub fn continue_text(
        &self,
        state: &mut KvCache,
        sampler: &mut Sampler,
        request: &TextRequest,
        guesses: Option<&mut Guesses>,
        news: &mut dyn FnMut(News),
    ) -> Result<Outcome> {
        let reused = jielong_core::State::len(state).min(request.prompt.len().saturating_sub(1));
        let end_tokens = if request.ignore_end { &[][..] } else { &self.assets.end_tokens };
        let inner = Request {
            max_new_tokens: request.max_new_tokens,
            end_tokens,
            top: request.top,
            cancel: request.cancel,
            ..Request::new(request.prompt)
        };
        let mut stream = self.assets.tokenizer.as_ref().map(Tokenizer::stream);
        let mut stops = StopStrings::new(request.stop.to_vec())?;
        let (mut ids, mut steps, mut text, mut stop) = (Vec::new(), Vec::new(), String::new(), StopReason::Length);
        let start = Instant::now();
        let mut first = None;
        let mut say = |piece: &str, news: &mut dyn FnMut(News)| {
            if !piece.is_empty() {
                text.push_str(piece);
                news(News::Text(piece));
            }
        };
        let mut generation = generate(&self.model, state, sampler, inner);
        let guessed = guesses.is_some();
        if let Some(Guesses { guess, count }) = guesses {
            generation = generation.with_guess(guess.as_mut(), *count);
        }
        for event in generation.by_ref() {
            match event? {
                Event::Prefill { done, total } => news(News::Prefill { done, total }),
                Event::Token(step) => {
                    first.get_or_insert_with(|| start.elapsed());
                    ids.push(step.token);
                    news(News::Step(&step));
                    let piece = match &mut stream {
                        Some(stream) => stream.push(step.token)?,
                        None => String::new(),
                    };
                    steps.push(step);
                    let piece = stops.push(&piece);
                    say(&piece.text, news);
                    if piece.stopped.is_some() {
                        stop = StopReason::StopString;
                        break;
                    }
                }
                Event::End(reason) => stop = reason,
            }
        }
        let total = start.elapsed();
        let speculation = guessed.then(|| generation.speculation());
        drop(generation);
        if stop != StopReason::StopString {
            let piece = stops.push(&stream.as_mut().map(|s| s.finish()).unwrap_or_default());
            say(&piece.text, news);
            say(&stops.finish(), news);
        }
        let prefill = first.unwrap_or(total);
        let read = request.prompt.len() - reused;
        Ok(Outcome { ids, text, stop, steps, reused, read, speculation, prefill, decode: total - prefill })
    }
}
