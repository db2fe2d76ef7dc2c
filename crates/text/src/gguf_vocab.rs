//! The vocabulary of a GGUF file → a tokenizer of the `tokenizers` library.
//!
//! `gpt2`: byte-level BPE; the file holds the merges, and names the pre-tokenizer whose pattern cuts text into words. The
//! patterns are those that the models' own `tokenizer.json` publish.
//! `llama`: SentencePiece BPE; the file holds a score for each entry, from which the merges follow as Transformers derives
//! them: every way to make an entry of two others, best score first.

use std::collections::HashMap;

use serde_json::json;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NFC, Prepend, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

use crate::pieces::{Pieces, lone_byte};

/// What `tokenizer.ggml.*` says. Token types: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
#[derive(Clone, Debug, Default)]
pub struct GgufVocab {
    /// `model`: `gpt2` or `llama`.
    pub model: String,
    /// `pre`: name of the pre-tokenizer.
    pub pre: Option<String>,
    /// `tokens`: entries in the order of ids.
    pub tokens: Vec<String>,
    /// `scores`, one an entry (`llama`).
    pub scores: Vec<f32>,
    /// `token_type`, one an entry.
    pub token_types: Vec<i32>,
    /// `merges`: pairs joined by a space, best first (`gpt2`).
    pub merges: Vec<String>,
    /// `bos_token_id`
    pub bos: Option<u32>,
    /// `eos_token_id`
    pub eos: Option<u32>,
    /// `unknown_token_id`
    pub unk: Option<u32>,
    /// `padding_token_id`
    pub pad: Option<u32>,
    /// `add_bos_token`
    pub add_bos: Option<bool>,
    /// `add_eos_token`
    pub add_eos: Option<bool>,
    /// `add_space_prefix`
    pub add_space_prefix: Option<bool>,
}

pub(crate) const CONTROL: i32 = 3;
pub(crate) const USER_DEFINED: i32 = 4;

/// Llama 3's words.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's words: digits one by one.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// GPT-2's words.
pub(crate) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Mistral Nemo's words.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// GPT-4o's words.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How one family cuts text into words.
struct Words {
    /// Patterns, each of which isolates its matches in what the ones before left over.
    patterns: &'static [&'static str],
    /// Digits stand alone, before any pattern.
    digits: bool,
    /// Text is composed first (NFC).
    compose: bool,
    /// A word that is an entry is not built from merges.
    whole_words: bool,
    /// A text begins with the `bos` token unless the file says otherwise.
    begins: bool,
}

/// The pre-tokenizers by GGUF's names.
fn words(pre: &str) -> Option<Words> {
    let base = Words { patterns: &[GPT2], digits: false, compose: false, whole_words: false, begins: false };
    Some(match pre {
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "lfm2" => {
            Words { patterns: &[LLAMA3], whole_words: true, begins: true, ..base }
        }
        "smaug-bpe" | "dbrx" | "chatglm-bpe" | "glm4" => Words { patterns: &[LLAMA3], ..base },
        "qwen2" | "deepseek-r1-qwen" | "kormo" => Words { patterns: &[QWEN2], compose: true, ..base },
        "stablelm2" | "hunyuan" | "megrez" => Words { patterns: &[QWEN2], ..base },
        "tekken" => Words { patterns: &[TEKKEN], whole_words: true, begins: true, ..base },
        "gpt-4o" | "llama4" | "kanana2" => Words { patterns: &[GPT4O], ..base },
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
            Words { digits: true, ..base }
        }
        "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" | "gigachat" | "mellum" => base,
        "deepseek-coder" => Words {
            patterns: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
            begins: true,
            ..base
        },
        "default" => Words { patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"], ..base },
        _ => return None,
    })
}

/// GGUF's name of the pre-tokenizer that cuts text in this way.
pub(crate) fn name_of(patterns: &[String], digits: bool, compose: bool, whole_words: bool) -> Option<&'static str> {
    let names =
        ["llama-bpe", "smaug-bpe", "qwen2", "stablelm2", "tekken", "gpt-4o", "smollm", "gpt-2", "deepseek-coder"];
    names.into_iter().find(|name| {
        words(name).is_some_and(|words| {
            words.patterns == patterns
                && (words.digits, words.compose, words.whole_words) == (digits, compose, whole_words)
        })
    })
}

/// Builds the tokenizer; the error says which key is wrong.
pub(crate) fn build(vocab: GgufVocab) -> Result<(Tokenizer, Pieces), String> {
    let count = vocab.tokens.len();
    if count == 0 {
        return Err("`tokenizer.ggml.tokens` is missing or empty".into());
    }
    if !vocab.token_types.is_empty() && vocab.token_types.len() != count {
        return Err(format!("`tokenizer.ggml.token_type` has {} entries for {count} tokens", vocab.token_types.len()));
    }
    for (key, id) in [("bos", vocab.bos), ("eos", vocab.eos), ("unknown", vocab.unk), ("padding", vocab.pad)] {
        if let Some(id) = id.filter(|&id| id as usize >= count) {
            return Err(format!("`tokenizer.ggml.{key}_token_id` = {id} is outside the vocabulary of {count}"));
        }
    }
    let mut ids = HashMap::with_capacity(count);
    for (id, token) in (0u32..).zip(&vocab.tokens) {
        if let Some(other) = ids.insert(token.as_str(), id) {
            return Err(format!("`tokenizer.ggml.tokens`: {token:?} is both {other} and {id}"));
        }
    }
    let (mut tokenizer, pieces, begins) = match vocab.model.as_str() {
        "gpt2" => byte_level(&vocab, &ids)?,
        "llama" => sentence_piece(&vocab, &ids)?,
        other => return Err(format!("`tokenizer.ggml.model` = {other} is not supported; gpt2 and llama are")),
    };
    add_tokens(&mut tokenizer, &vocab);
    let begins = vocab.add_bos.unwrap_or(begins);
    post_process(&mut tokenizer, &vocab, begins)?;
    Ok((tokenizer, pieces))
}

fn kind(vocab: &GgufVocab, id: usize) -> i32 {
    vocab.token_types.get(id).copied().unwrap_or(1)
}

fn byte_level(vocab: &GgufVocab, ids: &HashMap<&str, u32>) -> Result<(Tokenizer, Pieces, bool), String> {
    let pre = vocab.pre.as_deref().unwrap_or("default");
    let words = words(pre).ok_or_else(|| format!("`tokenizer.ggml.pre` = {pre} is not supported"))?;
    let mut merges = Vec::with_capacity(vocab.merges.len());
    for (index, merge) in vocab.merges.iter().enumerate() {
        // The parts hold no space: byte-level BPE writes it as another character.
        let (a, b) = merge
            .split_once(' ')
            .ok_or_else(|| format!("`tokenizer.ggml.merges` {index}: {merge:?} is not two parts"))?;
        for part in [a, b, &format!("{a}{b}")] {
            if !ids.contains_key(part) {
                return Err(format!("`tokenizer.ggml.merges` {index}: {part:?} is not in the vocabulary"));
            }
        }
        merges.push((a.to_owned(), b.to_owned()));
    }
    let entries = ids.iter().map(|(&token, &id)| (token.to_owned(), id)).collect::<ahash::AHashMap<_, _>>();
    let model = BPE::builder().vocab_and_merges(entries, merges).ignore_merges(words.whole_words).build();
    let mut tokenizer = Tokenizer::new(model.map_err(|e| format!("`tokenizer.ggml.merges`: {e}"))?);
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    if words.digits {
        steps.push(Digits::new(true).into());
    }
    for pattern in words.patterns {
        let pattern = SplitPattern::Regex((*pattern).into());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(|e| e.to_string())?;
        steps.push(split.into());
    }
    steps.push(ByteLevel::new(false, true, false).into());
    tokenizer.with_pre_tokenizer(Some(tokenizers::pre_tokenizers::sequence::Sequence::new(steps)));
    if words.compose {
        tokenizer.with_normalizer(Some(NFC));
    }
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, false)));
    Ok((tokenizer, Pieces::ByteLevel, words.begins))
}

fn sentence_piece(vocab: &GgufVocab, ids: &HashMap<&str, u32>) -> Result<(Tokenizer, Pieces, bool), String> {
    if vocab.scores.len() != vocab.tokens.len() {
        let (scores, tokens) = (vocab.scores.len(), vocab.tokens.len());
        return Err(format!("`tokenizer.ggml.scores` has {scores} entries for {tokens} tokens"));
    }
    if let Some(id) = vocab.scores.iter().position(|s| s.is_nan()) {
        return Err(format!("`tokenizer.ggml.scores` {id} is not a number"));
    }
    for (id, token) in vocab.tokens.iter().enumerate() {
        if kind(vocab, id) == 6 && lone_byte(token).is_none() {
            return Err(format!(
                "`tokenizer.ggml.tokens` {id}: {token:?} is flagged a byte, expected <0x00> to <0xFF>"
            ));
        }
    }
    let merges = merges_of_scores(vocab, ids);
    let entries = ids.iter().map(|(&token, &id)| (token.to_owned(), id)).collect::<ahash::AHashMap<_, _>>();
    let mut builder = BPE::builder().vocab_and_merges(entries, merges).fuse_unk(true).byte_fallback(true);
    if let Some(unk) = vocab.unk {
        builder = builder.unk_token(vocab.tokens[unk as usize].clone());
    }
    let model = builder.build().map_err(|e| format!("`tokenizer.ggml.scores`: {e}"))?;
    let mut tokenizer = Tokenizer::new(model);
    let prefix = vocab.add_space_prefix.unwrap_or(true);
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if prefix {
        steps.push(Prepend::new("▁".into()).into());
    }
    steps.push(Replace::new(" ", "▁").map_err(|e| e.to_string())?.into());
    tokenizer.with_normalizer(Some(tokenizers::normalizers::Sequence::new(steps)));
    let mut back: Vec<DecoderWrapper> =
        vec![Replace::new("▁", " ").map_err(|e| e.to_string())?.into(), ByteFallback::new().into(), Fuse::new().into()];
    if prefix {
        back.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(tokenizers::decoders::sequence::Sequence::new(back)));
    Ok((tokenizer, Pieces::SentencePiece { drop_first_space: prefix }, true))
}

/// Every way to make a normal entry of two others, best score first, then by the ids of the parts.
pub(crate) fn merges_of_scores(vocab: &GgufVocab, ids: &HashMap<&str, u32>) -> Vec<(String, String)> {
    let mut found: Vec<(f32, u32, u32)> = Vec::new();
    for (id, token) in vocab.tokens.iter().enumerate() {
        if kind(vocab, id) != 1 {
            continue;
        }
        for (at, _) in token.char_indices().skip(1) {
            if let (Some(&a), Some(&b)) = (ids.get(&token[..at]), ids.get(&token[at..])) {
                found.push((vocab.scores[id], a, b));
            }
        }
    }
    found.sort_by(|x, y| y.0.total_cmp(&x.0).then((x.1, x.2).cmp(&(y.1, y.2))));
    let entry = |id: u32| vocab.tokens[id as usize].clone();
    found.into_iter().map(|(_, a, b)| (entry(a), entry(b))).collect()
}

/// Control tokens are special; user-defined ones are recognised in any text too.
fn add_tokens(tokenizer: &mut Tokenizer, vocab: &GgufVocab) {
    let of_kind = |wanted: i32| {
        let named = vocab.tokens.iter().enumerate().filter(move |&(id, t)| kind(vocab, id) == wanted && !t.is_empty());
        named.map(move |(_, t)| AddedToken::from(t.clone(), wanted == CONTROL).normalized(false)).collect::<Vec<_>>()
    };
    tokenizer.add_special_tokens(&of_kind(CONTROL));
    tokenizer.add_tokens(&of_kind(USER_DEFINED));
}

/// The tokens that begin and end a text.
fn post_process(tokenizer: &mut Tokenizer, vocab: &GgufVocab, begins: bool) -> Result<(), String> {
    let bos = vocab.bos.filter(|_| begins);
    let eos = vocab.eos.filter(|_| vocab.add_eos.unwrap_or(false));
    if bos.is_none() && eos.is_none() {
        return Ok(());
    }
    let special = |id: u32| json!({"SpecialToken": {"id": vocab.tokens[id as usize], "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let single: Vec<_> = bos.map(special).into_iter().chain([text.clone()]).chain(eos.map(special)).collect();
    let tokens: serde_json::Map<_, _> = bos
        .iter()
        .chain(&eos)
        .map(|&id| {
            let name = &vocab.tokens[id as usize];
            (name.clone(), json!({"id": name, "ids": [id], "tokens": [name]}))
        })
        .collect();
    let second = json!({"Sequence": {"id": "B", "type_id": 0}});
    let template = json!({"single": single, "pair": [text, second], "special_tokens": tokens});
    let template: TemplateProcessing = serde_json::from_value(template).map_err(|e| e.to_string())?;
    tokenizer.with_post_processor(Some(template));
    Ok(())
}
