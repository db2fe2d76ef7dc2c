//! Operators that Python means otherwise than the engine, as filters.
//!
//! `'…' % value` formats. `text|safe + text` escapes what is not marked safe, although nothing else is ever escaped; and
//! lists are added at once, since sums put off until they are needed grow without being paid for.

use super::source::{Kind, Piece};

/// The filter behind `%` on strings.
pub(crate) const PERCENT: &str = "percent_format";
/// The filter behind `+`.
pub(crate) const ADD: &str = "add_values";
/// Names that bind less than a sum.
const BOUNDARIES: [&str; 12] =
    ["if", "elif", "else", "and", "or", "not", "in", "set", "for", "call", "filter", "recursive"];
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

/// `a + b - c + d` → `((a)|add(b) - c)|add(d)`, at every depth of brackets.
pub(crate) fn sums(pieces: &mut Vec<Piece>) {
    let mut insert: Vec<(usize, String)> = Vec::new();
    let first = pieces.iter().skip(1).position(|p| !matches!(p.text.as_str(), "-" | "+")).map_or(1, |n| n + 1);
    let mut runs = vec![Run { start: first, signs: Vec::new() }];
    let mut operand = false;
    for n in first..pieces.len().saturating_sub(1) {
        let piece = &pieces[n];
        let ends = match (piece.kind, piece.text.as_str()) {
            (Kind::Space, _) => continue,
            (Kind::Sign, "(" | "[" | "{") => {
                runs.push(Run { start: n + 1, signs: Vec::new() });
                operand = false;
                continue;
            }
            (Kind::Sign, ")" | "]" | "}") => {
                if runs.len() > 1 {
                    runs.pop().into_iter().for_each(|run| run.close(n, &mut insert));
                }
                operand = true;
                continue;
            }
            (Kind::Sign, sign @ ("+" | "-")) if operand => {
                if let Some(run) = runs.last_mut() {
                    run.signs.push((n, sign == "+"));
                }
                operand = false;
                continue;
            }
            (Kind::Sign, sign) => matches!(sign, "," | ":" | "=" | "<" | ">" | "!"),
            (Kind::Name, name) => BOUNDARIES.contains(&name) && !follows(pieces, n, "."),
            _ => false,
        };
        operand = !ends && piece.kind != Kind::Sign;
        if ends && let Some(run) = runs.last_mut() {
            std::mem::replace(run, Run { start: n + 1, signs: Vec::new() }).close(n, &mut insert);
        }
    }
    let end = pieces.len().saturating_sub(1);
    runs.into_iter().for_each(|run| run.close(end, &mut insert));
    insert.sort_by_key(|(place, _)| *place);
    let mut insert = insert.into_iter().peekable();
    let mut out = Vec::with_capacity(pieces.len() + insert.len());
    for (n, piece) in std::mem::take(pieces).into_iter().enumerate() {
        let mut adds = false;
        while let Some((_, text)) = insert.next_if(|(place, _)| *place == n) {
            adds |= text.ends_with(&format!("{ADD}("));
            out.push(Piece { kind: Kind::Sign, text });
        }
        if !adds {
            out.push(piece);
        }
    }
    *pieces = out;
}

fn follows(pieces: &[Piece], n: usize, sign: &str) -> bool {
    pieces[..n].iter().rfind(|p| p.kind != Kind::Space).is_some_and(|p| p.kind == Kind::Sign && p.text == sign)
}

/// A run of sums: where it starts, and its binary signs with whether each is a plus.
struct Run {
    start: usize,
    signs: Vec<(usize, bool)>,
}

impl Run {
    /// Where the run ends, pluses become filters. A plus is replaced by what is inserted at its place.
    fn close(self, end: usize, insert: &mut Vec<(usize, String)>) {
        let mut plus_before = false;
        let mut opens = 0;
        for &(place, plus) in &self.signs {
            if plus {
                opens += usize::from(!plus_before);
                insert.push((place, format!(")|{ADD}(")));
            } else if plus_before {
                insert.push((place, ")".into()));
            }
            plus_before = plus;
        }
        if plus_before {
            insert.push((end, ")".into()));
        }
        if opens > 0 {
            insert.push((self.start, "(".repeat(opens)));
        }
    }
}
