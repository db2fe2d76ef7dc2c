//! From Jinja2's syntax to that of the engine, line by line the same.
//!
//! - Line ends become `\n`.
//! - `{% generation %}` marks what the assistant says; it renders as its body, in a scope of its own.
//! - Escapes in string literals are resolved as Python resolves them.
//! - Operators that act on strings in ways of Python's become filters, see [`operators`].
//! - Tags that would read other templates, and those that Transformers does not know, are refused.

use super::operators;

/// What is wrong, and in which line.
pub(crate) type Problem = (usize, String);

/// Rewrites a template for the engine.
pub(crate) fn rewrite(source: &str) -> Result<String, Problem> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let (mut rest, mut line) = (source.as_str(), 1);
    while let Some(at) = next_tag(rest) {
        let (data, tag) = rest.split_at(at);
        out.push_str(data);
        line += data.matches('\n').count();
        rest = tag;
        let length = if rest.starts_with("{#") {
            rest.find("#}").map(|end| end + 2).ok_or((line, "the comment has no end".to_owned()))?
        } else if let Some(body) = raw_start(rest) {
            let end = raw_end(&rest[body..]).ok_or((line, "`raw` has no end".to_owned()))?;
            body + end
        } else {
            let (length, tag) = Tag { source: rest, line }.rewrite()?;
            out.push_str(&tag);
            line += rest[..length].matches('\n').count();
            rest = &rest[length..];
            continue;
        };
        out.push_str(&rest[..length]);
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    out.push_str(rest);
    Ok(out)
}

fn next_tag(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len().saturating_sub(1)).find(|&n| bytes[n] == b'{' && matches!(bytes[n + 1], b'{' | b'%' | b'#'))
}

/// The length of a `{% raw %}` at the start.
fn raw_start(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("{%")?.trim_start_matches(['-', '+']).trim_start().strip_prefix("raw")?;
    let rest = rest.trim_start();
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).strip_prefix("%}")?;
    Some(text.len() - rest.len())
}

/// Where the matching `{% endraw %}` ends.
fn raw_end(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find("{%").map(|at| from + at) {
        let rest = text[at + 2..].trim_start_matches(['-', '+']).trim_start();
        if let Some(rest) = rest.strip_prefix("endraw") {
            let rest = rest.trim_start();
            if let Some(rest) = rest.strip_prefix(['-', '+']).unwrap_or(rest).strip_prefix("%}") {
                return Some(text.len() - rest.len());
            }
        }
        from = at + 2;
    }
    None
}

/// What a piece of a tag is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Space,
    Name,
    Number,
    Text,
    Sign,
}

/// A piece of a tag; a sign is one character, but for the marks at both ends.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// A `{{ … }}` or `{% … %}` at the start of `source`.
struct Tag<'a> {
    source: &'a str,
    line: usize,
}

impl Tag<'_> {
    /// The length of the tag, and the tag rewritten.
    fn rewrite(&self) -> Result<(usize, String), Problem> {
        let block = self.source.starts_with("{%");
        let (length, mut pieces) = self.pieces(block)?;
        if block && let Some(name) = pieces.iter_mut().find(|p| p.kind == Kind::Name) {
            match name.text.as_str() {
                "generation" => name.text = "with".into(),
                "endgeneration" => name.text = "endwith".into(),
                "include" | "import" | "from" | "extends" => {
                    return Err((
                        self.line,
                        format!("`{}` would read another template, which is not allowed", name.text),
                    ));
                }
                "do" => return Err((self.line, "Encountered unknown tag 'do'.".into())),
                _ => {}
            }
        }
        operators::percent(&mut pieces);
        operators::sums(&mut pieces);
        Ok((length, pieces.into_iter().map(|p| p.text).collect()))
    }

    /// Splits the tag, its two marks included, up to the end mark outside of all brackets.
    fn pieces(&self, block: bool) -> Result<(usize, Vec<Piece>), Problem> {
        let end = if block { "%}" } else { "}}" };
        let mut pieces = vec![Piece { kind: Kind::Sign, text: self.source[..2].into() }];
        let (mut at, mut depth) = (2, 0usize);
        if self.source[at..].starts_with(['-', '+']) {
            pieces.push(Piece { kind: Kind::Sign, text: self.source[at..=at].into() });
            at += 1;
        }
        loop {
            let rest = &self.source[at..];
            let Some(first) = rest.chars().next() else {
                return Err((self.line, format!("the tag has no end, expected {end}")));
            };
            if depth == 0 {
                let mark = usize::from(rest.starts_with(['-', '+']) && rest[1..].starts_with(end));
                if rest[mark..].starts_with(end) {
                    pieces.push(Piece { kind: Kind::Sign, text: rest[..mark + 2].into() });
                    return Ok((at + mark + 2, pieces));
                }
            }
            let run = |test: &dyn Fn(char) -> bool| rest.find(|c| !test(c)).unwrap_or(rest.len());
            let (kind, length) = match first {
                c if c.is_whitespace() => (Kind::Space, run(&char::is_whitespace)),
                c if c.is_alphabetic() || c == '_' => (Kind::Name, run(&|c| c.is_alphanumeric() || c == '_')),
                c if c.is_ascii_digit() => (Kind::Number, number(rest)),
                '\'' | '"' => {
                    let line = || self.line + self.source[..at].matches('\n').count();
                    let (length, text) = literal(rest, first).map_err(|problem| (line(), problem))?;
                    pieces.push(Piece { kind: Kind::Text, text });
                    at += length;
                    continue;
                }
                c => {
                    match c {
                        '(' | '[' | '{' => depth += 1,
                        ')' | ']' | '}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    (Kind::Sign, c.len_utf8())
                }
            };
            pieces.push(Piece { kind, text: rest[..length].into() });
            at += length;
        }
    }
}

/// The length of a number at the start, its exponent included.
fn number(source: &str) -> usize {
    let run = |from: usize| {
        let rest = &source[from..];
        from + rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
    };
    let end = run(0);
    let exponent =
        source[..end].ends_with(['e', 'E']) && !source.starts_with("0x") && source[end..].starts_with(['+', '-']);
    if exponent && source[end + 1..].starts_with(|c: char| c.is_ascii_digit()) { run(end + 1) } else { end }
}

/// A string literal at the start of `source`: its length, and the same with only such escapes as the engine knows.
fn literal(source: &str, quote: char) -> Result<(usize, String), String> {
    let mut value = String::new();
    let mut chars = source.char_indices().skip(1).peekable();
    let mut escapes = false;
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let length = at + 1;
            let text = if escapes { quoted(&value) } else { source[..length].into() };
            return Ok((length, text));
        }
        if c != '\\' {
            value.push(c);
            continue;
        }
        escapes = true;
        let Some((_, escape)) = chars.next() else { break };
        let mut number = |radix: u32, most: usize, mut n: u32| {
            let mut digits = 0;
            while digits < most
                && let Some(digit) = chars.peek().and_then(|(_, c)| c.to_digit(radix))
            {
                n = n * radix + digit;
                digits += 1;
                chars.next();
            }
            (n, digits)
        };
        let code = match escape {
            '\n' => continue,
            '\\' | '\'' | '"' => u32::from(escape),
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '0'..='7' => number(8, 2, escape.to_digit(8).unwrap_or(0)).0,
            'x' | 'u' | 'U' => {
                let length = match escape {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let (n, digits) = number(16, length, 0);
                if digits < length {
                    return Err(format!("the escape \\{escape} needs {length} digits"));
                }
                n
            }
            other => {
                value.push('\\');
                u32::from(other)
            }
        };
        value.push(char::from_u32(code).ok_or("an escape is no character")?);
    }
    Err("the string has no end".into())
}

fn quoted(value: &str) -> String {
    let mut text = String::from("'");
    for c in value.chars() {
        match c {
            '\\' | '\'' => text.extend(['\\', c]),
            _ => text.push(c),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tags_are_rewritten_in_place() {
        let same = "a {# '{{ #} {{ {'a': {'b': 1}}['a'] }} {% if x -%} b\n{%+ endif %} {% raw %}{% do %}{% endraw %}";
        assert_eq!(rewrite(same).unwrap(), same);
        assert_eq!(rewrite("{%- generation -%}x{% endgeneration %}").unwrap(), "{%- with -%}x{% endwith %}");
        assert_eq!(rewrite("a\r\nb\rc").unwrap(), "a\nb\nc");
        assert_eq!(rewrite(r#"{{ "a\x41\u00e9\d\"'\n" }}"#).unwrap(), "{{ 'aAé\\\\d\"\\'\n' }}");
        assert_eq!(rewrite("{{ '%s-%s' % (a, b) ~ c }}").unwrap(), "{{ '%s-%s' |percent_format( (a, b)) ~ c }}");
        assert_eq!(rewrite("{{ '%d' % x.y[1]|int }}").unwrap(), "{{ '%d' |percent_format( x.y[1]|int) }}");
        assert_eq!(
            rewrite("{{ 'a'|safe + b[c + d] + e if f + g }}").unwrap(),
            "{{( 'a'|safe )|add_values( b[(c )|add_values( d)] )|add_values( e )if( f )|add_values( g )}}"
        );
        assert_eq!(
            rewrite("{{- -a - b + c.in - 1e+5 + d -}}").unwrap(),
            "{{-(( -a - b )|add_values( c.in )- 1e+5 )|add_values( d )-}}"
        );
        assert_eq!(rewrite("{% set x = -1 - 2 %}{{ [+1, a-b] }}").unwrap(), "{% set x = -1 - 2 %}{{ [+1, a-b] }}");
        assert_eq!(rewrite("{{ '}}' }}").unwrap(), "{{ '}}' }}");
    }

    #[test]
    fn refusals_name_their_line() {
        assert_eq!(rewrite("\n\n{% include 'x' %}").unwrap_err().0, 3);
        assert_eq!(rewrite("{{ a\n + 'b }}").unwrap_err(), (2, "the string has no end".into()));
        assert_eq!(rewrite("{% do x %}").unwrap_err().0, 1);
        for open in ["{{ a", "{% if", "{# a", "{% raw %}{% endra %}", "{{ (}}"] {
            assert!(rewrite(open).is_err(), "{open}");
        }
    }
}
