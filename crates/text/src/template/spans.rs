//! Which characters of a rendered text came from the conversation.
//!
//! The template is rendered again with stand-ins for characters of the conversation, which show up where those characters
//! went. First every character that is not blank has one. If the text is then the same but for them, they tell exactly. If
//! not, because the template looks into the words, only those characters are replaced without which no added token can
//! come of the words; of the assistant's own words only those that spell control tokens, as templates look for such marks as
//! `</think>` there. That text is used even where it differs from the plain one: safe comes before exact.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::marks::Marks;
use super::render::Sight;
use super::taint::Taint;
use super::{ChatTemplate, Span, SpanKind, TemplateError, TemplateInput};
use crate::tokenizer::Tokenizer;

/// Whose words a string is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    /// Anyone's.
    Content,
    /// The assistant's own.
    Own,
    /// A role, a type, a key or a setting, which templates compare with.
    Structure,
}

impl ChatTemplate {
    /// The text that the model sees, in parts written by the template and by the conversation.
    ///
    /// Where the conversation spells added tokens and the template looks into the words, the text may differ from that of
    /// [`render`](Self::render): a template does not find marks in words that nobody may write.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_spans(&self, input: &TemplateInput, tokenizer: &Tokenizer) -> Result<Vec<Span>, TemplateError> {
        let sight = self.sight(input)?;
        let plain = self.render_sight(input, sight.clone(), &Arc::default())?;
        let added = tokenizer.added_tokens();
        let any = Marks::new(added.iter().map(|(token, _)| token.as_str()));
        let control = Marks::new(added.iter().filter(|(_, special)| *special).map(|(token, _)| token.as_str()));
        let full = |text: &str, words: Words| match words {
            Words::Structure => any.whole(text),
            Words::Content | Words::Own => solid(text),
        };
        if let Some(spans) = self.tainted(input, &sight, &plain, &full)?.and_then(Result::ok)
            && plain.chars().eq(spans.iter().flat_map(|span| span.text.chars()))
        {
            return Ok(spans);
        }
        let marked = |text: &str, words: Words| match words {
            Words::Structure => any.whole(text),
            Words::Own => control.whole_or_part(text),
            Words::Content => any.whole_or_part(text),
        };
        match self.tainted(input, &sight, &plain, &marked)? {
            Some(spans) => spans,
            // Cannot be: there are more stand-ins than characters of added tokens.
            None => Ok(vec![Span { text: plain, kind: SpanKind::Content }]),
        }
    }

    /// Renders with stand-ins at the places that `places` gives for each string; `None` if there are too few stand-ins.
    #[allow(clippy::type_complexity)]
    fn tainted(
        &self,
        input: &TemplateInput,
        sight: &Sight,
        plain: &str,
        places: &dyn Fn(&str, Words) -> Vec<usize>,
    ) -> Result<Option<Result<Vec<Span>, TemplateError>>, TemplateError> {
        let (mut chars, mut taken) = (BTreeSet::new(), BTreeSet::new());
        taken.extend(self.source().chars().chain(plain.chars()));
        let mut collect = |text: &mut String, words: Words| {
            chars.extend(places(text, words).into_iter().filter_map(|at| text[at..].chars().next()));
            taken.extend(text.chars());
        };
        let mut tainted = sight.clone();
        walk(&mut tainted, &mut collect);
        // What a stand-in is written as by `tojson` and others is written with stand-ins.
        chars.extend("\\\"'&;#abcdefgilmnopqrstuxU0123456789".chars());
        let Some(taint) = Taint::new(&chars, &taken) else { return Ok(None) };
        let taint = Arc::new(taint);
        let mut replace = |text: &mut String, words: Words| {
            let places: BTreeSet<usize> = places(text, words).into_iter().collect();
            if !places.is_empty() {
                *text = text.char_indices().map(|(at, c)| if places.contains(&at) { taint.of(c) } else { c }).collect();
            }
        };
        let mut tainted = sight.clone();
        walk(&mut tainted, &mut replace);
        Ok(Some(self.render_sight(input, tainted, &taint).map(|text| split(&text, &taint))))
    }
}

/// Places of all characters that are not blank.
fn solid(text: &str) -> Vec<usize> {
    text.char_indices().filter(|(_, c)| !c.is_whitespace()).map(|(at, _)| at).collect()
}

/// Visits every string of the conversation.
fn walk(sight: &mut Sight, visit: &mut dyn FnMut(&mut String, Words)) {
    for message in &mut sight.messages {
        let own = message.get("role").and_then(Value::as_str) == Some("assistant");
        walk_map(message, if own { Words::Own } else { Words::Content }, visit);
    }
    walk_value(&mut sight.tools, Words::Content, visit);
    let variables = std::mem::take(&mut sight.variables);
    for (name, mut value) in variables {
        walk_value(&mut value, if name == "documents" { Words::Content } else { Words::Structure }, visit);
        sight.variables.insert(name, value);
    }
}

fn walk_map(map: &mut Map<String, Value>, words: Words, visit: &mut dyn FnMut(&mut String, Words)) {
    for (mut key, mut value) in std::mem::take(map) {
        let kept = matches!(key.as_str(), "role" | "type") && value.is_string();
        walk_value(&mut value, if kept { Words::Structure } else { words }, visit);
        visit(&mut key, Words::Structure);
        map.insert(key, value);
    }
}

fn walk_value(value: &mut Value, words: Words, visit: &mut dyn FnMut(&mut String, Words)) {
    match value {
        Value::String(text) => visit(text, words),
        Value::Array(items) => items.iter_mut().for_each(|item| walk_value(item, words, visit)),
        Value::Object(map) => walk_map(map, words, visit),
        _ => {}
    }
}

/// Stand-ins back to characters; blanks between two of them are content too.
fn split(text: &str, taint: &Taint) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut push = |piece: &str, kind: SpanKind| match spans.last_mut() {
        Some(last) if last.kind == kind => last.text.push_str(piece),
        _ if piece.is_empty() => {}
        _ => spans.push(Span { text: piece.into(), kind }),
    };
    let (mut blanks, mut inside) = (String::new(), false);
    for c in text.chars() {
        let content = taint.is_stand_in(c);
        if inside && c.is_whitespace() {
            blanks.push(c);
            continue;
        }
        push(&std::mem::take(&mut blanks), if content { SpanKind::Content } else { SpanKind::Template });
        let kind = if content { SpanKind::Content } else { SpanKind::Template };
        push(taint.original(c).encode_utf8(&mut [0; 4]), kind);
        inside = content;
    }
    push(&blanks, SpanKind::Template);
    spans
}
