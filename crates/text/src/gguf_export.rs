//! A tokenizer → the vocabulary of a GGUF file: the inverse of `gguf_vocab`.
//!
//! Byte-level BPE becomes `gpt2`, with the name of the pre-tokenizer that has its patterns; BPE with byte fallback becomes
//! `llama`, with the scores that give its merges. What a vocabulary cannot say shows when it is read back: the two
//! tokenizers must agree on a text of many scripts.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::gguf_vocab::{CONTROL, GgufVocab, USER_DEFINED, merges_of_scores, name_of};
use crate::pieces::lone_byte;
use crate::tokenizer::{Specials, Tokenizer, TokenizerError};

/// What both tokenizers must encode alike.
const SAMPLE: &str = "Hello  world, it's 12345.678 (naïve café)\n\n\tdef f(x):\r\n    return x**2  # ½ ①\n\
    Grüße aus Köln! Привет, мир. 接龍：今天天氣很好。こんにちは世界 안녕하세요 مرحبا بالعالم नमस्ते 🤗🇩🇪👩‍👩‍👧 e\u{301} \u{a0}…  ";

impl GgufVocab {
    /// The vocabulary of a tokenizer; ids up to `size` that it does not use become unused entries.
    ///
    /// `bos` and `eos` are the tokens by which it may begin and end texts.
    ///
    /// # Errors
    /// [`TokenizerError::Invalid`]: what GGUF has no words for.
    pub fn of(
        tokenizer: &Tokenizer,
        name: &str,
        size: usize,
        bos: Option<u32>,
        eos: Option<u32>,
    ) -> Result<Self, TokenizerError> {
        let invalid = |problem: String| TokenizerError::Invalid { name: name.into(), problem };
        let json: Value =
            serde_json::from_str(&tokenizer.to_json()?).map_err(|e| invalid(format!("not valid JSON: {e}")))?;
        let mut vocab = vocabulary(&json, size).map_err(invalid)?;
        let ends = tokenizer.encode("", Specials::Add)?;
        (vocab.bos, vocab.eos) = (bos, eos);
        vocab.add_bos = Some(bos.is_some_and(|bos| ends.first().is_some_and(|token| token.0 == bos)));
        vocab.add_eos =
            Some(eos.is_some_and(|eos| ends.last().is_some_and(|token| token.0 == eos) && bos != Some(eos)));
        let back = Self::clone(&vocab);
        let back = Tokenizer::from_gguf(back, name)?;
        for text in [SAMPLE, "x", " x", ""] {
            if back.encode(text, Specials::Add)? != tokenizer.encode(text, Specials::Add)? {
                return Err(invalid(format!("cuts {text:?} in a way that a GGUF vocabulary does not say")));
            }
        }
        Ok(vocab)
    }
}

fn vocabulary(json: &Value, size: usize) -> Result<GgufVocab, String> {
    let model = &json["model"];
    if model["type"] != "BPE" {
        return Err(format!("`model` of type {}, only BPE can be said in a GGUF file", model["type"]));
    }
    let mut vocab = GgufVocab {
        tokens: (0..size).map(|id| format!("[PAD{id}]")).collect(),
        token_types: vec![5; size],
        ..GgufVocab::default()
    };
    let entries = model["vocab"].as_object().ok_or("`model.vocab` is not an object")?;
    for (token, id) in entries {
        put(&mut vocab, id, token, 1)?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = if added["special"] == true { CONTROL } else { USER_DEFINED };
        put(&mut vocab, &added["id"], added["content"].as_str().unwrap_or_default(), kind)?;
    }
    let merges = merges(model)?;
    if model["byte_fallback"] == true {
        sentence_piece(&mut vocab, json, &merges)?;
    } else {
        byte_level(&mut vocab, json)?;
        vocab.merges = merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
    }
    Ok(vocab)
}

fn put(vocab: &mut GgufVocab, id: &Value, token: &str, kind: i32) -> Result<(), String> {
    let size = vocab.tokens.len();
    let place = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|&id| id < size);
    let place = place.ok_or_else(|| format!("{token:?} has id {id}, the model has a vocabulary of {size}"))?;
    vocab.tokens[place] = token.into();
    vocab.token_types[place] = kind;
    Ok(())
}

/// Merges in either form: pairs, or strings with a space between the parts.
fn merges(model: &Value) -> Result<Vec<(String, String)>, String> {
    let list = model["merges"].as_array().ok_or("`model.merges` is not a list")?;
    let pair = |merge: &Value| match merge {
        Value::String(text) => text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        other => Some((other[0].as_str()?.to_owned(), other[1].as_str()?.to_owned())),
    };
    list.iter().map(|merge| pair(merge).ok_or_else(|| format!("`model.merges` holds {merge}"))).collect()
}

/// The steps of a normalizer or pre-tokenizer, one or several.
fn steps<'a>(json: &'a Value, part: &str, list: &str) -> Vec<&'a Value> {
    match (&json[part], json[part][list].as_array()) {
        (Value::Null, _) => Vec::new(),
        (_, Some(steps)) => steps.iter().collect(),
        (one, None) => vec![one],
    }
}

fn byte_level(vocab: &mut GgufVocab, json: &Value) -> Result<(), String> {
    let (mut patterns, mut digits, mut compose) = (Vec::new(), false, false);
    for step in steps(json, "normalizer", "normalizers") {
        match step["type"].as_str() {
            Some("NFC") => compose = true,
            _ => return Err(format!("`normalizer` {step} can not be said in a GGUF file")),
        }
    }
    for step in steps(json, "pre_tokenizer", "pretokenizers") {
        match step["type"].as_str() {
            Some("Split") if step["pattern"]["Regex"].is_string() => {
                patterns.push(step["pattern"]["Regex"].as_str().unwrap_or_default().to_owned());
            }
            Some("Digits") if step["individual_digits"] == true => digits = true,
            Some("ByteLevel") if step["use_regex"] != false => patterns.push(crate::gguf_vocab::GPT2.into()),
            Some("ByteLevel") => {}
            _ => return Err(format!("`pre_tokenizer` {step} can not be said in a GGUF file")),
        }
    }
    let whole_words = json["model"]["ignore_merges"] == true;
    let name = name_of(&patterns, digits, compose, whole_words);
    vocab.model = "gpt2".into();
    vocab.pre = Some(name.ok_or("`pre_tokenizer` cuts words as none does that GGUF files name")?.into());
    Ok(())
}

fn sentence_piece(vocab: &mut GgufVocab, json: &Value, merges: &[(String, String)]) -> Result<(), String> {
    vocab.model = "llama".into();
    vocab.pre = Some("default".into());
    let prepends = |step: &&Value| step["type"] == "Prepend" || step["type"] == "Metaspace";
    let never = |step: &Value| step["prepend_scheme"] == "never" || step["add_prefix_space"] == false;
    let normal = steps(json, "normalizer", "normalizers");
    let cut = steps(json, "pre_tokenizer", "pretokenizers");
    vocab.add_space_prefix = Some(normal.iter().chain(&cut).copied().filter(|s| prepends(s)).any(|step| !never(step)));
    let ids: HashMap<String, u32> = (0..).zip(&vocab.tokens).map(|(id, token)| (token.clone(), id)).collect();
    vocab.unk = json["model"]["unk_token"].as_str().and_then(|unk| ids.get(unk).copied());
    for (id, token) in vocab.tokens.iter().enumerate() {
        match vocab.token_types[id] {
            1 if lone_byte(token).is_some() => vocab.token_types[id] = 6,
            _ if vocab.unk == Some(id as u32) => vocab.token_types[id] = 2,
            _ => {}
        }
    }
    // An entry's score is the place of its first merge; entries that no merge makes come last.
    let mut scores: HashMap<u32, f32> = HashMap::new();
    for (a, b) in merges {
        if let Some(&id) = ids.get(&format!("{a}{b}")) {
            let next = -(scores.len() as f32);
            scores.entry(id).or_insert(next);
        }
    }
    let last = -(scores.len() as f32);
    let unused = |id: u32| if vocab.token_types[id as usize] == 1 { last } else { 0.0 };
    vocab.scores = (0..vocab.tokens.len() as u32).map(|id| scores.get(&id).copied().unwrap_or(unused(id))).collect();
    let by_token = ids.iter().map(|(token, &id)| (token.as_str(), id)).collect();
    if merges_of_scores(vocab, &by_token) != merges {
        return Err("`model.merges` are in an order that no scores give".into());
    }
    Ok(())
}

/// What a `tokenizer_config.json` says of a tokenizer from a GGUF file.
pub fn tokenizer_config(specials: &Map<String, Value>, template: Option<&str>, context: usize) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    map.extend(specials.clone());
    map.insert("model_max_length".into(), context.into());
    map.insert("clean_up_tokenization_spaces".into(), false.into());
    if let Some(template) = template {
        map.insert("chat_template".into(), template.into());
    }
    map
}
