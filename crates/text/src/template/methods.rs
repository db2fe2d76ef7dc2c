//! The methods of Python's strings, dicts and lists that a sandboxed template may call. Those that change a list or dict in
//! place are refused, as Transformers refuses them.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{ObjectRepr, Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::args::Args;
use super::python::{List, list, pairs, printable};

/// Names that an attribute of a dict always finds, whatever its keys.
pub(crate) const DICT: [&str; 11] =
    ["get", "items", "keys", "values", "copy", "pop", "popitem", "update", "setdefault", "clear", "fromkeys"];

/// Calls a method of a string, dict or list.
pub(crate) fn call(state: &State, of: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(method, args)?;
    let result = match of.kind() {
        ValueKind::String => string(state, of.as_str().unwrap_or_default(), method, args),
        ValueKind::Map => dict(of, method, args),
        ValueKind::Seq | ValueKind::Iterable => sequence(state, of, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }?;
    // The engine pays for its own lists only.
    if let Some(made) = result.downcast_object_ref::<List>() {
        state.consume_fuel(made.0.len() as u64)?;
    }
    Ok(result)
}

/// The items of a value, each of which is paid for.
pub(crate) fn items(state: &State, of: &Value) -> Result<Vec<Value>, Error> {
    let mut items = Vec::new();
    for item in of.try_iter()?.checked() {
        state.consume_fuel(1)?;
        items.push(item?);
    }
    Ok(items)
}

/// Pays for data before it is made.
pub(crate) fn charge(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

fn unsafe_method(method: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("`{method}` changes a value in place, which a template must not"))
}

fn dict(of: &Value, method: &str, mut args: Args) -> Result<Value, Error> {
    let Some(object) = of.as_object().filter(|o| o.repr() == ObjectRepr::Map) else {
        return Err(Error::from(ErrorKind::UnknownMethod));
    };
    let result = match method {
        "get" => {
            let (key, default) = (args.need("key")?, args.take("default")?);
            object.get_value(&key).or(default).unwrap_or_else(|| Value::from(()))
        }
        "keys" => list(pairs(object).map(|(k, _)| k).collect()),
        "values" => list(pairs(object).map(|(_, v)| v).collect()),
        "items" => list(pairs(object).map(|(k, v)| Value::from(Tuple::from([k, v]))).collect()),
        "copy" => of.clone(),
        "pop" | "popitem" | "update" | "setdefault" | "clear" => return Err(unsafe_method(method)),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    };
    args.done()?;
    Ok(result)
}

fn sequence(state: &State, of: &Value, method: &str, mut args: Args) -> Result<Value, Error> {
    let result = match method {
        "count" => {
            let wanted = args.need("value")?;
            Value::from(items(state, of)?.iter().filter(|item| **item == wanted).count())
        }
        "index" => {
            let wanted = args.need("value")?;
            let at = items(state, of)?.iter().position(|item| *item == wanted);
            Value::from(at.ok_or_else(|| args.error("no such item"))?)
        }
        "copy" => list(items(state, of)?),
        "append" | "extend" | "insert" | "pop" | "remove" | "reverse" | "sort" | "clear" => {
            return Err(unsafe_method(method));
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    };
    args.done()?;
    Ok(result)
}

/// `str.isspace` of a character.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip` and its one-sided kin.
pub(crate) fn strip(s: &str, chars: Option<&str>, left: bool, right: bool) -> String {
    let strips = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let s = if left { s.trim_start_matches(strips) } else { s };
    if right { s.trim_end_matches(strips).into() } else { s.into() }
}

/// `str.capitalize`.
pub(crate) fn capitalize(s: &str) -> String {
    let mut chars = s.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect())
        .unwrap_or_default()
}

/// `str.replace`, of which the result is paid for first.
pub(crate) fn replace(state: &State, s: &str, old: &str, new: &str, count: Option<i64>) -> Result<String, Error> {
    let most = count.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    if new.len() > old.len() {
        let found = if old.is_empty() { s.chars().count() + 1 } else { s.matches(old).count() };
        charge(state, found.min(most).saturating_mul(new.len() - old.len()))?;
    }
    Ok(s.replacen(old, new, most))
}

fn string(state: &State, s: &str, method: &str, mut args: Args) -> Result<Value, Error> {
    let all = |test: &dyn Fn(char) -> bool| Value::from(!s.is_empty() && s.chars().all(test));
    let result = match method {
        "strip" | "lstrip" | "rstrip" => {
            let chars = args.string("chars")?;
            Value::from(strip(s, chars.as_deref(), method != "rstrip", method != "lstrip"))
        }
        "split" | "rsplit" => {
            let (separator, most) = (args.string("sep")?, args.integer("maxsplit")?);
            split(s, separator.as_deref(), most.and_then(|n| usize::try_from(n).ok()), method == "rsplit", &args)?
        }
        "splitlines" => splitlines(s, args.flag("keepends")?),
        "partition" | "rpartition" => {
            let separator = args.need_string("sep")?;
            partition(s, &separator, method == "rpartition")
        }
        "startswith" | "endswith" => {
            let affix = args.need("prefix")?;
            let slice = bounds(s, args.integer("start")?, args.integer("end")?);
            let has = |affix: &str| {
                slice.is_some_and(|s| if method == "startswith" { s.starts_with(affix) } else { s.ends_with(affix) })
            };
            match affix.as_str() {
                Some(affix) => Value::from(has(affix)),
                None if affix.is_tuple() => Value::from(affix.try_iter()?.any(|a| a.as_str().is_some_and(has))),
                None => return Err(args.error("the affix must be a string or a tuple of strings")),
            }
        }
        "find" | "rfind" | "index" | "rindex" => {
            let wanted = args.need_string("sub")?;
            let (start, end) = (args.integer("start")?, args.integer("end")?);
            let offset = start.map_or(0, |n| if n < 0 { (s.chars().count() as i64 + n).max(0) } else { n });
            let slice = bounds(s, start, end);
            let at = slice.and_then(|t| if method.starts_with('r') { t.rfind(&wanted) } else { t.find(&wanted) });
            match at.and_then(|at| slice.and_then(|t| t.get(..at))) {
                Some(before) => Value::from(offset + before.chars().count() as i64),
                None if method.ends_with("find") => Value::from(-1),
                None => return Err(args.error("substring not found")),
            }
        }
        "count" => {
            let wanted = args.need_string("sub")?;
            let slice = bounds(s, args.integer("start")?, args.integer("end")?).unwrap_or_default();
            Value::from(if wanted.is_empty() { slice.chars().count() + 1 } else { slice.matches(&wanted).count() })
        }
        "replace" => {
            let (old, new) = (args.need_string("old")?, args.need_string("new")?);
            Value::from(replace(state, s, &old, &new, args.integer("count")?)?)
        }
        "removeprefix" => Value::from(s.strip_prefix(args.need_string("prefix")?.as_str()).unwrap_or(s)),
        "removesuffix" => Value::from(s.strip_suffix(args.need_string("suffix")?.as_str()).unwrap_or(s)),
        "join" => {
            let mut out = String::new();
            for (n, item) in args.need("iterable")?.try_iter()?.checked().enumerate() {
                let item = item?;
                let text = item.as_str().ok_or_else(|| args.error("expected strings"))?;
                charge(state, s.len() + text.len())?;
                out.push_str(if n > 0 { s } else { "" });
                out.push_str(text);
            }
            Value::from(out)
        }
        "upper" => Value::from(s.to_uppercase()),
        "lower" => Value::from(s.to_lowercase()),
        "casefold" => Value::from(s.to_lowercase().replace('ß', "ss")),
        "capitalize" => Value::from(capitalize(s)),
        "title" => Value::from(title(s)),
        "swapcase" => Value::from(s.chars().map(swapped).collect::<String>()),
        "zfill" => {
            let width = usize::try_from(args.integer("width")?.unwrap_or(0)).unwrap_or(0);
            let missing = width.saturating_sub(s.chars().count());
            charge(state, missing)?;
            let (sign, digits) = s.split_at(usize::from(s.starts_with(['+', '-'])));
            Value::from(format!("{sign}{}{digits}", "0".repeat(missing)))
        }
        "ljust" | "rjust" | "center" => {
            let width = usize::try_from(args.integer("width")?.unwrap_or(0)).unwrap_or(0);
            let fill = args.string("fillchar")?.unwrap_or_else(|| " ".into());
            if fill.chars().count() != 1 {
                return Err(args.error("the fill must be one character"));
            }
            let missing = width.saturating_sub(s.chars().count());
            charge(state, missing.saturating_mul(fill.len()))?;
            let left = match method {
                "ljust" => 0,
                "rjust" => missing,
                _ => missing / 2 + (missing & width & 1),
            };
            Value::from(fill.repeat(left) + s + &fill.repeat(missing - left))
        }
        "format" => {
            let mut values = args.rest();
            charge_widths(state, s, &values)?;
            values.extend(args.named_value());
            return format(FormatStyle::StrFormat, s, &values).map(Value::from);
        }
        "isspace" => all(&is_space),
        "isdigit" | "isdecimal" => all(&|c| c.is_numeric() && (c.is_ascii_digit() || !c.is_ascii())),
        "isnumeric" => all(&char::is_numeric),
        "isalnum" => all(&char::is_alphanumeric),
        "isalpha" => all(&char::is_alphabetic),
        "isascii" => Value::from(s.is_ascii()),
        "isprintable" => Value::from(s.chars().all(printable)),
        "islower" => Value::from(s.chars().any(char::is_lowercase) && !s.chars().any(char::is_uppercase)),
        "isupper" => Value::from(s.chars().any(char::is_uppercase) && !s.chars().any(char::is_lowercase)),
        "istitle" => Value::from(s.chars().any(char::is_alphabetic) && title(s) == s),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    };
    args.done()?;
    Ok(result)
}

/// Widths in a format are paid for: they are made of blanks.
pub(crate) fn charge_widths(state: &State, pattern: &str, values: &[Value]) -> Result<(), Error> {
    let digits = pattern.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty());
    let mut width: u64 = digits.map(|run| run.parse::<u64>().unwrap_or(u64::MAX)).fold(0, u64::saturating_add);
    if pattern.contains('*') || pattern.matches('{').count() > pattern.matches('}').count() || pattern.contains(":{") {
        let integers = values.iter().filter_map(|v| i64::try_from(v.clone()).ok()).map(i64::unsigned_abs);
        width = integers.fold(width, u64::saturating_add);
    }
    state.consume_fuel(width / 64)
}

/// The characters `start..end` as Python counts them; `None` if they begin after the end.
fn bounds(s: &str, start: Option<i64>, end: Option<i64>) -> Option<&str> {
    if start.is_none() && end.is_none() {
        return Some(s);
    }
    let len = s.chars().count() as i64;
    let place = |n: i64| if n < 0 { (len + n).max(0) } else { n };
    let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(len)).min(len));
    if start > len || start > end {
        return None;
    }
    let byte = |n: i64| s.char_indices().nth(usize::try_from(n).unwrap_or(0)).map_or(s.len(), |(at, _)| at);
    s.get(byte(start)..byte(end))
}

fn split(s: &str, separator: Option<&str>, most: Option<usize>, right: bool, args: &Args) -> Result<Value, Error> {
    let most = most.unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = Vec::new();
    match separator {
        Some("") => return Err(args.error("empty separator")),
        Some(separator) if right => {
            parts.extend(s.rsplitn(most.saturating_add(1), separator));
            parts.reverse();
        }
        Some(separator) => parts.extend(s.splitn(most.saturating_add(1), separator)),
        None => {
            let mut rest = if right { s.trim_end_matches(is_space) } else { s.trim_start_matches(is_space) };
            while !rest.is_empty() {
                let cut = if right { rest.rfind(is_space) } else { rest.find(is_space) };
                match cut.filter(|_| parts.len() < most) {
                    Some(at) if right => {
                        let (before, after) = rest.split_at(at);
                        parts.push(after.trim_start_matches(is_space));
                        rest = before.trim_end_matches(is_space);
                    }
                    Some(at) => {
                        let (before, after) = rest.split_at(at);
                        parts.push(before);
                        rest = after.trim_start_matches(is_space);
                    }
                    None => {
                        parts.push(if right {
                            rest.trim_start_matches(|c| parts.len() < most && is_space(c))
                        } else {
                            rest
                        });
                        rest = "";
                    }
                }
            }
            if right {
                parts.reverse();
            }
        }
    }
    Ok(list(parts.into_iter().map(Value::from).collect()))
}

fn splitlines(s: &str, keep: bool) -> Value {
    let is_end = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let (mut lines, mut rest) = (Vec::new(), s);
    while let Some(at) = rest.find(is_end) {
        let after = &rest[at..];
        let end = if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        lines.push(Value::from(&rest[..if keep { at + end } else { at }]));
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        lines.push(Value::from(rest));
    }
    list(lines)
}

fn partition(s: &str, separator: &str, right: bool) -> Value {
    let found = if right { s.rsplit_once(separator) } else { s.split_once(separator) };
    let parts = match found {
        Some((before, after)) => [before, separator, after],
        None if right => ["", "", s],
        None => [s, "", ""],
    };
    Value::from(Tuple::from(parts.map(Value::from)))
}

/// `str.title`: a letter after anything but a letter is upper case.
fn title(s: &str) -> String {
    let (mut out, mut inside) = (String::new(), false);
    for c in s.chars() {
        if inside {
            out.extend(c.to_lowercase())
        } else {
            out.extend(c.to_uppercase())
        }
        inside = c.is_alphabetic();
    }
    out
}

fn swapped(c: char) -> char {
    if c.is_uppercase() { c.to_lowercase().next().unwrap_or(c) } else { c.to_uppercase().next().unwrap_or(c) }
}
