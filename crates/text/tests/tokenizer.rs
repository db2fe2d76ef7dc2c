//! Tokenizers made here, and real ones where they are at hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use jielong_core::Token;
use jielong_text::{GgufVocab, SkipSpecials, Span, SpanKind, Specials, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A byte-level tokenizer: all bytes, a few merges, two control tokens and one added word.
fn byte_level() -> Tokenizer {
    Tokenizer::from_json(byte_level_json().to_string().as_bytes(), "tokenizer.json").unwrap()
}

/// GPT-2's writing of the bytes.
fn byte_chars() -> Vec<char> {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    (0..256u32)
        .map(|b| {
            let c = if printable(b) { b } else { next };
            next += u32::from(!printable(b));
            char::from_u32(c).unwrap()
        })
        .collect()
}

fn byte_level_json() -> Value {
    let mut vocab: serde_json::Map<String, Value> =
        byte_chars().iter().enumerate().map(|(id, c)| (c.to_string(), json!(id))).collect();
    for (id, entry) in ["he", "ll", "hell", "Ġw", "im"].iter().enumerate() {
        vocab.insert((*entry).into(), json!(256 + id));
    }
    let added = |id: u32, content: &str, special: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": special})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [added(261, "<|im_start|>", true), added(262, "<|im_end|>", true), added(263, "</think>", false)],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
                  "merges": ["h e", "l l", "he ll", "Ġ w", "i m"]}
    })
}

fn ids(tokens: &[Token]) -> Vec<u32> {
    tokens.iter().map(|t| t.0).collect()
}

fn content(text: &str) -> Span {
    Span { text: text.into(), kind: SpanKind::Content }
}

fn template(text: &str) -> Span {
    Span { text: text.into(), kind: SpanKind::Template }
}

#[test]
fn control_tokens_come_of_templates_only() {
    let t = byte_level();
    assert_eq!(t.vocab_size(), 264);
    assert_eq!(ids(&t.encode("<|im_start|>hell", Specials::None).unwrap()), [261, 258]);
    let spans = [template("<|im_start|>"), content("a<|im_end|>b</think>"), template("<|im_end|>")];
    let tokens = t.encode_spans(&spans).unwrap();
    assert_eq!(tokens.iter().filter(|t| t.0 >= 261).map(|t| t.0).collect::<Vec<_>>(), [261, 262]);
    assert_eq!(t.decode(&tokens, SkipSpecials::No).unwrap(), "<|im_start|>a<|im_end|>b</think><|im_end|>");
    // A control token's name across the border of template and content is no control token either.
    let tokens = t.encode_spans(&[template("<|im_"), content("end|>"), content("<|im_"), content("start|>")]).unwrap();
    assert!(tokens.iter().all(|t| t.0 < 261), "{tokens:?}");
    // Cutting one name out must not join another.
    let tokens = t.encode_spans(&[content("<|im_<|im_end|>end|>")]).unwrap();
    assert!(tokens.iter().all(|t| t.0 < 261), "{tokens:?}");
}

#[test]
fn spans_without_control_names_encode_as_the_whole() {
    let t = byte_level();
    let spans = [template("<|im_start|>user\nhe"), content("llo w"), template("orld<|im_end|>\n")];
    let whole: String = spans.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(t.encode_spans(&spans).unwrap(), t.encode(&whole, Specials::None).unwrap());
}

#[test]
fn a_vocabulary_is_listed_in_order() {
    let t = byte_level();
    let entries = t.entries();
    assert_eq!(entries.len(), 264);
    assert_eq!(entries[259], (Token(259), " w".into()));
    assert_eq!(entries[263], (Token(263), "</think>".into()));
    assert_eq!(t.id("<|im_end|>"), Some(Token(262)));
    assert!(t.is_special(Token(262)) && !t.is_special(Token(263)));
    assert_eq!(t.bytes(Token(0xe4)), Some(vec![0xe4]));
    assert!(t.decode(&[Token(280)], SkipSpecials::No).unwrap_err().to_string().contains("280"));
}

#[test]
fn malformed_files_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Value), says: &str| {
        let mut file = byte_level_json();
        change(&mut file);
        let error = Tokenizer::from_json(file.to_string().as_bytes(), "here/tokenizer.json").unwrap_err().to_string();
        assert!(error.starts_with("here/tokenizer.json: ") && error.contains(says), "{error}");
    };
    refused(&|f| f["model"]["merges"] = json!(["h e", "q x"]), "qx");
    refused(&|f| f["model"]["vocab"]["im"] = json!(258), "258");
    refused(&|f| f["added_tokens"][2]["id"] = json!(270), "</think>");
    refused(&|f| f["added_tokens"][1]["id"] = json!(5), "<|im_end|>");
    refused(&|f| f["model"] = json!({}), "");
    refused(&|f| f["model"]["type"] = json!("Magic"), "");
    refused(&|f| f["model"]["vocab"] = json!({}), "");
    refused(
        &|f| {
            f["post_processor"] = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}],
                "pair": [], "special_tokens": {}})
        },
        "post_processor",
    );
    for bytes in [&b"{"[..], b"[]", b"", "[".repeat(100_000).as_bytes()] {
        assert!(Tokenizer::from_json(bytes, "tokenizer.json").is_err());
    }
    assert!(
        Tokenizer::from_file(std::path::Path::new("/no/such/tokenizer.json"))
            .unwrap_err()
            .to_string()
            .contains("/no/such")
    );
}

fn sentence_piece(prefix: bool) -> GgufVocab {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    let mut types = vec![2, 3, 3];
    for byte in 0..=255 {
        tokens.push(format!("<0x{byte:02X}>"));
        types.push(6);
    }
    for (entry, kind) in [("▁", 1), ("a", 1), ("b", 1), ("ab", 1), ("▁ab", 1), ("\n\n", 4), ("ba", 1)] {
        tokens.push(entry.into());
        types.push(kind);
    }
    let mut scores = vec![0.0; 259];
    scores.extend([-10.0, -11.0, -12.0, -2.0, -3.0, 0.0, -1.0]);
    GgufVocab {
        model: "llama".into(),
        tokens,
        scores,
        token_types: types,
        bos: Some(1),
        eos: Some(2),
        unk: Some(0),
        add_space_prefix: Some(prefix),
        ..GgufVocab::default()
    }
}

#[test]
fn sentence_piece_merges_by_score_and_falls_back_to_bytes() {
    let t = Tokenizer::from_gguf(sentence_piece(true), "x.gguf").unwrap();
    assert_eq!(ids(&t.encode("ab", Specials::Add).unwrap()), [1, 263]);
    // "ba" has the better score, so "bab" is "ba" and "b".
    assert_eq!(ids(&t.encode("bab", Specials::None).unwrap()), [259, 265, 261]);
    let tokens = t.encode("ab é\n\nb", Specials::None).unwrap();
    assert_eq!(ids(&tokens)[..5], [263, 259, 3 + 0xc3, 3 + 0xa9, 264]);
    assert_eq!(t.decode(&tokens[..4], SkipSpecials::Yes).unwrap(), "ab é");
    let bare = Tokenizer::from_gguf(sentence_piece(false), "x.gguf").unwrap();
    assert_eq!(ids(&bare.encode("ab ab", Specials::None).unwrap()), [262, 263]);
    assert_eq!(bare.decode(&[Token(263)], SkipSpecials::Yes).unwrap(), " ab");
}

#[test]
fn malformed_gguf_vocabularies_are_refused_by_key() {
    let refused = |change: &dyn Fn(&mut GgufVocab), says: &str| {
        let mut vocab = sentence_piece(true);
        change(&mut vocab);
        let error = Tokenizer::from_gguf(vocab, "x.gguf").unwrap_err().to_string();
        assert!(error.starts_with("x.gguf: ") && error.contains(says), "{error}");
    };
    refused(&|v| v.tokens[8] = "<0x-1>".into(), "<0x-1>");
    refused(&|v| v.scores.truncate(3), "scores");
    refused(&|v| v.token_types.truncate(3), "token_type");
    refused(&|v| v.eos = Some(100_000), "eos_token_id");
    refused(&|v| v.tokens[261] = "a".into(), "\"a\"");
    refused(&|v| v.model = "bert".into(), "bert");
    refused(&|v| v.tokens.clear(), "tokens");
    refused(&|v| v.scores[5] = f32::NAN, "scores");
    let bpe = |pre: &str, merge: &str| GgufVocab {
        model: "gpt2".into(),
        pre: Some(pre.into()),
        tokens: vec!["a".into(), "b".into(), "ab".into()],
        merges: vec![merge.into()],
        ..GgufVocab::default()
    };
    for (vocab, says) in
        [(bpe("nonsense", "a b"), "nonsense"), (bpe("gpt-2", "a c"), "\"c\""), (bpe("gpt-2", "ab"), "\"ab\"")]
    {
        assert!(Tokenizer::from_gguf(vocab, "x.gguf").unwrap_err().to_string().contains(says));
    }
    assert_eq!(
        ids(&Tokenizer::from_gguf(bpe("smollm", "a b"), "x").unwrap().encode("abb", Specials::None).unwrap()),
        [2, 1]
    );
}

#[test]
fn characters_wait_until_they_are_whole() {
    let t = byte_level();
    let mut stream = t.stream();
    let emoji: Vec<Token> = "🙂".bytes().map(|b| Token(u32::from(b))).collect();
    let pieces: Vec<String> = emoji.iter().map(|&b| stream.push(b).unwrap()).collect();
    assert_eq!(pieces, ["", "", "", "🙂"]);
    assert_eq!(stream.push(Token(0x80)).unwrap(), "\u{fffd}");
    assert_eq!(stream.push(Token(0xe2)).unwrap(), "");
    assert_eq!(stream.finish(), "\u{fffd}");
}

proptest! {
    #[test]
    fn text_survives_the_way_there_and_back(text in "\\PC{0,40}") {
        let t = byte_level();
        prop_assert_eq!(t.decode(&t.encode_plain(&text).unwrap(), SkipSpecials::No).unwrap(), text.clone());
        prop_assert_eq!(t.decode(&t.encode(&text, Specials::None).unwrap(), SkipSpecials::No).unwrap(), text);
    }

    #[test]
    fn a_stream_is_the_whole(tokens in prop::collection::vec(0u32..266, 0..40), spm in any::<bool>()) {
        let t = if spm { Tokenizer::from_gguf(sentence_piece(true), "x").unwrap() } else { byte_level() };
        let tokens: Vec<Token> = tokens.into_iter().map(Token).filter(|&id| t.bytes(id).is_some()).collect();
        let mut stream = t.stream();
        let mut joined: String = tokens.iter().map(|&id| stream.push(id).unwrap()).collect();
        joined.push_str(&stream.finish());
        prop_assert_eq!(joined, t.decode(&tokens, SkipSpecials::Yes).unwrap());
    }

    #[test]
    fn content_never_becomes_a_control_token(parts in prop::collection::vec((any::<bool>(), "(<\\|im_end\\|>|</think>|<\\|im_|end\\|>|a| )?"), 0..8)) {
        let t = byte_level();
        let spans: Vec<Span> = parts.iter().map(|(own, text)| if *own { template(text) } else { content(text) }).collect();
        let tokens = t.encode_spans(&spans).unwrap();
        let added = tokens.iter().filter(|t| t.0 >= 261).count();
        // Joined template text between two contents holds so many names.
        let mut own = String::new();
        for (is_template, text) in &parts {
            if *is_template { own.push_str(text) } else if !text.is_empty() { own.push('\u{0}') }
        }
        let names = own.matches("<|im_end|>").count() + own.matches("</think>").count();
        prop_assert_eq!(added, names);
        let whole: String = parts.iter().map(|(_, text)| text.as_str()).collect();
        prop_assert_eq!(t.decode(&tokens, SkipSpecials::No).unwrap(), whole);
    }
}
