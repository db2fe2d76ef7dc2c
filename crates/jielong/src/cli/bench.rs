//! `jielong bench`: how fast a model is here, beside what the memory allows.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;
use jielong::pipeline::Pipeline;
use jielong_core::{Logits, Model, State, Token};
use jielong_kernels::{Cpu, Matrix, keep_memory, read_time};
use jielong_llama::{Compute, KvCache, Llama};
use serde_json::json;

use super::model_args::ModelArgs;
use super::{Global, output, stats};

/// Measure a model: prompt and answer tokens a second, start-up, memory, share of the memory bandwidth
#[derive(ClapArgs)]
#[command(
    after_help = "Examples:\n  jielong bench -m smollm2\n  jielong bench --shape llama3.2-1b --quantize q8_0\n\n\
    pp: one pass over a prompt, in tokens a second. tg: one token after another, greedily, behind `depth` others.\n\
    Both are medians. A token reads all weights and the cache once; the share is these bytes times the rate over the\n\
    bandwidth: that of a plain read of the same weights by the same threads, before and after each run. `by bytes` is what\n\
    the first depth predicts for the others, if nothing but the bytes of their cache were added."
)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Random weights of a published shape, made in memory: see configs/shapes.toml
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    shape: Option<String>,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512)]
    prompt: usize,
    /// Tokens of the answer
    #[arg(long, value_name = "N", default_value_t = 128)]
    new: usize,
    /// Tokens before the answer, several times if separated by commas
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [0])]
    depth: Vec<usize>,
    /// Runs of each measurement
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// Print JSON, on one line
    #[arg(long)]
    json: bool,
}

/// Rates at one depth.
struct Decode {
    depth: usize,
    rates: Vec<f64>,
    bytes: u64,
    /// Bytes a second of plain reads of the weights.
    reads: Vec<f64>,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    ensure!(args.new > 0 && args.repeat > 0 && args.prompt > 0, "--prompt, --new and --repeat must be at least 1");
    let settings = args.model.settings(global)?;
    let start = Instant::now();
    let (name, model) = match &args.shape {
        Some(shape) => (shape.clone(), settings.random(shape)?),
        None => {
            let local = args.model.local(global)?;
            (local.name.clone(), Pipeline::open(&local, &settings)?.model)
        }
    };
    let load = start.elapsed().as_secs_f64();
    model.settle();
    keep_memory();
    let prefill = prefill(&model, args.prompt, args.repeat)?;
    let decodes =
        args.depth.iter().map(|&depth| decode(&model, depth, args.new, args.repeat)).collect::<Result<_>>()?;
    let cpu = match model.compute() {
        Compute::Kernels { cpu, .. } => Some(&**cpu),
        Compute::Burn { .. } => None,
    };
    let peak = stats::peak_memory();
    let report = Report { name, load, prompt: args.prompt, prefill, new: args.new, decodes, peak, cpu };
    let mut out = output::Output::new();
    if args.json { out.line(&report.json(&model).to_string()) } else { report.print(&model, &mut out) }
}

/// Some ids that are in every vocabulary of a model.
pub fn tokens(model: &Llama, count: usize) -> Vec<Token> {
    (0..count).map(|i| Token(((i * 7919 + 13) % model.vocab_size()) as u32)).collect()
}

/// Feeds tokens in the chunks of the loop.
pub fn feed(model: &Llama, state: &mut KvCache, tokens: &[Token]) -> Result<()> {
    for chunk in tokens.chunks(512) {
        model.next(chunk, state)?;
    }
    Ok(())
}

/// Tokens a second of each run.
fn prefill(model: &Llama, count: usize, repeat: usize) -> Result<Vec<f64>> {
    let prompt = tokens(model, count);
    let mut state = model.new_state()?;
    feed(model, &mut state, &prompt)?; // once for warmth
    let mut run = || {
        state.truncate(0);
        let start = Instant::now();
        feed(model, &mut state, &prompt)?;
        Ok(count as f64 / start.elapsed().as_secs_f64())
    };
    (0..repeat).map(|_| run()).collect()
}

fn decode(model: &Llama, depth: usize, new: usize, repeat: usize) -> Result<Decode> {
    let mut state = model.new_state()?;
    feed(model, &mut state, &tokens(model, depth))?;
    let (mut rates, mut reads) = (Vec::new(), read_rates(model));
    for _ in 0..repeat {
        state.truncate(depth);
        let mut token = Token(1);
        let start = Instant::now();
        for _ in 0..new {
            token = greedy(&model.next(&[token], &mut state)?);
        }
        rates.push(new as f64 / start.elapsed().as_secs_f64());
        reads.extend(read_rates(model));
    }
    Ok(Decode { depth, rates, reads, bytes: model.bytes_per_token() + model.cache_bytes(depth + new / 2) })
}

/// The most likely token, the first of several.
pub fn greedy(logits: &Logits) -> Token {
    let most = logits.0.iter().fold(f32::NEG_INFINITY, |most, &logit| if logit > most { logit } else { most });
    Token(logits.0.iter().position(|&logit| logit == most).unwrap_or(0) as u32)
}

/// Plain reads of the weights, in bytes a second.
fn read_rates(model: &Llama) -> Vec<f64> {
    let Compute::Kernels { cpu, .. } = model.compute() else { return Vec::new() };
    let weights: Vec<&[u8]> = model.matrices().into_iter().map(Matrix::bytes).collect();
    let rate = |_| model.bytes_per_token() as f64 / read_time(cpu, &weights).as_secs_f64();
    (0..5).map(rate).collect()
}

/// The middle value, or the mean of the two; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 if middle > 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values.get(middle).copied().unwrap_or(0.0),
    }
}

struct Report<'a> {
    name: String,
    load: f64,
    prompt: usize,
    prefill: Vec<f64>,
    new: usize,
    decodes: Vec<Decode>,
    /// Largest resident memory, in bytes.
    peak: Option<u64>,
    cpu: Option<&'a Cpu>,
}

impl Report<'_> {
    /// Bytes read a second over what the memory gives.
    fn share(&self, decode: &Decode) -> Option<f64> {
        self.cpu.map(|_| median(&decode.rates) * decode.bytes as f64 / median(&decode.reads))
    }

    /// Bytes a second.
    fn bandwidth(&self) -> Option<f64> {
        let reads: Vec<f64> = self.decodes.iter().flat_map(|decode| decode.reads.iter().copied()).collect();
        self.cpu.map(|_| median(&reads))
    }

    /// Tokens a second behind more tokens, if the bytes of the cache were all that is added to the first measurement.
    fn predicted(&self, decode: &Decode) -> Option<f64> {
        let first = self.decodes.first().filter(|first| first.depth != decode.depth)?;
        Some(median(&first.rates) * first.bytes as f64 / decode.bytes as f64)
    }

    fn json(&self, model: &Llama) -> serde_json::Value {
        let decodes = self.decodes.iter().map(|decode| {
            json!({
                "depth": decode.depth,
                "tg_tps": decode.rates,
                "bytes_per_token": decode.bytes,
                "bandwidth_share": self.share(decode),
                "predicted_tps": self.predicted(decode),
            })
        });
        json!({
            "model": self.name,
            "threads": self.cpu.map(Cpu::threads),
            "instructions": self.cpu.map(|cpu| cpu.isa().to_string()),
            "weights_bytes": model.bytes_per_token(),
            "pp": self.prompt,
            "pp_tps": self.prefill,
            "tg": self.new,
            "tg_tps": self.decodes.first().map(|decode| &decode.rates),
            "depths": decodes.collect::<Vec<_>>(),
            "bandwidth_bytes_per_second": self.bandwidth(),
            "load_s": self.load,
            "peak_rss_mib": self.peak.map(|bytes| bytes as f64 / 1_048_576.0),
        })
    }

    fn print(&self, model: &Llama, out: &mut output::Output) -> Result<()> {
        let mut rows = vec![vec![
            format!("pp {}", self.prompt),
            format!("{:.1}", median(&self.prefill)),
            String::new(),
            String::new(),
        ]];
        for decode in &self.decodes {
            let share = self.share(decode).map_or(String::new(), |share| format!("{:.0} %", share * 100.0));
            let depth = if decode.depth == 0 { String::new() } else { format!(" at {}", decode.depth) };
            let predicted = self.predicted(decode).map_or(String::new(), |rate| format!("{rate:.1}"));
            rows.push(vec![
                format!("tg {}{depth}", self.new),
                format!("{:.1}", median(&decode.rates)),
                share,
                predicted,
            ]);
        }
        let place = match (self.cpu, self.bandwidth()) {
            (Some(cpu), Some(read)) => {
                format!("{} threads, {}, {:.1} GB/s read", cpu.threads(), cpu.isa(), read / 1e9)
            }
            _ => "on the card".into(),
        };
        out.line(&format!("{}: {} read a token, {place}", self.name, output::bytes(model.bytes_per_token())))?;
        // The last column has something to say only of several depths.
        let several = self.decodes.len() > 1;
        rows.iter_mut().for_each(|row| row.truncate(if several { 4 } else { 3 }));
        out.table(&["test", "tokens/s", "of the bandwidth", "by bytes"][..if several { 4 } else { 3 }], &rows)?;
        let memory = self.peak.map_or(String::new(), |bytes| format!(", peak memory {}", output::bytes(bytes)));
        out.line(&format!("loaded in {:.2} s{memory}", self.load))
    }
}
