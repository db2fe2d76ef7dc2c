//! Operators on strings that the engine does not know, as filters.
//!
//! `'…' % value` formats; `text|safe + text` escapes what is not marked safe, although nothing else is ever escaped.

use super::source::{Kind, Piece};

/// The filter behind `%` on strings.
pub(crate) const PERCENT: &str = "percent_format";
/// The filter behind `+` where a side is marked safe.
pub(crate) const MARKUP: &str = "markup_add";
/// Pieces of an operand of `%` at most.
const LONGEST_OPERAND: usize = 1000;

/// `'…' % operand` → `'…'|percent_format(operand)`.
pub(crate) fn percent(pieces: &mut Vec<Piece>) {
    let mut at = 0;
    while at < pieces.len() {
        let sign = pieces[at].kind == Kind::Sign && pieces[at].text == "%";
        let before = pieces[..at].iter().rposition(|p| p.kind != Kind::Space);
        if sign
            && before.is_some_and(|n| pieces[n].kind == Kind::Text)
            && let Some(end) = operand(pieces, at + 1)
        {
            pieces[at].text = format!("|{PERCENT}(");
            pieces.insert(end, Piece { kind: Kind::Sign, text: ")".into() });
        }
        at += 1;
    }
}

/// Where the operand that starts at `from` ends: a primary with its attributes, subscripts, calls and filters.
fn operand(pieces: &[Piece], from: usize) -> Option<usize> {
    let solid = |n: usize| (n..pieces.len()).find(|&n| pieces[n].kind != Kind::Space);
    let is = |n: usize, text: &str| pieces[n].kind == Kind::Sign && pieces[n].text == text;
    let closed = |open: usize| {
        let mut depth = 0;
        for (n, piece) in
            pieces.iter().enumerate().skip(open).take(LONGEST_OPERAND).filter(|(_, p)| p.kind == Kind::Sign)
        {
            match piece.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" if depth == 1 => return Some(n + 1),
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
        }
        None
    };
    let mut at = solid(from)?;
    if is(at, "-") {
        at = solid(at + 1)?;
    }
    at = if is(at, "(") || is(at, "[") || is(at, "{") { closed(at)? } else { at + 1 };
    while let Some(next) = solid(at) {
        if is(next, ".") || is(next, "|") {
            at = solid(next + 1)? + 1;
        } else if is(next, "(") || is(next, "[") {
            at = closed(next)?;
        } else {
            break;
        }
    }
    Some(at)
}

/// `a|safe + b + c` → `(a|safe)|markup_add(b)|markup_add(c)`.
pub(crate) fn markup(pieces: &mut Vec<Piece>) {
    let safe = |window: &[Piece]| match window {
        [bar, name] => bar.text == "|" && matches!(name.text.as_str(), "safe" | "e" | "escape" | "forceescape"),
        _ => false,
    };
    let solid: Vec<usize> = (0..pieces.len()).filter(|&n| pieces[n].kind != Kind::Space).collect();
    let marked = solid.windows(2).any(|w| safe(&[pieces[w[0]].clone(), pieces[w[1]].clone()]));
    if !marked || pieces.len() > LONGEST_OPERAND {
        return;
    }
    let mut insert: Vec<(usize, String)> = Vec::new();
    let mut at = 1;
    while at + 1 < pieces.len() {
        let end = chain_end(pieces, at);
        let pluses = pluses(pieces, at, end);
        let marked = (at..end.saturating_sub(1)).any(|n| safe(&[pieces[n].clone(), pieces[n + 1].clone()]));
        if let Some(&first) = pluses.first().filter(|_| marked) {
            insert.push((at, "(".into()));
            insert.push((first, format!(")|{MARKUP}(")));
            insert.extend(pluses[1..].iter().map(|&plus| (plus, format!(")|{MARKUP}("))));
            insert.push((end, ")".into()));
            for plus in pluses {
                pieces[plus].text = String::new();
            }
        }
        at = if end > at { end } else { at + 1 };
    }
    for (place, text) in insert.into_iter().rev() {
        pieces.insert(place, Piece { kind: Kind::Sign, text });
    }
}

/// Where a run of sums that starts at `from` ends: at anything that binds less, or at a bracket that closes.
fn chain_end(pieces: &[Piece], from: usize) -> usize {
    let mut depth = 0usize;
    for (n, piece) in pieces.iter().enumerate().take(pieces.len() - 1).skip(from) {
        match piece.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return n,
            ")" | "]" | "}" => depth -= 1,
            "," | ":" | "=" | "<" | ">" | "!" | "-" if depth == 0 => return n,
            "if" | "else" | "and" | "or" | "not" | "in" | "set" | "for" | "elif" if depth == 0 => return n,
            _ => {}
        }
    }
    pieces.len() - 1
}

/// The pluses of a run that stand outside of brackets.
fn pluses(pieces: &[Piece], from: usize, end: usize) -> Vec<usize> {
    let mut depth = 0usize;
    let mut found = Vec::new();
    for (n, piece) in pieces.iter().enumerate().take(end).skip(from) {
        match piece.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            "+" if depth == 0 && piece.kind == Kind::Sign && n > from => found.push(n),
            _ => {}
        }
    }
    found
}
