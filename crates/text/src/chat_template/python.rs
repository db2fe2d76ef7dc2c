//! Values as Python has them: how they print, what methods strings have, how JSON is written.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value as Any, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat;
use serde_json::Value;

/// What a string that went through `safe` is enclosed in until it is printed: Unicode's noncharacters, which no text holds.
const SAFE: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

/// Makes an environment print and compute as Jinja2 in Python does.
pub(super) fn install(environment: &mut Environment) {
    environment.set_formatter(|out, _, value| {
        if value.is_undefined() {
            return Ok(());
        }
        let text = text(value);
        let text = if text.contains(SAFE) { markup(&text) } else { text };
        out.write_str(&text).map_err(Error::from)
    });
    environment.set_unknown_method_callback(method);
    environment.add_filter("string", |value: Any| text(&value));
    environment.add_filter("safe", |value: Any| format!("{}{}{}", SAFE[0], text(&value), SAFE[1]));
    environment.add_filter("join", join);
    environment.add_filter("trim", |value: Any, chars: Option<String>| {
        let value = text(&value);
        match chars {
            Some(chars) => value.trim_matches(|c| chars.contains(c)).to_owned(),
            None => value.trim().to_owned(),
        }
    });
    environment.add_test("sequence", |value: Any| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Bytes)
    });
    environment.add_test("iterable", |value: Any| {
        matches!(
            value.kind(),
            ValueKind::Seq
                | ValueKind::String
                | ValueKind::Map
                | ValueKind::Iterable
                | ValueKind::Bytes
                | ValueKind::Undefined
        )
    });
    environment.add_test("callable", |_: Any| false);
}

/// A JSON value as templates see it.
pub(super) fn value(json: &Value) -> Any {
    match json {
        Value::Null => Any::from(()),
        Value::Bool(b) => Any::from(*b),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Any::from(n),
            (_, Some(n)) => Any::from(n),
            _ => Any::from(n.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Any::from(text.as_str()),
        Value::Array(list) => list.iter().map(value).collect::<Vec<_>>().into(),
        Value::Object(map) => Any::from_pairs(map.iter().map(|(k, v)| (k.as_str(), value(v)))),
    }
}

/// What `json.dumps` takes a value for.
pub(super) fn json(value: &Any) -> Result<Value, Error> {
    Ok(match value.kind() {
        ValueKind::None => Value::Null,
        ValueKind::Bool => Value::Bool(value.is_true()),
        ValueKind::String => Value::String(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Number if value.is_integer() => match i64::try_from(value.clone()) {
            Ok(n) => n.into(),
            Err(_) => u64::try_from(value.clone())?.into(),
        },
        ValueKind::Number => f64::try_from(value.clone())?.into(),
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.map(|v| json(&v)).collect::<Result<_, _>>()?,
        ValueKind::Map => {
            let entry = |key: Any| Ok((text(&key), json(&value.get_item(&key)?)?));
            Value::Object(value.try_iter()?.map(entry).collect::<Result<_, Error>>()?)
        }
        other => {
            let message = format!("tojson: a value of type {other} has no JSON");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
    })
}

fn join(value: Any, separator: Option<String>, options: Kwargs) -> Result<String, Error> {
    let attribute: Option<String> = options.get("attribute")?;
    options.assert_all_used()?;
    let mut out = String::new();
    let separator = separator.unwrap_or_default();
    for (index, item) in value.try_iter()?.enumerate() {
        if index > 0 {
            out.push_str(&separator);
        }
        let item = match &attribute {
            Some(name) => item.get_attr(name)?,
            None => item,
        };
        out.push_str(&text(&item));
    }
    Ok(out)
}

/// A concatenation with safe strings: Python escapes all of it that was not safe.
fn markup(text: &str) -> String {
    let (mut out, mut depth) = (String::new(), 0usize);
    for c in text.chars() {
        match c {
            c if c == SAFE[0] => depth += 1,
            c if c == SAFE[1] => depth = depth.saturating_sub(1),
            '&' if depth == 0 => out.push_str("&amp;"),
            '<' if depth == 0 => out.push_str("&lt;"),
            '>' if depth == 0 => out.push_str("&gt;"),
            '\'' if depth == 0 => out.push_str("&#39;"),
            '"' if depth == 0 => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

/// `str(value)`
pub(super) fn text(value: &Any) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => repr(value),
    }
}

/// `repr(value)`
fn repr(value: &Any) -> String {
    match value.kind() {
        ValueKind::Undefined => "Undefined".into(),
        ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Number if !value.is_integer() => {
            f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)
        }
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<String> =
                value.try_iter().map(|items| items.map(|v| repr(&v)).collect()).unwrap_or_default();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Map => {
            let item = |key: Any| {
                let value = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", repr(&key), repr(&value))
            };
            let items: Vec<String> = value.try_iter().map(|keys| keys.map(item).collect()).unwrap_or_default();
            format!("{{{}}}", items.join(", "))
        }
        _ => value.to_string(),
    }
}

/// A string as Python's `repr` quotes it.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// A float as Python writes it: the shortest form that reads back, with `.0` or an exponent.
fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    let size = x.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let scientific = format!("{x:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(rest) => ('-', rest),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let plain = format!("{x}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

/// Methods of Python's strings and lists that `pycompat` has not.
fn method(state: &mut State, value: &Any, name: &str, args: &[Any]) -> Result<Any, Error> {
    if let Some(text) = value.as_str() {
        match (name, args.first().and_then(Any::as_str)) {
            ("removeprefix", Some(prefix)) => return Ok(text.strip_prefix(prefix).unwrap_or(text).into()),
            ("removesuffix", Some(suffix)) => return Ok(text.strip_suffix(suffix).unwrap_or(text).into()),
            ("rsplit", separator) => return Ok(rsplit(text, separator, args.get(1))),
            ("partition", Some(separator)) => {
                let (before, found, after) = match text.split_once(separator) {
                    Some((before, after)) => (before, separator, after),
                    None => (text, "", ""),
                };
                return Ok([before, found, after].map(Any::from).to_vec().into());
            }
            ("rpartition", Some(separator)) => {
                let (before, found, after) = match text.rsplit_once(separator) {
                    Some((before, after)) => (before, separator, after),
                    None => ("", "", text),
                };
                return Ok([before, found, after].map(Any::from).to_vec().into());
            }
            ("isdigit" | "isnumeric" | "isdecimal", _) => {
                return Ok((!text.is_empty() && text.chars().all(char::is_numeric)).into());
            }
            ("index", Some(part)) => {
                return match text.find(part) {
                    Some(at) => Ok(text[..at].chars().count().into()),
                    None => Err(Error::new(ErrorKind::InvalidOperation, "substring not found")),
                };
            }
            _ => {}
        }
    }
    if value.kind() == ValueKind::Map && name == "get" && (1..=2).contains(&args.len()) {
        let found = value.get_item(&args[0]).ok().filter(|v| !v.is_undefined());
        return Ok(found.or(args.get(1).cloned()).unwrap_or(Any::from(())));
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

fn rsplit(text: &str, separator: Option<&str>, limit: Option<&Any>) -> Any {
    let limit = limit.and_then(|n| i64::try_from(n.clone()).ok()).filter(|&n| n >= 0).map(|n| n as usize);
    let mut parts: Vec<&str> = match (separator, limit) {
        (Some(separator), Some(limit)) => text.rsplitn(limit + 1, separator).collect(),
        (Some(separator), None) => text.rsplit(separator).collect(),
        (None, _) => text.split_whitespace().rev().collect(),
    };
    parts.reverse();
    parts.into_iter().map(Any::from).collect::<Vec<_>>().into()
}

/// How `json.dumps` writes.
pub(super) struct JsonStyle {
    pub indent: Option<usize>,
    pub ensure_ascii: bool,
    pub sort_keys: bool,
    pub separators: Option<Vec<String>>,
}

impl JsonStyle {
    pub(super) fn dump(&self, value: &Value) -> String {
        let mut out = String::new();
        self.write(value, 0, &mut out);
        out
    }

    fn separator(&self, index: usize) -> &str {
        match self.separators.as_deref().and_then(|pair| pair.get(index)) {
            Some(given) => given,
            None if index == 1 => ": ",
            None if self.indent.is_some() => ",",
            None => ", ",
        }
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Number(n) => match n.as_f64().filter(|_| n.is_f64()) {
                Some(x) => out.push_str(&float(x)),
                None => out.push_str(&n.to_string()),
            },
            Value::String(text) => self.string(text, out),
            Value::Array(list) if list.is_empty() => out.push_str("[]"),
            Value::Object(map) if map.is_empty() => out.push_str("{}"),
            Value::Array(list) => {
                out.push('[');
                for (index, item) in list.iter().enumerate() {
                    if index > 0 {
                        out.push_str(self.separator(0));
                    }
                    self.line(depth + 1, out);
                    self.write(item, depth + 1, out);
                }
                self.line(depth, out);
                out.push(']');
            }
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                if self.sort_keys {
                    entries.sort_by_key(|(key, _)| *key);
                }
                out.push('{');
                for (index, (key, item)) in entries.into_iter().enumerate() {
                    if index > 0 {
                        out.push_str(self.separator(0));
                    }
                    self.line(depth + 1, out);
                    self.string(key, out);
                    out.push_str(self.separator(1));
                    self.write(item, depth + 1, out);
                }
                self.line(depth, out);
                out.push('}');
            }
        }
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if u32::from(c) < 0x20 || (self.ensure_ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}"); // a String takes everything
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}
