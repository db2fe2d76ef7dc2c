//! A mixed model ready to use: what is asked of it becomes a prompt, and what it continues an answer.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use jielong_core::{
    Event, Guided, Machine, Model, Request, Sampler, SamplerConfig, Segment, StopReason, Token, generate,
};
use jielong_image::picture::Picture;

use super::{File, Media, MixedConfig, Part, Prompt, Sequences, Take, TaskConfig};
use crate::pipeline::{Pipeline, Settings};
use crate::sources::LocalModel;

/// A transformer, its tasks, its vocabulary with the codecs.
pub struct Mixed {
    /// The transformer and its tokenizer.
    pub pipeline: Pipeline,
    /// What it can be asked.
    pub config: MixedConfig,
    /// The ids, and what they stand for.
    pub media: Media,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// What is given.
    pub prompt: Prompt,
    /// The kind of the answer.
    pub kind: usize,
    /// Its grid, if it is known: rows and columns of a picture.
    pub grid: Vec<usize>,
    /// Codes that it begins with: what is gone on with.
    pub begun: Vec<u32>,
    /// How closely the texts of the prompt are followed: 1 is the model itself, and half the work.
    pub guidance: f32,
    /// So many pictures are drawn, and one is made of them; of other kinds there is one answer.
    pub consensus: usize,
    /// Which one.
    pub take: Take,
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
    /// The segment, whole: where it was cut off, the rest is [`Media::blank`].
    pub segment: Segment,
    /// New tokens.
    pub generated: usize,
    /// Why it ended.
    pub stop: StopReason,
    /// Mean natural logarithm of the probability of the new tokens, those of the first candidate for the mean of several.
    pub logprob: f64,
    /// The seed that was drawn with, likewise.
    pub seed: u64,
}

impl Mixed {
    /// Opens a model.
    ///
    /// # Errors
    /// It has no `mixed.toml`, or what is in it does not fit the weights or the codecs.
    pub fn open(model: &LocalModel, settings: &Settings) -> Result<Self> {
        let path = model.path.join(MixedConfig::FILE);
        let config = MixedConfig::open(&model.path)?
            .with_context(|| format!("{} knows one kind of tokens: there is no {}", model.name, path.display()))?;
        let media = Media::open(&config, &settings.device.open()?.0).with_context(|| path.display().to_string())?;
        let pipeline = Pipeline::open(model, settings)?;
        let (known, stored) = (media.vocab.size(), pipeline.model.vocab_size());
        ensure!(known == stored, "{}: the vocabulary has {known} tokens, the weights have {stored}", path.display());
        Ok(Self { pipeline, config, media })
    }

    /// Texts and segments as tokens.
    ///
    /// # Errors
    /// The folder has no tokenizer.
    pub fn sequences(&self) -> Result<Sequences<'_>> {
        Ok(Sequences { vocab: &self.media.vocab, tokenizer: self.pipeline.tokenizer()? })
    }

    /// What follows a prompt, as the model itself has it: a picture of the usual size, or as much of another kind as the context
    /// holds.
    pub fn ask(&self, prompt: Prompt, kind: usize) -> Ask<'static> {
        let grid = self.media.grid(kind);
        let max_new_tokens = match grid.iter().product::<usize>() * self.media.vocab.kinds()[kind].frame() {
            codes if !grid.is_empty() => codes + 1,
            _ => self.pipeline.model.context().saturating_sub(prompt.tokens.len()),
        };
        let (sampling, begun) = (SamplerConfig::default(), Vec::new());
        let (consensus, take) = (1, Take::default());
        Ask { prompt, kind, grid, begun, guidance: 1.0, consensus, take, max_new_tokens, sampling, cancel: None }
    }

    /// What follows a prompt, drawn as a task says.
    ///
    /// # Errors
    /// The task's answer is of a kind that is not there.
    pub fn ask_as(&self, task: &TaskConfig, prompt: Prompt) -> Result<Ask<'static>> {
        let ask = self.ask(prompt, self.media.vocab.kind(&task.answer.kind)?);
        let (guidance, consensus) = (task.sampling.guidance.unwrap_or(1.0), task.sampling.consensus.unwrap_or(1));
        Ok(Ask { guidance, consensus, take: task.sampling.take, sampling: task.sampling.sampler(), ..ask })
    }

    /// A task as a question: its texts filled by fields and its media by what is given.
    ///
    /// # Errors
    /// A field or media that is missing.
    pub fn ask_task<'f>(
        &self,
        task: &TaskConfig,
        field: impl Fn(&str) -> Option<&'f str>,
        given: Option<&Segment>,
    ) -> Result<Ask<'static>> {
        let sequences = self.sequences()?;
        let segment = |part: &Part| {
            let kind = self.media.vocab.kind(&part.kind)?;
            match given {
                Some(given) if given.kind == kind => Ok(given.clone()),
                _ if self.media.file(kind) != File::Record => bail!("{}: {} is needed", task.name, part.kind),
                _ => sequences.text(kind, &part.fill(&field)?),
            }
        };
        let segments: Vec<Segment> = task.prompt.iter().map(segment).collect::<Result<_>>()?;
        self.ask_as(task, sequences.prompt(&segments)?)
    }

    /// −ln p of each token of a sequence after the first `given`, among those that may come next, and how many those are.
    ///
    /// # Errors
    /// A sequence that is not of this vocabulary, or longer than the context.
    pub fn losses(&self, tokens: &[Token], given: usize) -> Result<Vec<(f64, usize)>> {
        let model = &self.pipeline.model;
        let given = given.max(1);
        let mut machine = Machine::after(&self.media.vocab, &tokens[..given.min(tokens.len())])?;
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
    /// With [`Ask::consensus`] it is the picture with the least mean square distance to the candidates: that with the least expected
    /// square error (minimum Bayes risk; Kumar & Byrne 2004, *Minimum Bayes-risk decoding for statistical machine translation*),
    /// among them, or among all ([`Take`]). Seeds follow each other; where it is cancelled, those that are whole are compared.
    ///
    /// # Errors
    /// A prompt that does not fit the context; codes that the kind does not have.
    pub fn answer(&self, ask: &Ask, tell: &mut dyn FnMut(usize)) -> Result<Answer> {
        // Without chance all would be the same.
        let several = self.media.file(ask.kind) == File::Picture && ask.sampling.temperature > 0.0;
        let count = if several { ask.consensus } else { 1 };
        let first = self.candidate(ask, tell)?;
        let (mut done, mut stop) = (first.generated, first.stop);
        let mut candidates = vec![first];
        while candidates.len() < count && stop != StopReason::Cancelled {
            let seed = candidates[0].seed.wrapping_add(candidates.len() as u64);
            let other = Ask { sampling: SamplerConfig { seed: Some(seed), ..ask.sampling.clone() }, ..ask.clone() };
            let other = self.candidate(&other, &mut |new| tell(done + new))?;
            (done, stop) = (done + other.generated, other.stop);
            if stop != StopReason::Cancelled {
                candidates.push(other);
            }
        }
        if candidates.len() == 1 {
            return Ok(candidates.swap_remove(0));
        }
        let drawn = candidates.iter().map(|candidate| self.media.picture(&candidate.segment));
        let drawn = drawn.collect::<Result<Vec<_>>>()?;
        match ask.take {
            Take::Central => Ok(Answer { stop, ..candidates.swap_remove(central(&drawn)) }),
            Take::Mean => {
                let mut segment = self.media.of_picture(ask.kind, &mean(&drawn))?;
                // What was given stays.
                segment.values[..ask.begun.len()].copy_from_slice(&ask.begun);
                Ok(Answer { segment, stop, ..candidates.swap_remove(0) })
            }
        }
    }

    fn candidate(&self, ask: &Ask, tell: &mut dyn FnMut(usize)) -> Result<Answer> {
        let vocab = &self.media.vocab;
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
        let whole = segment.grid.iter().product::<usize>() * kind.frame();
        let segment = if segment.values.len() < whole { segment.filled(&self.media.blank(ask.kind)?) } else { segment };
        let logprob = logprob / new.len().max(1) as f64;
        Ok(Answer { segment, generated: new.len(), stop, logprob, seed: sampler.seed() })
    }
}

/// Which of some pictures of one size has the least distance to all.
fn central(pictures: &[Picture]) -> usize {
    let distance = |a: &Picture, b: &Picture| -> u64 {
        a.rgb.iter().zip(&b.rgb).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
    };
    let all = |one: &Picture| pictures.iter().map(|other| distance(one, other)).sum::<u64>();
    pictures.iter().map(all).enumerate().min_by_key(|(_, sum)| *sum).map_or(0, |(at, _)| at)
}

/// The mean of pictures of one size.
fn mean(pictures: &[Picture]) -> Picture {
    let mut mean = pictures[0].clone();
    for (at, value) in mean.rgb.iter_mut().enumerate() {
        let sum: usize = pictures.iter().map(|picture| usize::from(picture.rgb[at])).sum();
        *value = ((sum + pictures.len() / 2) / pictures.len()) as u8;
    }
    mean
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_most_like_the_others_is_central() {
        let pictures = [0, 90, 108, 150, 200].map(|level| Picture { width: 1, height: 1, rgb: vec![level; 3] });
        assert_eq!(central(&pictures), 2);
        assert_eq!(central(&pictures[..1]), 0);
        assert_eq!(mean(&pictures).rgb, vec![110; 3]); // 548 / 5
    }
}
