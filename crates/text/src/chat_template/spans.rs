//! Which characters of a rendered text were content.
//!
//! Content is marked before it goes into the template: each character is replaced by a stand-in from a private-use plane, and
//! the rendering is mapped back. Templates that only place and trim their content render the same text as without marks; then
//! it is known of each character where it came from. Others look into the content: for them only the first character of each
//! name that the tokenizer would recognise is marked.

/// A part of a rendered text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The text.
    pub text: String,
    /// Where it came from.
    pub kind: SpanKind,
}

/// Where text came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The template wrote it.
    Template,
    /// It was said in the conversation.
    Content,
}

/// The stand-ins: a private-use plane that the text does not use.
pub(super) struct Marks {
    plane: u32,
}

const PLANE_15: u32 = 0xF_0000;
const PLANE_16: u32 = 0x10_0000;

impl Marks {
    /// Stand-ins that do not occur in `text`. Should both private-use planes be in use, text from plane 16 becomes other
    /// characters; it never becomes the template's.
    pub(super) fn for_text(text: &str) -> Self {
        let used = text.chars().any(|c| (PLANE_15..PLANE_16).contains(&u32::from(c)));
        Self { plane: if used { PLANE_16 } else { PLANE_15 } }
    }

    /// The stand-in; characters that templates trim or escape, and those beyond the first plane, have none.
    fn mark(&self, c: char) -> char {
        if neutral(c) { c } else { char::from_u32(self.plane + u32::from(c)).unwrap_or(c) }
    }

    fn unmark(&self, c: char) -> Option<char> {
        let n = u32::from(c).checked_sub(self.plane).filter(|&n| n < 0x1_0000)?;
        char::from_u32(n)
    }

    /// Marks every character.
    pub(super) fn all(&self, text: &str) -> String {
        text.chars().map(|c| self.mark(c)).collect()
    }

    /// Marks the first character of each name; only those flagged special if `special_only`.
    pub(super) fn names(&self, text: &str, added: &[(String, bool)], special_only: bool) -> String {
        let wanted = |special: bool| special || !special_only;
        let begins =
            |at: usize| added.iter().any(|(name, special)| wanted(*special) && text[at..].starts_with(name.as_str()));
        text.char_indices().map(|(at, c)| if begins(at) { self.mark(c) } else { c }).collect()
    }

    /// Spans of a rendering of wholly marked content.
    pub(super) fn spans(&self, text: &str) -> Vec<Span> {
        let mut spans = Spans::default();
        let mut open = String::new(); // neutral characters since the last that was not
        for c in text.chars() {
            match self.unmark(c) {
                Some(original) => {
                    // What stands between two characters of content belongs to it.
                    let kind = spans.last().unwrap_or(SpanKind::Template);
                    spans.push(&open, kind);
                    spans.push(original.encode_utf8(&mut [0; 4]), SpanKind::Content);
                    open.clear();
                }
                None if neutral(c) => open.push(c),
                None => {
                    // Trailing neutral characters could be either's: emoji are taken for content, spaces are nobody's.
                    let kind = if open.chars().any(|c| u32::from(c) > 0xFFFF) {
                        SpanKind::Content
                    } else {
                        SpanKind::Template
                    };
                    spans.push(&open, kind);
                    spans.push(c.encode_utf8(&mut [0; 4]), SpanKind::Template);
                    open.clear();
                }
            }
        }
        spans.push(&open, SpanKind::Template);
        spans.0
    }

    /// Spans of a rendering in which only names were marked: each such name is content.
    pub(super) fn named_spans(&self, text: &str, added: &[(String, bool)]) -> Vec<Span> {
        let mut spans = Spans::default();
        let plain: String = text.chars().map(|c| self.unmark(c).unwrap_or(c)).collect();
        let mut end = 0; // of the name under way
        let mut at = 0;
        for c in text.chars() {
            let original = self.unmark(c).unwrap_or(c);
            if original != c {
                let here = &plain[at..];
                let names = added.iter().filter(|(name, _)| here.starts_with(name.as_str()));
                let longest = names.map(|(name, _)| name.len()).max().unwrap_or(original.len_utf8());
                end = end.max(at + longest);
            }
            let kind = if at < end { SpanKind::Content } else { SpanKind::Template };
            spans.push(original.encode_utf8(&mut [0; 4]), kind);
            at += original.len_utf8();
        }
        spans.0
    }
}

/// Characters that stay as they are: those that templates trim, JSON escapes, or that have no stand-in.
fn neutral(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '"' || c == '\\' || u32::from(c) > 0xFFFF
}

#[derive(Default)]
struct Spans(Vec<Span>);

impl Spans {
    fn last(&self) -> Option<SpanKind> {
        self.0.last().map(|span| span.kind)
    }

    fn push(&mut self, text: &str, kind: SpanKind) {
        match self.0.last_mut().filter(|span| span.kind == kind) {
            Some(span) => span.text.push_str(text),
            None if text.is_empty() => {}
            None => self.0.push(Span { text: text.into(), kind }),
        }
    }
}
