//! What a model brings besides its weights: config, tokenizer, chat template, special tokens, recommended sampling.
//!
//! Each part is read on its own, from the same folder or GGUF file, so that a folder with nothing but a `tokenizer.json`
//! still has tokens, and a checkpoint without a tokenizer still has logits.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use jielong_core::Token;
use jielong_llama::gguf::writer::Pair;
use jielong_llama::{Config, GenerationConfig, Gguf, read_config, read_generation};
use jielong_text::{ChatTemplate, GgufVocab, Tokenizer};
use serde_json::{Map, Value};

use crate::sources::{LocalModel, ModelKind};

/// Tokens that end a turn in one family or another; GGUF files often name only one of those that their model uses.
const END_OF_TURN: [&str; 8] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|end|>",
    "<|end_of_turn|>",
];

/// Everything but the weights.
pub struct Assets {
    /// Shape of the model.
    pub config: Config,
    /// Text to tokens; a bare checkpoint has none.
    pub tokenizer: Option<Tokenizer>,
    /// The official chat template, if there is one.
    pub template: Option<ChatTemplate>,
    /// What the template knows as `bos_token`, `eos_token` and so on.
    pub specials: Map<String, Value>,
    /// Recommended sampling.
    pub generation: GenerationConfig,
    /// Tokens that end an answer.
    pub end_tokens: Vec<Token>,
}

/// A model's files, opened.
pub enum Files<'a> {
    /// A Hugging Face folder.
    Folder(&'a Path),
    /// A GGUF file.
    Gguf(Box<Gguf>),
}

impl<'a> Files<'a> {
    /// Opens a GGUF file; a folder is read file by file later.
    ///
    /// # Errors
    /// What is wrong with the GGUF file, by key or tensor.
    pub fn open(model: &'a LocalModel) -> Result<Self> {
        Ok(match model.kind {
            ModelKind::Folder => Self::Folder(&model.path),
            ModelKind::Gguf => Self::Gguf(Box::new(Gguf::open(&model.path)?)),
        })
    }

    /// Everything but the weights.
    ///
    /// # Errors
    /// What is missing or malformed, by file and field.
    pub fn assets(&self) -> Result<Assets> {
        let config = self.config()?;
        let tokenizer = self.tokenizer()?;
        let generation = match self {
            Self::Folder(folder) => read_generation(folder)?,
            Self::Gguf(_) => GenerationConfig::default(),
        };
        let mut end_tokens: Vec<Token> = config.eos.iter().map(|&id| Token(id)).collect();
        if let (Self::Gguf(_), Some(tokenizer)) = (self, &tokenizer) {
            let known = END_OF_TURN.iter().filter_map(|text| tokenizer.id(text)).filter(|&t| tokenizer.is_special(t));
            end_tokens.extend(known.filter(|t| !config.eos.contains(&t.0)));
        }
        Ok(Assets { config, tokenizer, template: self.template()?, specials: self.specials()?, generation, end_tokens })
    }

    /// Shape of the model.
    ///
    /// # Errors
    /// What is missing, unsupported or contradictory.
    pub fn config(&self) -> Result<Config> {
        match self {
            Self::Folder(folder) => Ok(read_config(folder)?),
            Self::Gguf(gguf) => Config::from_gguf(gguf).with_context(|| gguf.path().display().to_string()),
        }
    }

    /// The tokenizer; none in a folder without `tokenizer.json` or a GGUF file without a vocabulary.
    ///
    /// # Errors
    /// What is malformed or unsupported.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join("tokenizer.json");
                if path.exists() { Ok(Some(Tokenizer::from_file(&path)?)) } else { Ok(None) }
            }
            Self::Gguf(gguf) => match vocabulary(gguf)? {
                Some(vocabulary) => Ok(Some(Tokenizer::from_gguf(vocabulary, &gguf.path().display().to_string())?)),
                None => Ok(None),
            },
        }
    }

    /// The official chat template, if there is one.
    ///
    /// # Errors
    /// Its file and line, if it does not parse.
    pub fn template(&self) -> Result<Option<ChatTemplate>> {
        let found = match self {
            Self::Folder(folder) => folder_template(folder)?,
            Self::Gguf(gguf) => gguf
                .string("tokenizer.chat_template")?
                .map(|source| (source.to_owned(), format!("{} (tokenizer.chat_template)", gguf.path().display()))),
        };
        found.map(|(source, name)| ChatTemplate::new(&source, &name).map_err(Into::into)).transpose()
    }

    /// What the template knows as `bos_token`, `eos_token` and so on.
    ///
    /// # Errors
    /// The file that is not what it should be.
    pub fn specials(&self) -> Result<Map<String, Value>> {
        match self {
            Self::Folder(folder) => folder_specials(folder),
            Self::Gguf(gguf) => {
                let mut specials = Map::new();
                let tokens = gguf.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
                for (name, key) in
                    [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")]
                {
                    let id = gguf.u64(&format!("tokenizer.ggml.{key}_token_id"))?;
                    if let Some(text) = id.and_then(|id| tokens.get(usize::try_from(id).ok()?)) {
                        specials.insert(name.into(), Value::String(text.to_string()));
                    }
                }
                Ok(specials)
            }
        }
    }
}

/// The vocabulary of a GGUF file.
fn vocabulary(gguf: &Gguf) -> Result<Option<GgufVocab>> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let Some(model) = gguf.string(&key("model"))?.filter(|m| *m != "none" && *m != "no_vocab") else {
        return Ok(None);
    };
    let id = |name: &str| -> Result<Option<u32>> {
        let id = gguf.u64(&key(&format!("{name}_token_id")))?;
        id.map(|id| u32::try_from(id).with_context(|| format!("tokenizer.ggml.{name}_token_id = {id}"))).transpose()
    };
    let strings = |name: &str| -> Result<Vec<String>> {
        Ok(gguf.strings(&key(name))?.unwrap_or_default().iter().map(|s| s.to_string()).collect())
    };
    Ok(Some(GgufVocab {
        model: model.to_owned(),
        pre: gguf.string(&key("pre"))?.map(str::to_owned),
        tokens: strings("tokens")?,
        scores: gguf.f32s(&key("scores"))?.unwrap_or_default(),
        token_types: gguf.i32s(&key("token_type"))?.unwrap_or_default(),
        merges: strings("merges")?,
        bos: id("bos")?,
        eos: id("eos")?,
        unk: id("unknown")?,
        pad: id("padding")?,
        add_bos: gguf.bool(&key("add_bos_token"))?,
        add_eos: gguf.bool(&key("add_eos_token"))?,
        add_space_prefix: gguf.bool(&key("add_space_prefix"))?,
    }))
}

/// A vocabulary as the metadata of a GGUF file.
pub(crate) fn vocabulary_pairs(vocab: &GgufVocab) -> Vec<Pair> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let mut pairs = vec![Pair::string(key("model"), &vocab.model)];
    pairs.extend(vocab.pre.as_ref().map(|pre| Pair::string(key("pre"), pre)));
    pairs.push(Pair::strings(key("tokens"), &vocab.tokens));
    pairs.push(Pair::i32s(key("token_type"), &vocab.token_types));
    if !vocab.scores.is_empty() {
        pairs.push(Pair::f32s(key("scores"), &vocab.scores));
    }
    if !vocab.merges.is_empty() {
        pairs.push(Pair::strings(key("merges"), &vocab.merges));
    }
    let ids = [("bos", vocab.bos), ("eos", vocab.eos), ("unknown", vocab.unk), ("padding", vocab.pad)];
    pairs.extend(ids.iter().filter_map(|(name, id)| Some(Pair::u32(key(&format!("{name}_token_id")), (*id)?))));
    let switches = [
        ("add_bos_token", vocab.add_bos),
        ("add_eos_token", vocab.add_eos),
        ("add_space_prefix", vocab.add_space_prefix),
    ];
    pairs.extend(switches.iter().filter_map(|(name, on)| Some(Pair::bool(key(name), (*on)?))));
    pairs
}

/// A JSON object in a folder, if the file is there.
fn object(folder: &Path, name: &str) -> Result<Option<Map<String, Value>>> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let value: Value = serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
    match value {
        Value::Object(map) => Ok(Some(map)),
        _ => Err(anyhow!("{}: not a JSON object", path.display())),
    }
}

/// The template's source and where it stands.
fn folder_template(folder: &Path) -> Result<Option<(String, String)>> {
    let path = folder.join("chat_template.jinja");
    if path.exists() {
        let source = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        return Ok(Some((source, path.display().to_string())));
    }
    for file in ["chat_template.json", "tokenizer_config.json"] {
        let Some(mut map) = object(folder, file)? else { continue };
        let name = format!("{} (chat_template)", folder.join(file).display());
        match map.remove("chat_template") {
            None | Some(Value::Null) => {}
            Some(Value::String(source)) => return Ok(Some((source, name))),
            // Several by name: the one called "default".
            Some(Value::Array(list)) => {
                let default = list.iter().find(|t| t["name"] == "default").or(list.first());
                let source = default.and_then(|t| t["template"].as_str());
                let source = source.ok_or_else(|| anyhow!("{name}: no entry holds a `template`"))?;
                return Ok(Some((source.to_owned(), name)));
            }
            Some(other) => return Err(anyhow!("{name}: found {other}, expected a string or a list")),
        }
    }
    Ok(None)
}

fn folder_specials(folder: &Path) -> Result<Map<String, Value>> {
    let mut specials = Map::new();
    for file in ["special_tokens_map.json", "tokenizer_config.json"] {
        for (key, value) in object(folder, file)?.unwrap_or_default() {
            let text = match value {
                Value::String(text) => text,
                Value::Object(mut map) => match map.remove("content") {
                    Some(Value::String(text)) => text,
                    _ => continue,
                },
                _ => continue,
            };
            if key.ends_with("_token") {
                specials.insert(key, Value::String(text));
            }
        }
    }
    Ok(specials)
}
