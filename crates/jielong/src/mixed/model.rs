//! A mixed model ready to use: what is asked of it becomes a prompt, and what it continues an answer.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use jielong_audio::codec::FrameCodec;
use jielong_audio::sound::Sound;
use jielong_core::{
    Codec, Event, Guided, Machine, Model, Request, Sampler, SamplerConfig, Segment, StopReason, Token, Vocab, generate,
};
use jielong_image::picture::Picture;
use jielong_nn::device::DeviceChoice;

use super::corpus::media;
use super::{Codecs, File, MediaCodec, MixedConfig, Part, Prompt, Sequences, TaskConfig};
use crate::codecs;
use crate::pipeline::{Pipeline, Settings};
use crate::sources::{LocalModel, ModelKind};

/// A transformer, its vocabulary, its tasks and its codecs.
pub struct Mixed {
    /// The transformer and its tokenizer.
    pub pipeline: Pipeline,
    /// Its vocabulary and tasks.
    pub config: MixedConfig,
    /// The ids.
    pub vocab: Vocab,
    codecs: Codecs,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// What is given.
    pub prompt: &'a Prompt,
    /// The kind of the answer.
    pub kind: usize,
    /// Its grid, if it is known: rows and columns of a picture.
    pub grid: Vec<usize>,
    /// Codes that it begins with: what is gone on with.
    pub begun: Vec<u32>,
    /// How closely the texts of the prompt are followed: 1 is the model itself, and half the work.
    pub guidance: f32,
    /// At most so many tokens more; the answer is ended within them.
    pub max_new_tokens: usize,
    /// How tokens are drawn.
    pub sampling: SamplerConfig,
    /// Ends the answer when set; what is there is kept.
    pub cancel: Option<&'a AtomicBool>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The segment, whole: where it was cut off, the rest is code 0.
    pub segment: Segment,
    /// New tokens.
    pub generated: usize,
    /// Why it ended.
    pub stop: StopReason,
    /// Mean natural logarithm of the probability of the new tokens.
    pub logprob: f64,
    /// The seed that was drawn with.
    pub seed: u64,
}

impl Mixed {
    /// Opens a model by its folder, or by its name if it comes with the program.
    ///
    /// # Errors
    /// There is none; it has no `mixed.toml`, or what is in it does not fit the weights or the codecs.
    pub fn open(name: &Path, settings: &Settings) -> Result<Self> {
        let folder = codecs::folder(name, MixedConfig::FILE)?;
        let config = MixedConfig::open(&folder)?.with_context(|| folder.display().to_string())?;
        let vocab = config.check()?;
        let local = LocalModel {
            name: name.display().to_string(),
            path: folder,
            kind: ModelKind::Folder,
            origin: "folder".into(),
            license: None,
        };
        let device = settings.device.open()?.0;
        let codecs = Codecs::open(&vocab, &device)?;
        let pipeline = Pipeline::open(&local, settings)?;
        ensure!(
            pipeline.model.vocab_size() == vocab.size(),
            "{}: the vocabulary has {} tokens, the weights have {}",
            local.path.join(MixedConfig::FILE).display(),
            vocab.size(),
            pipeline.model.vocab_size()
        );
        Ok(Self { pipeline, config, vocab, codecs })
    }

    /// What computes.
    pub fn device(&self) -> DeviceChoice {
        self.pipeline.device
    }

    /// Texts and segments as tokens.
    ///
    /// # Errors
    /// The folder has no tokenizer.
    pub fn sequences(&self) -> Result<Sequences<'_>> {
        Ok(Sequences { vocab: &self.vocab, tokenizer: self.pipeline.tokenizer()? })
    }

    /// The first kind with a codec of pictures, or of sounds.
    ///
    /// # Errors
    /// There is none.
    pub fn kind_of(&self, media: File) -> Result<usize> {
        let found = (0..self.vocab.kinds().len()).find(|&kind| self.codecs.file(kind) == media);
        found.with_context(|| format!("this model knows no {}", media.name()))
    }

    /// The kind of the pictures or sounds of a task, if it has any.
    ///
    /// # Errors
    /// It has two.
    pub fn media_of(&self, task: &TaskConfig) -> Result<Option<usize>> {
        media(task, &self.vocab)
    }

    /// A file as a segment; a picture keeps its size.
    ///
    /// # Errors
    /// The kind has no codec; the file cannot be read or coded.
    pub fn of_file(&self, kind: usize, path: &Path) -> Result<Segment> {
        let codec = self.codecs.of(&self.vocab, kind)?;
        Ok(self.vocab.segment(kind, &codec.encode_file(path)?, codec.books())?)
    }

    /// A picture as a segment.
    ///
    /// # Errors
    /// The kind has no codec of pictures; the codec does not take it.
    pub fn of_picture(&self, kind: usize, picture: &Picture) -> Result<Segment> {
        let codec = self.codecs.of(&self.vocab, kind)?;
        let MediaCodec::Picture(pictures) = codec else { bail!("this kind is no picture") };
        Ok(self.vocab.segment(kind, &pictures.encode(picture)?, codec.books())?)
    }

    /// A recording as a segment.
    ///
    /// # Errors
    /// The kind has no codec of sounds; the codec does not take it.
    pub fn of_sound(&self, kind: usize, sound: &Sound) -> Result<Segment> {
        let codec = self.sound_codec(kind)?;
        Ok(self.vocab.segment(kind, &codec.encode(sound)?, codec.books())?)
    }

    /// Rows and columns of codes of a square picture with sides of so many pixels.
    ///
    /// # Errors
    /// The kind has no codec of pictures.
    pub fn picture_grid(&self, kind: usize, side: usize) -> Result<Vec<usize>> {
        let MediaCodec::Picture(codec) = self.codecs.of(&self.vocab, kind)? else { bail!("this kind is no picture") };
        Ok(vec![side.div_ceil(codec.patch()); 2])
    }

    /// Samples a second of the sounds.
    ///
    /// # Errors
    /// It knows none.
    pub fn sound_rate(&self) -> Result<u32> {
        Ok(self.sound_codec(self.kind_of(File::Sound)?)?.config().sample_rate)
    }

    /// Tokens of a second of sound.
    ///
    /// # Errors
    /// The kind has no codec of sounds.
    pub fn codes_per_second(&self, kind: usize) -> Result<f64> {
        let config = self.sound_codec(kind)?.config();
        let frames = f64::from(config.sample_rate) / config.hop as f64;
        Ok(frames * self.vocab.kinds()[kind].frame() as f64)
    }

    fn sound_codec(&self, kind: usize) -> Result<&FrameCodec> {
        let MediaCodec::Sound(codec) = self.codecs.of(&self.vocab, kind)? else { bail!("this kind is no sound") };
        Ok(codec)
    }

    /// The codecs.
    pub fn codecs(&self) -> &Codecs {
        &self.codecs
    }

    /// The picture of a segment.
    ///
    /// # Errors
    /// As [`Codecs::picture`].
    pub fn picture(&self, segment: &Segment) -> Result<Picture> {
        self.codecs.picture(&self.vocab, segment)
    }

    /// The sound of a segment.
    ///
    /// # Errors
    /// As [`Codecs::sound`].
    pub fn sound(&self, segment: &Segment) -> Result<Sound> {
        self.codecs.sound(&self.vocab, segment)
    }

    /// The prompt of a task, its texts filled by fields and its media by what is given, and the kind of its answer.
    ///
    /// # Errors
    /// A field or media that is missing.
    pub fn prompt<'f>(
        &self,
        task: &TaskConfig,
        field: impl Fn(&str) -> Option<&'f str>,
        media: Option<&Segment>,
    ) -> Result<(Prompt, usize)> {
        let sequences = self.sequences()?;
        let segment = |part: &Part| {
            let kind = self.vocab.kind(&part.kind)?;
            match media {
                Some(media) if media.kind == kind => Ok(media.clone()),
                _ if self.codecs.file(kind) != File::Record => bail!("{}: {} is needed", task.name, part.kind),
                _ => sequences.text(kind, &part.fill(&field)?),
            }
        };
        let segments: Vec<Segment> = task.prompt.iter().map(segment).collect::<Result<_>>()?;
        Ok((sequences.prompt(&segments)?, self.vocab.kind(&task.answer.kind)?))
    }

    /// −ln p of each token of a sequence after the first `given`, among those that may come next, and how many those are.
    ///
    /// # Errors
    /// A sequence that is not of this vocabulary, or longer than the context.
    pub fn losses(&self, tokens: &[Token], given: usize) -> Result<Vec<(f64, usize)>> {
        let model = &self.pipeline.model;
        let given = given.max(1);
        let mut machine = Machine::after(&self.vocab, &tokens[..given.min(tokens.len())])?;
        let mut state = model.new_state()?;
        let mut losses = Vec::new();
        for at in given..tokens.len() {
            let allowed = machine.allowed(usize::MAX);
            let read = if at == given { &tokens[..at] } else { &tokens[at - 1..at] };
            let logits = model.next_of(read, &mut state, &allowed)?;
            let most = logits.0.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.0.iter().map(|&logit| f64::from(logit - most).exp()).sum();
            let own = logits.0.get(tokens[at].0 as usize).copied().unwrap_or(f32::NEG_INFINITY);
            losses.push((sum.ln() - f64::from(own - most), allowed.count()));
            machine.push(tokens[at])?;
        }
        Ok(losses)
    }

    /// Continues a prompt by one segment. `tell` is told of each new token.
    ///
    /// # Errors
    /// A prompt that does not fit the context; codes that the kind does not have.
    pub fn answer(&self, ask: &Ask, tell: &mut dyn FnMut(usize)) -> Result<Answer> {
        let vocab = &self.vocab;
        let kind = &vocab.kinds()[ask.kind];
        let mut opening = vocab.opening(ask.kind, &ask.grid)?;
        for (at, &code) in ask.begun.iter().enumerate() {
            let book = &kind.books[at % kind.frame()];
            ensure!(code < book.len() as u32, "code {code} at place {} of `{}`", at / kind.frame(), kind.name);
            opening.push(Token(book.start + code));
        }
        let with = |tokens: &[Token]| -> Vec<Token> { tokens.iter().chain(&opening).copied().collect() };
        let (prompt, other) = (with(&ask.prompt.tokens), with(&ask.prompt.without_texts()));
        let machine = Machine::after(vocab, &prompt)?;
        let mut sampler = Sampler::new(ask.sampling.clone(), vocab.size())?;
        let ends: Vec<Token> = kind.marks.iter().map(|marks| marks.1).chain([vocab.end()]).collect();
        let request = Request {
            max_new_tokens: ask.max_new_tokens,
            end_tokens: &ends,
            cancel: ask.cancel,
            ..Request::new(&prompt)
        };
        let model = &self.pipeline.model;
        let ended = if ask.guidance == 1.0 || other.len() == prompt.len() {
            run(model, &mut sampler, request, machine, tell)?
        } else {
            run(&Guided::new(model, ask.guidance, prompt.len(), other), &mut sampler, request, machine, tell)?
        };
        let (new, stop, logprob) = ended;
        // The segment begins with its mark, or, free of marks, with its first token.
        let tokens: Vec<Token> = opening.iter().chain(&new).copied().collect();
        let segment = vocab.split(&tokens).into_iter().next();
        let segment = segment.unwrap_or_else(|| Segment::open(ask.kind, kind.frame(), Vec::new()));
        let segment = segment.filled(&vec![0; kind.frame()]);
        let logprob = logprob / new.len().max(1) as f64;
        Ok(Answer { segment, generated: new.len(), stop, logprob, seed: sampler.seed() })
    }
}

/// The loop: new tokens, why it ended, the sum of their logarithms.
fn run<M: Model>(
    model: &M,
    sampler: &mut Sampler,
    request: Request,
    machine: Machine,
    tell: &mut dyn FnMut(usize),
) -> Result<(Vec<Token>, StopReason, f64)> {
    let mut state = model.new_state()?;
    let (mut tokens, mut logprob, mut stop) = (Vec::new(), 0.0, StopReason::Length);
    for event in generate(model, &mut state, sampler, request).with_machine(machine) {
        match event? {
            Event::Token(step) => {
                tokens.push(step.token);
                logprob += f64::from(step.logprob);
                tell(tokens.len());
            }
            Event::End(reason) => stop = reason,
            Event::Prefill { .. } => {}
        }
    }
    Ok((tokens, stop, logprob))
}
