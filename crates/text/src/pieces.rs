//! From a vocabulary entry to the bytes it stands for.
//!
//! Byte-level BPE writes each byte as a printable character (GPT-2's table); SentencePiece writes a space as `▁` and a lone
//! byte as `<0xNN>`. Which of the two a tokenizer uses is told by its decoder.

use serde_json::Value;

/// How entries stand for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// Each character stands for a byte.
    ByteLevel,
    /// `▁` is a space, `<0xNN>` a byte; the first space of a text is dropped if the encoder added one.
    SentencePiece { drop_first_space: bool },
    /// Anything else: entries are text, joined by the library's own decoder.
    Other,
}

impl Pieces {
    /// Reads the `decoder` of a `tokenizer.json`.
    pub(crate) fn of_decoder(decoder: &Value) -> Self {
        let steps: Vec<&Value> = match decoder["decoders"].as_array() {
            Some(list) => list.iter().collect(),
            None => vec![decoder],
        };
        let has = |kind: &str| steps.iter().find(|s| s["type"] == kind);
        if has("ByteLevel").is_some() {
            return Self::ByteLevel;
        }
        let replaces = has("Replace").is_some_and(|s| s["pattern"]["String"] == "▁" && s["content"] == " ");
        if replaces || has("ByteFallback").is_some() {
            let strips = has("Strip").is_some_and(|s| s["content"] == " " && s["start"].as_u64() == Some(1));
            return Self::SentencePiece { drop_first_space: strips };
        }
        match has("Metaspace") {
            Some(s) if s["replacement"] == "▁" => Self::SentencePiece {
                drop_first_space: s["prepend_scheme"] != "never" && s["add_prefix_space"] != false,
            },
            _ => Self::Other,
        }
    }

    /// The bytes that an entry stands for within a text.
    pub(crate) fn bytes(self, entry: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => entry.chars().map(byte_of).collect::<Option<_>>().unwrap_or_else(|| entry.into()),
            Self::SentencePiece { .. } => match lone_byte(entry) {
                Some(byte) => vec![byte],
                None => entry.replace('▁', " ").into_bytes(),
            },
            Self::Other => entry.into(),
        }
    }
}

/// `<0xNN>` → the byte.
pub(crate) fn lone_byte(entry: &str) -> Option<u8> {
    let digits = entry.strip_prefix("<0x")?.strip_suffix('>')?;
    let plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if plain { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// The byte behind a character of GPT-2's table: printable Latin-1 stands for itself, the other bytes follow from U+0100.
fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        n @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => u8::try_from(n).ok(),
        n @ 0x100..=0x120 => u8::try_from(n - 0x100).ok(), // 0x00–0x20
        n @ 0x121..=0x142 => u8::try_from(n - 0x121 + 0x7f).ok(), // 0x7f–0xa0
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_covers_every_byte_once() {
        let mut seen = [false; 256];
        for byte in (0..0x200).filter_map(char::from_u32).filter_map(byte_of) {
            assert!(!std::mem::replace(&mut seen[usize::from(byte)], true), "{byte:#x} twice");
        }
        assert!(seen.iter().all(|&s| s));
        assert_eq!(Pieces::ByteLevel.bytes("Ġhi"), b" hi");
        assert_eq!(Pieces::ByteLevel.bytes("<|a b|>"), b"<|a b|>");
    }

    #[test]
    fn decoders_tell_what_entries_are() {
        let byte_level = json!({"type": "Sequence", "decoders": [{"type": "ByteLevel"}]});
        assert_eq!(Pieces::of_decoder(&byte_level), Pieces::ByteLevel);
        let llama = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        assert_eq!(Pieces::of_decoder(&llama), Pieces::SentencePiece { drop_first_space: true });
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": false});
        assert_eq!(Pieces::of_decoder(&metaspace), Pieces::SentencePiece { drop_first_space: false });
        assert_eq!(Pieces::of_decoder(&Value::Null), Pieces::Other);
        assert_eq!(Pieces::SentencePiece { drop_first_space: true }.bytes("<0xE4>"), [0xe4]);
        for not_a_byte in ["<0x-1>", "<0x+1>", "<0x1>", "<0x100>", "0x10"] {
            assert_eq!(lone_byte(not_a_byte), None);
        }
    }
}
