//! How tokens are drawn, as options of `generate` and `chat` and as `/set` of a chat.

use anyhow::{Context, Result, bail};
use clap::Args;
use jielong::pipeline::Pipeline;
use jielong_core::{SamplerConfig, Token};
use jielong_llama::GenerationConfig;

/// Sampler options. Without any the model's own recommendation holds, or else the likeliest token is taken.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Always take the likeliest token (the same as --temperature 0)
    #[arg(long, conflicts_with = "temperature")]
    pub greedy: bool,
    /// Flatten (above 1) or sharpen (below 1) the distribution; 0 is greedy
    #[arg(short = 't', long, visible_alias = "temp", value_name = "T", allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Keep the K most likely tokens
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub top_k: Option<usize>,
    /// Keep the likeliest tokens that together have probability P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Keep tokens with at least P times the probability of the likeliest
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Keep tokens of typical information that together have probability P
    #[arg(long, visible_alias = "typical", value_name = "P")]
    pub typical_p: Option<f32>,
    /// Keep tokens up to a share H of the distribution's entropy
    #[arg(long, value_name = "H", allow_negative_numbers = true)]
    pub top_h: Option<f32>,
    /// Drop tokens below probability E
    #[arg(long, visible_alias = "epsilon", value_name = "E")]
    pub epsilon_cutoff: Option<f32>,
    /// Drop tokens below a probability that depends on the entropy
    #[arg(long, visible_alias = "eta", value_name = "E")]
    pub eta_cutoff: Option<f32>,
    /// Make tokens of prompt and answer less likely (above 1)
    #[arg(long, visible_alias = "repeat-penalty", value_name = "F")]
    pub repetition_penalty: Option<f32>,
    /// Subtract from the logit of every token already generated
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Subtract from the logit of a token for each time it was generated
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// No sequence of N tokens twice
    #[arg(long, visible_alias = "no-repeat-ngram-size", value_name = "N")]
    pub no_repeat_ngram: Option<usize>,
    /// Words that must not come (repeatable; text, or ids as #1,#2)
    #[arg(long, visible_alias = "bad-words", value_name = "TEXT")]
    pub bad_word: Vec<String>,
    /// Add BIAS to the logit of a token, as ID=BIAS (repeatable)
    #[arg(long, value_name = "ID=BIAS", allow_hyphen_values = true)]
    pub logit_bias: Vec<String>,
    /// Tokens that must not come (repeatable, ids separated by commas)
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub suppress: Vec<u32>,
    /// No end token before so many tokens
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub min_new_tokens: Option<usize>,
    /// The same seed draws the same tokens
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Names that `/set` knows, in the order they are listed.
pub const NAMES: [&str; 14] = [
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "top_h",
    "epsilon_cutoff",
    "eta_cutoff",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "no_repeat_ngram",
    "min_new_tokens",
    "seed",
];

/// What a model recommends; greedy if it recommends nothing.
pub fn recommended(model: &GenerationConfig) -> SamplerConfig {
    let greedy = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
    if !model.sample {
        return greedy;
    }
    SamplerConfig {
        temperature: model.temperature.unwrap_or(1.0) as f32,
        top_k: model.top_k.filter(|&k| k > 0),
        top_p: model.top_p.filter(|&p| p < 1.0).map(|p| p as f32),
        min_p: model.min_p.map(|p| p as f32),
        repetition_penalty: model.repetition_penalty.map(|p| p as f32),
        ..greedy
    }
}

impl SamplingArgs {
    /// The settings: the options given, over `base`. An option that only matters when drawing turns drawing on.
    pub fn config(&self, base: SamplerConfig, pipeline: &Pipeline) -> Result<SamplerConfig> {
        let draws = self.top_k.is_some()
            || self.seed.is_some()
            || [self.top_p, self.min_p, self.typical_p, self.top_h, self.epsilon_cutoff, self.eta_cutoff]
                .iter()
                .any(Option::is_some);
        let temperature = match (self.greedy, self.temperature) {
            (true, _) => 0.0,
            (_, Some(given)) => given,
            _ if draws && base.temperature == 0.0 => 1.0,
            _ => base.temperature,
        };
        Ok(SamplerConfig {
            temperature,
            top_k: self.top_k.or(base.top_k),
            top_p: self.top_p.or(base.top_p),
            min_p: self.min_p.or(base.min_p),
            typical_p: self.typical_p.or(base.typical_p),
            top_h: self.top_h.or(base.top_h),
            epsilon_cutoff: self.epsilon_cutoff.or(base.epsilon_cutoff),
            eta_cutoff: self.eta_cutoff.or(base.eta_cutoff),
            repetition_penalty: self.repetition_penalty.or(base.repetition_penalty),
            presence_penalty: self.presence_penalty.or(base.presence_penalty),
            frequency_penalty: self.frequency_penalty.or(base.frequency_penalty),
            no_repeat_ngram: self.no_repeat_ngram.or(base.no_repeat_ngram),
            bad_words: self.bad_words(pipeline)?,
            sequence_bias: self.logit_bias.iter().map(|pair| bias(pair)).collect::<Result<_>>()?,
            suppress: self.suppress.iter().map(|&id| Token(id)).collect(),
            min_new_tokens: self.min_new_tokens.unwrap_or(base.min_new_tokens),
            seed: self.seed.or(base.seed),
        })
    }

    /// Token sequences of the bad words: each word as it stands and after a space, as tokenizers write them differently.
    fn bad_words(&self, pipeline: &Pipeline) -> Result<Vec<Vec<Token>>> {
        let mut sequences = Vec::new();
        for word in &self.bad_word {
            if let Some(ids) = word.strip_prefix('#') {
                let ids = ids.split(',').map(|id| id.trim_start_matches('#').parse().map(Token));
                sequences.push(ids.collect::<Result<_, _>>().with_context(|| format!("--bad-word {word}"))?);
                continue;
            }
            for text in [word.clone(), format!(" {word}")] {
                let ids = pipeline.tokenizer()?.encode_plain(&text)?;
                if !ids.is_empty() && !sequences.contains(&ids) {
                    sequences.push(ids);
                }
            }
        }
        Ok(sequences)
    }
}

fn bias(pair: &str) -> Result<(Vec<Token>, f32)> {
    let read = || {
        let (ids, bias) = pair.split_once('=')?;
        let ids: Option<Vec<Token>> = ids.split(',').map(|id| id.trim().parse().ok().map(Token)).collect();
        Some((ids?, bias.trim().parse().ok()?))
    };
    read().with_context(|| format!("--logit-bias {pair}: expected ID=BIAS, such as 42=-5 (or 1,2=3 for a sequence)"))
}

/// Changes one setting by its name, as `/set temperature 0.7` does; `off` takes it back.
pub fn set(config: &mut SamplerConfig, name: &str, value: &str) -> Result<()> {
    fn read<T: std::str::FromStr>(name: &str, value: &str) -> Result<Option<T>> {
        match value {
            "off" | "none" => Ok(None),
            _ => value
                .parse()
                .map(Some)
                .map_err(|_| anyhow::anyhow!("{name}: {value} is not a number; `off` takes it back")),
        }
    }
    match name.replace('-', "_").as_str() {
        "temperature" | "temp" => config.temperature = read(name, value)?.unwrap_or(0.0),
        "top_k" => config.top_k = read(name, value)?,
        "top_p" => config.top_p = read(name, value)?,
        "min_p" => config.min_p = read(name, value)?,
        "typical_p" => config.typical_p = read(name, value)?,
        "top_h" => config.top_h = read(name, value)?,
        "epsilon_cutoff" => config.epsilon_cutoff = read(name, value)?,
        "eta_cutoff" => config.eta_cutoff = read(name, value)?,
        "repetition_penalty" => config.repetition_penalty = read(name, value)?,
        "presence_penalty" => config.presence_penalty = read(name, value)?,
        "frequency_penalty" => config.frequency_penalty = read(name, value)?,
        "no_repeat_ngram" => config.no_repeat_ngram = read(name, value)?,
        "min_new_tokens" => config.min_new_tokens = read(name, value)?.unwrap_or(0),
        "seed" => config.seed = read(name, value)?,
        _ => bail!("no setting is called {name}; there are {}", NAMES.join(", ")),
    }
    Ok(())
}
