//! A model → the same model in the other format, or in other types: a Hugging Face folder or a GGUF file.
//!
//! Weights are rewritten a few megabytes at a time from where they are mapped. All of it is written beside its place, read
//! back and compared with what was meant, and only then moved there: whoever looks finds the old or the new, never a half.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jielong_kernels::Cpu;
use jielong_llama::export::{self, Format, Origin, Types};
use jielong_llama::gguf::writer::{self, Pair};
use jielong_llama::{Config, Gguf};
use jielong_nn::weights::Weights;
use jielong_nn::write::{Rewrite, Sink, safetensors};
use jielong_text::{GgufVocab, tokenizer_config};
use serde_json::{Map, Value, json};

use crate::assets::{Assets, Files, vocabulary_pairs};
use crate::files;
use crate::sources::LocalModel;

/// What becomes of something that is at the place of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the conversion is refused.
    #[default]
    Keep,
    /// A model is replaced; anything else stays.
    Replace,
}

/// How to convert.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conversion {
    /// Types of the matrices; those stored if `None`.
    pub types: Option<Types>,
    /// What becomes of something that is there.
    pub existing: Existing,
    /// Threads; 0: one for each physical core.
    pub threads: usize,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The file or folder.
    pub path: PathBuf,
    /// Which of the two.
    pub format: Format,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// How many tensors have each type.
    pub types: BTreeMap<&'static str, usize>,
}

/// Hears of bytes written and of all there will be; says whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// Converts a model. `out` is a GGUF file if it ends in `.gguf`, otherwise a folder.
///
/// # Errors
/// What the other format cannot say, what is wrong with the model's files, what the system cannot write. Nothing is left.
pub fn convert(local: &LocalModel, out: &Path, how: &Conversion, progress: Progress) -> Result<Converted> {
    let format = match out.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
        true => Format::Gguf,
        false => Format::Folder,
    };
    check_place(out, format, how.existing)?;
    let files = Files::open(local)?;
    let assets = files.assets().with_context(|| format!("cannot use {}", local.name))?;
    let weights = match &files {
        Files::Folder(folder) => Weights::open_safetensors(folder)?,
        Files::Gguf(_) => Weights::default(),
    };
    let origin = match &files {
        Files::Folder(folder) => Origin::Folder(folder, &weights),
        Files::Gguf(gguf) => Origin::Gguf(gguf),
    };
    let tensors = export::tensors(&assets.config, origin, format, how.types)?;
    let bytes = tensors.iter().map(Rewrite::bytes).sum();
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new().prefix(".jielong-").tempdir_in(parent);
    let scratch = scratch.with_context(|| format!("cannot write into {}", parent.display()))?;
    let place = scratch.path().join("model");
    let mut done = 0;
    let mut report = |count: usize| {
        done += count as u64;
        progress(done.min(bytes), bytes)
    };
    let job = Job { local, assets: &assets, tensors: &tensors, types: how.types, cpu: &Cpu::new(how.threads) };
    match (format, origin) {
        (Format::Gguf, Origin::Gguf(gguf)) => {
            job.gguf(&export::repacked_pairs(gguf, how.types), &place, &mut report)?
        }
        (Format::Gguf, Origin::Folder(..)) => job.gguf(&job.pairs()?, &place, &mut report)?,
        (Format::Folder, Origin::Gguf(_)) => job.folder(&job.texts()?, &place, &mut report)?,
        (Format::Folder, Origin::Folder(folder, _)) => job.folder(&job.copied(folder)?, &place, &mut report)?,
    }
    files::place(&place, out, scratch.path()).with_context(|| format!("cannot write {}", out.display()))?;
    let mut types = BTreeMap::new();
    for tensor in &tensors {
        *types.entry(tensor.written().name()).or_insert(0) += 1;
    }
    Ok(Converted { path: out.to_path_buf(), format, bytes, types })
}

/// Refuses a place that holds something that must not be lost.
fn check_place(out: &Path, format: Format, existing: Existing) -> Result<()> {
    if !out.exists() {
        return Ok(());
    }
    let is_model = match format {
        Format::Gguf => out.is_file(),
        Format::Folder => out.join("config.json").is_file() || out.read_dir().is_ok_and(|mut d| d.next().is_none()),
    };
    ensure!(is_model, "{} is there and no model; it is not replaced: name another OUT", out.display());
    ensure!(existing == Existing::Replace, "{} is there already; --force replaces it", out.display());
    Ok(())
}

/// A file of a folder beside the weights: its name and what is in it.
type Text = (String, Vec<u8>);

struct Job<'a> {
    local: &'a LocalModel,
    assets: &'a Assets,
    tensors: &'a [Rewrite],
    types: Option<Types>,
    cpu: &'a Cpu,
}

impl Job<'_> {
    fn gguf(&self, pairs: &[Pair], place: &Path, progress: &mut dyn FnMut(usize) -> bool) -> Result<()> {
        writer::write(pairs, self.tensors, self.cpu, Sink::create(place, progress)?)?;
        let read = Config::from_gguf(&Gguf::open(place)?).context("the file that was written")?;
        self.compare(&read, "a GGUF file")
    }

    fn folder(&self, texts: &[Text], place: &Path, progress: &mut dyn FnMut(usize) -> bool) -> Result<()> {
        std::fs::create_dir(place).with_context(|| format!("cannot write {}", place.display()))?;
        for (name, bytes) in texts {
            let path = place.join(name);
            let mut sink = Sink::create(&path, progress)?;
            sink.write(bytes)?;
            sink.finish()?;
        }
        Ok(safetensors::write(place, self.tensors, safetensors::SHARD, self.cpu, progress)?)
    }

    /// What was written says what was meant.
    fn compare(&self, read: &Config, format: &str) -> Result<()> {
        let lost = export::differences(&self.assets.config, read);
        ensure!(lost.is_empty(), "{format} cannot say all of {}: {}", self.local.name, lost.join("; "));
        Ok(())
    }

    /// Metadata of a GGUF file, from those of a folder.
    fn pairs(&self) -> Result<Vec<Pair>> {
        let config = &self.assets.config;
        let types = self.types.unwrap_or(Types::One(export::widest(self.tensors)));
        let mut pairs = export::gguf_pairs(config, types)?;
        let name = self.local.path.file_name().map_or(self.local.name.clone(), |n| n.to_string_lossy().into_owned());
        pairs.push(Pair::string("general.name", &name));
        if let Some(license) = &self.local.license {
            pairs.push(Pair::string("general.license", license));
        }
        let Some(tokenizer) = &self.assets.tokenizer else {
            pairs.push(Pair::string("tokenizer.ggml.model", "no_vocab"));
            return Ok(pairs);
        };
        let named = |key: &str| {
            let text = self.assets.specials.get(key).and_then(Value::as_str);
            text.and_then(|text| tokenizer.id(text)).map(|token| token.0)
        };
        let (bos, eos) = (named("bos_token").or(config.bos), named("eos_token").or(config.eos.first().copied()));
        let path = self.local.path.join("tokenizer.json");
        let vocab = GgufVocab::of(tokenizer, &path.display().to_string(), config.vocab_size, bos, eos)?;
        pairs.extend(vocabulary_pairs(&GgufVocab { pad: named("pad_token"), ..vocab }));
        if let Some(template) = &self.assets.template {
            pairs.push(Pair::string("tokenizer.chat_template", template.source()));
        }
        Ok(pairs)
    }

    /// The files of a folder, from the metadata of a GGUF file.
    fn texts(&self) -> Result<Vec<Text>> {
        let Assets { config, tokenizer, template, specials, end_tokens, .. } = self.assets;
        let ends: Vec<u32> = end_tokens.iter().map(|token| token.0).collect();
        let dtype = dtype_name(self.tensors);
        let meant = Config { eos: ends.clone(), ..config.clone() };
        let hf = serde_json::to_vec_pretty(&export::hf_config(&meant, dtype)?)?;
        self.compare(&Config::from_hf(&hf).context("the config.json that is to be written")?, "a config.json")?;
        let mut texts = vec![("config.json".into(), hf)];
        let generation = json!({ "bos_token_id": config.bos, "eos_token_id": ends });
        texts.push(("generation_config.json".into(), serde_json::to_vec_pretty(&generation)?));
        if let Some(tokenizer) = tokenizer {
            texts.push(("tokenizer.json".into(), tokenizer.to_json()?.into_bytes()));
            let about = tokenizer_config(specials, template.as_ref().map(|t| t.source()), config.context);
            texts.push(("tokenizer_config.json".into(), serde_json::to_vec_pretty(&about)?));
        }
        Ok(texts)
    }

    /// All files of a folder that are not weights, the type in its `config.json` brought up to date.
    fn copied(&self, folder: &Path) -> Result<Vec<Text>> {
        const WEIGHTS: [&str; 7] = ["safetensors", "bin", "pt", "pth", "gguf", "h5", "msgpack"];
        let mut texts = Vec::new();
        let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
        for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else { continue };
            let is_weights = path.extension().is_some_and(|e| WEIGHTS.iter().any(|w| e == *w));
            if !path.is_file() || is_weights || name.ends_with(".index.json") || name.starts_with('.') {
                continue;
            }
            let mut bytes = read(&path)?;
            if name == "config.json" && self.types.is_some() {
                let mut config: Map<String, Value> = serde_json::from_slice(&bytes)?;
                let key = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
                config.insert(key.into(), dtype_name(self.tensors).into());
                bytes = serde_json::to_vec_pretty(&config)?;
            }
            texts.push((name, bytes));
        }
        if !texts.iter().any(|(name, _)| name == "config.json") {
            bail!("{}: config.json is missing", folder.display());
        }
        Ok(texts)
    }
}

/// What a `config.json` calls the type of the weights.
fn dtype_name(tensors: &[Rewrite]) -> &'static str {
    export::torch_dtype(export::widest(tensors))
}
