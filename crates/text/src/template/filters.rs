//! Jinja2's filters, tests and globals where the engine's own differ from what Transformers gives a template.

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::NaiveDateTime;
use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Rest, Tuple, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::args::Args;
use super::json::Json;
use super::methods::{self, capitalize, charge, charge_widths, is_space, replace, strip};
use super::operators::{ADD, PERCENT};
use super::python::{as_float, is_callable, list, str_of};
use super::taint::Taint;

/// Filters of the engine that Jinja2 does not have.
const FOREIGN: [&str; 5] = ["split", "lines", "bool", "chain", "zip"];

/// Makes the engine's names those of Jinja2 in Transformers.
pub(crate) fn register(env: &mut Environment<'_>, taint: &Arc<Taint>) {
    for name in FOREIGN {
        env.remove_filter(name);
    }
    type Filter = fn(&State, &Taint, &Value, Args) -> Result<Value, Error>;
    let filters: [(&'static str, Filter); 27] = [
        ("tojson", tojson),
        ("string", |_, taint, value, _| text(value, taint)),
        ("upper", |_, taint, value, _| Ok(str_of(value, taint)?.to_uppercase().into())),
        ("lower", |_, taint, value, _| Ok(str_of(value, taint)?.to_lowercase().into())),
        ("capitalize", |_, taint, value, _| Ok(capitalize(&str_of(value, taint)?).into())),
        ("title", |_, taint, value, _| Ok(title(&str_of(value, taint)?).into())),
        ("trim", |_, taint, value, mut args| {
            Ok(strip(&str_of(value, taint)?, args.string("chars")?.as_deref(), true, true).into())
        }),
        ("replace", |state, taint, value, mut args| {
            let (old, new) = (str_of(&args.need("old")?, taint)?, str_of(&args.need("new")?, taint)?);
            Ok(replace(state, &str_of(value, taint)?, &old, &new, args.integer("count")?)?.into())
        }),
        ("default", default),
        ("d", default),
        ("length", length),
        ("count", length),
        ("items", items),
        ("list", |state, _, value, _| sized(state, value).map(list)),
        ("first", |_, _, value, _| Ok(value.try_iter()?.next().unwrap_or(Value::UNDEFINED))),
        ("last", |state, _, value, _| Ok(sized(state, value)?.into_iter().next_back().unwrap_or(Value::UNDEFINED))),
        ("join", join),
        ("indent", indent),
        ("int", int),
        ("float", |_, _, value, mut args| {
            let default = args.take("default")?.unwrap_or_else(|| Value::from(0.0));
            Ok(number(value).map_or(default, Value::from))
        }),
        ("escape", escape),
        ("e", escape),
        ("forceescape", |_, taint, value, _| Ok(Value::from_safe_string(escaped(&str_of(value, taint)?, taint)))),
        ("wordcount", |_, taint, value, _| {
            let text = str_of(value, taint)?;
            Ok(text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).count().into())
        }),
        ("center", |state, taint, value, mut args| {
            let (text, width) = (str_of(value, taint)?, args.integer("width")?.unwrap_or(80));
            methods::call(state, &Value::from(text), "center", &[Value::from(width)])
        }),
        (PERCENT, percent),
        (ADD, add),
    ];
    for (name, filter) in filters {
        let taint = taint.clone();
        env.add_filter(name, move |state: &State, value: &Value, args: Rest<ValueOrKwargs>| {
            filter(state, &taint, value, Args::new(name, &args.into_values())?)
        });
    }
    env.add_test("sequence", |v: &Value| v.is_undefined() || is_iterable(v));
    env.add_test("iterable", |v: &Value| v.is_undefined() || is_iterable(v));
    env.add_test("callable", is_callable);
    env.add_test("mapping", |v: &Value| v.kind() == ValueKind::Map);
    env.add_test("number", |v: &Value| matches!(v.kind(), ValueKind::Number | ValueKind::Bool));
    env.add_function("raise_exception", |message: &Value| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.to_string()))
    });
}

/// `strftime_now` at a fixed time.
pub(crate) fn register_now(env: &mut Environment<'_>, now: NaiveDateTime) {
    env.add_function("strftime_now", move |pattern: &str| strftime(now, pattern));
}

/// `datetime.strftime` of a time without zone.
fn strftime(now: NaiveDateTime, pattern: &str) -> String {
    let pattern = pattern.replace("%f", "%6f").replace("%Z", "").replace("%z", "");
    let mut out = String::new();
    if write!(out, "{}", now.format(&pattern)).is_err() {
        return pattern;
    }
    out
}

fn is_iterable(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Iterable)
}

fn text(value: &Value, taint: &Taint) -> Result<Value, Error> {
    if value.as_str().is_some() { Ok(value.clone()) } else { Ok(str_of(value, taint)?.into()) }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The items of what Python can iterate over, each of which is paid for.
fn sized(state: &State, value: &Value) -> Result<Vec<Value>, Error> {
    if !value.is_undefined() && !is_iterable(value) {
        return Err(wrong(format!("{} is not iterable", value.kind())));
    }
    methods::items(state, value)
}

fn length(state: &State, _: &Taint, value: &Value, _: Args) -> Result<Value, Error> {
    match value.len() {
        Some(n) => Ok(n.into()),
        None if value.is_undefined() => Ok(0.into()),
        None => sized(state, value).map(|items| items.len().into()),
    }
}

fn default(_: &State, _: &Taint, value: &Value, mut args: Args) -> Result<Value, Error> {
    let instead = args.take("default_value")?.unwrap_or_else(|| Value::from(""));
    let absent = value.is_undefined() || (args.flag("boolean")? && !value.is_true());
    Ok(if absent { instead } else { value.clone() })
}

fn items(state: &State, _: &Taint, value: &Value, _: Args) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(list(Vec::new())),
        ValueKind::Map => methods::call(state, value, "items", &[]),
        _ => Err(wrong("Can only get item pairs from a mapping.")),
    }
}

fn tojson(state: &State, taint: &Taint, value: &Value, mut args: Args) -> Result<Value, Error> {
    let ensure_ascii = args.flag("ensure_ascii")?;
    let indent = match args.some("indent")? {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(n) => {
            let n = i64::try_from(n).map_err(|_| args.error("`indent` is neither number nor string"))?;
            Some(" ".repeat(usize::try_from(n).unwrap_or(0).min(1 << 10)))
        }
    };
    let separators = match args.some("separators")? {
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
        Some(pair) => match sized(state, &pair)?.as_slice() {
            [item, key] => (str_of(item, taint)?, str_of(key, taint)?),
            _ => return Err(args.error("`separators` is not a pair")),
        },
    };
    let sort_keys = args.flag("sort_keys")?;
    args.done()?;
    let json =
        Json { ensure_ascii, indent, item_separator: separators.0, key_separator: separators.1, sort_keys, taint };
    let mut out = String::new();
    json.write(value, &mut out, 0)?;
    state.consume_fuel(out.len() as u64 / 8)?;
    Ok(out.into())
}

fn join(state: &State, taint: &Taint, value: &Value, mut args: Args) -> Result<Value, Error> {
    let separator = args.string("d")?.unwrap_or_default();
    let attribute = args.some("attribute")?;
    let mut out = String::new();
    for (n, item) in sized(state, value)?.into_iter().enumerate() {
        let item = match &attribute {
            Some(key) => item.get_item(key)?,
            None => item,
        };
        let item = str_of(&item, taint)?;
        charge(state, separator.len() + item.len())?;
        out.push_str(if n > 0 { &separator } else { "" });
        out.push_str(&item);
    }
    Ok(out.into())
}

fn indent(state: &State, taint: &Taint, value: &Value, mut args: Args) -> Result<Value, Error> {
    let text = str_of(value, taint)?;
    let pad = match args.some("width")? {
        None => " ".repeat(4),
        Some(width) => match width.as_str() {
            Some(pad) => pad.to_owned(),
            None => {
                let n = usize::try_from(width).map_err(|_| args.error("`width` is neither number nor string"))?;
                charge(state, n)?;
                " ".repeat(n)
            }
        },
    };
    let (first, blank) = (args.flag("first")?, args.flag("blank")?);
    charge(state, text.matches('\n').count().saturating_add(1).saturating_mul(pad.len()))?;
    let mut out = String::new();
    for (n, line) in text.split('\n').enumerate() {
        let pads = if n == 0 { first } else { blank || !line.is_empty() };
        out.push_str(if n > 0 { "\n" } else { "" });
        out.push_str(if pads { &pad } else { "" });
        out.push_str(line);
    }
    Ok(out.into())
}

fn number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some(s) => {
            let s = s.trim_matches(is_space).replace('_', "");
            let plain = s.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
            let named = matches!(s.to_lowercase().trim_start_matches(['+', '-']), "inf" | "infinity" | "nan");
            if plain || named { s.parse().ok() } else { None }
        }
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None => f64::try_from(value.clone()).ok(),
    }
}

fn int(_: &State, _: &Taint, value: &Value, mut args: Args) -> Result<Value, Error> {
    let default = args.take("default")?.unwrap_or_else(|| Value::from(0));
    let base = args.integer("base")?.unwrap_or(10);
    if value.is_integer() {
        return Ok(value.clone());
    }
    if let Some(s) = value.as_str() {
        let s = s.trim_matches(is_space).replace('_', "").to_lowercase();
        let (sign, digits) = s.strip_prefix('-').map_or((1, s.trim_start_matches('+')), |rest| (-1, rest));
        let prefix = match base {
            16 => "0x",
            8 => "0o",
            2 => "0b",
            _ => "",
        };
        let digits = digits.strip_prefix(prefix).unwrap_or(digits);
        let base = u32::try_from(base).ok().filter(|b| (2..=36).contains(b));
        if let Some(n) =
            base.filter(|_| !digits.starts_with(['+', '-'])).and_then(|b| i64::from_str_radix(digits, b).ok())
        {
            return Ok((sign * n).into());
        }
    }
    match number(value).filter(|x| x.is_finite() && x.abs() < 9e18) {
        #[allow(clippy::cast_possible_truncation)]
        Some(x) => Ok((x.trunc() as i64).into()),
        None => Ok(default),
    }
}

fn escape(_: &State, taint: &Taint, value: &Value, _: Args) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    Ok(Value::from_safe_string(escaped(&str_of(value, taint)?, taint)))
}

fn escaped(text: &str, taint: &Taint) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let written = match taint.original(c) {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '\'' => "&#39;",
            '"' => "&#34;",
            _ => {
                out.push(c);
                continue;
            }
        };
        taint.push_as(c, written, &mut out);
    }
    out
}

/// `+`. Where one of two strings is marked safe, the other one is escaped.
fn add(state: &State, taint: &Taint, value: &Value, mut args: Args) -> Result<Value, Error> {
    let other = args.need("value")?;
    let is_list = |v: &Value| matches!(v.kind(), ValueKind::Seq | ValueKind::Iterable);
    if let (Some(a), Some(b)) = (value.as_str(), other.as_str()) {
        charge(state, a.len() + b.len())?;
        return Ok(match (value.is_safe(), other.is_safe()) {
            (false, false) => Value::from([a, b].concat()),
            (true, true) => Value::from_safe_string([a, b].concat()),
            (true, false) => Value::from_safe_string(a.to_owned() + &escaped(b, taint)),
            (false, true) => Value::from_safe_string(escaped(a, taint) + b),
        });
    }
    if is_list(value) && is_list(&other) && value.is_tuple() == other.is_tuple() {
        let mut items = sized(state, value)?;
        items.extend(sized(state, &other)?);
        return Ok(if value.is_tuple() { Value::from(Tuple::from(items)) } else { list(items) });
    }
    let plain = |v: &Value| v.is_number() || v.kind() == ValueKind::Bool;
    if plain(value) && plain(&other) {
        let integer = |v: &Value| i128::try_from(v.clone()).ok().filter(|_| as_float(v).is_none());
        if let (Some(a), Some(b)) = (integer(value), integer(&other)) {
            return a.checked_add(b).map(Value::from).ok_or_else(|| wrong("the sum is too large"));
        }
        if let (Some(a), Some(b)) = (number(value), number(&other)) {
            return Ok(Value::from(a + b));
        }
    }
    Err(wrong(format!("cannot add {} and {}", value.kind(), other.kind())))
}

/// The filter `title`: words begin after a blank, a hyphen or an opening bracket.
fn title(text: &str) -> String {
    let mut start = true;
    let mut out = String::new();
    for c in text.chars() {
        if start {
            out.extend(c.to_uppercase())
        } else {
            out.extend(c.to_lowercase())
        }
        start = is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    }
    out
}

fn percent(state: &State, taint: &Taint, value: &Value, mut args: Args) -> Result<Value, Error> {
    let pattern = str_of(value, taint)?;
    let operand = args.need("value")?;
    let values: Vec<Value> = if operand.is_tuple() { sized(state, &operand)? } else { vec![operand] };
    charge_widths(state, &pattern, &values)?;
    let written: Result<Vec<Value>, Error> =
        values.into_iter().map(|v| if v.as_object().is_some() { text(&v, taint) } else { Ok(v) }).collect();
    Ok(format(FormatStyle::Printf, &pattern, &written?)?.into())
}
