//! Subjects by code point: one spelling, the base of a variant, and which half a base belongs to.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::picture_recipe::Bases;

/// What a picture may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// To learn from.
    Train,
    /// Never to learn from.
    HeldOut,
}

impl Split {
    /// `train` or `held-out`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::HeldOut => "held-out",
        }
    }
}

/// Says that a character is to be shown as a picture; some write it, some do not.
const VARIATION: u32 = 0xfe0f;
/// Joins characters into one picture.
const JOINER: &str = "200d";

/// One spelling of code points in hex: lower case, without leading zeros and variation selectors, joined by `-`. `None` if it
/// is anything else, so that the result is always a harmless file name.
#[must_use]
pub fn normal(code: &str) -> Option<String> {
    let parts = code.split(['-', '_', ' ']).map(|part| {
        let digits = !part.is_empty() && part.len() <= 6 && part.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u32::from_str_radix(part, 16).ok()).flatten()
    });
    let parts = parts.collect::<Option<Vec<u32>>>()?;
    let parts: Vec<_> = parts.iter().filter(|&&p| p != VARIATION).map(|part| format!("{part:x}")).collect();
    Some(parts.join("-")).filter(|id| !id.is_empty())
}

/// The base of a subject: without skin tones, genders and hair.
#[must_use]
pub fn base(id: &str, bases: &Bases) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in id.split('-') {
        if bases.modifiers.contains(part) && !parts.is_empty() {
            continue;
        }
        if bases.joined.contains(part) && !parts.is_empty() {
            parts.pop_if(|last| *last == JOINER);
            continue;
        }
        parts.push(bases.parts.get(part).map_or(part, String::as_str));
    }
    let whole = parts.join("-");
    bases.wholes.get(&whole).cloned().unwrap_or(whole)
}

/// The half of a base: a share of all hashes is held out.
#[must_use]
pub fn split(base: &str, held_out: f64) -> Split {
    if (number(base) as f64) < held_out * (1u64 << 48) as f64 { Split::HeldOut } else { Split::Train }
}

/// A number below 2⁴⁸ that stands for a text: its hash.
pub fn number(text: &str) -> u64 {
    Sha256::digest(text.as_bytes()).iter().take(6).fold(0, |number, &byte| number << 8 | u64::from(byte))
}
