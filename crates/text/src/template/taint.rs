//! Stand-ins for characters: a text in which some characters are replaced one for one by private ones, so that they can be
//! found again in what a template makes of it.

use std::collections::{BTreeSet, HashMap};

/// Which private character stands for which.
#[derive(Debug, Default)]
pub(crate) struct Taint {
    stand_in: HashMap<char, char>,
    original: HashMap<char, char>,
}

impl Taint {
    /// Stand-ins for all these characters, in their order, none of which is among `taken`; `None` if there are too many.
    pub(crate) fn new(chars: &BTreeSet<char>, taken: &BTreeSet<char>) -> Option<Self> {
        let mut free = ('\u{f0000}'..='\u{ffffd}').chain('\u{100000}'..='\u{10fffd}').filter(|c| !taken.contains(c));
        let mut taint = Self::default();
        for &c in chars {
            let private = free.next()?;
            taint.stand_in.insert(c, private);
            taint.original.insert(private, c);
        }
        Some(taint)
    }

    /// The stand-in of a character; itself if it has none.
    pub(crate) fn of(&self, c: char) -> char {
        self.stand_in.get(&c).copied().unwrap_or(c)
    }

    /// Whether there are no stand-ins.
    pub(crate) fn is_empty(&self) -> bool {
        self.original.is_empty()
    }

    /// Whether the character is a stand-in.
    pub(crate) fn is_stand_in(&self, c: char) -> bool {
        !self.original.is_empty() && self.original.contains_key(&c)
    }

    /// What a character stands for; itself if it is no stand-in.
    pub(crate) fn original(&self, c: char) -> char {
        if self.original.is_empty() { c } else { self.original.get(&c).copied().unwrap_or(c) }
    }

    /// Appends what `c` is written as; where `c` is a stand-in, so are the characters it is written with.
    pub(crate) fn push_as(&self, c: char, written: &str, out: &mut String) {
        let tainted = self.is_stand_in(c);
        out.extend(written.chars().map(|w| if tainted { self.of(w) } else { w }));
    }
}
