//! JSON as the Python values that a template sees, and Python's ways of writing values.
//!
//! [`Dict`] and [`List`] print as Python does. A dict knows an attribute from an item: `x.items` is the method, whatever
//! keys there are, and `x["items"]` the entry.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::methods;
use super::taint::Taint;

/// Containers nested deeper are refused, as Python refuses them.
const MAX_DEPTH: usize = 200;
/// Bytes of what a container is written as, at most.
const MAX_WRITTEN: usize = 4 << 20;

/// A dict with string keys, in order.
pub(crate) struct Dict {
    entries: Vec<(Value, Value)>,
    index: HashMap<String, usize>,
}

impl Dict {
    pub(crate) fn new(pairs: impl IntoIterator<Item = (String, Value)>) -> Self {
        let (mut entries, mut index) = (Vec::new(), HashMap::new());
        for (key, value) in pairs {
            entries.push((Value::from(key.as_str()), value));
            index.insert(key, entries.len() - 1);
        }
        Self { entries, index }
    }

    fn item(&self, key: &str) -> Option<Value> {
        self.index.get(key).and_then(|&at| self.entries.get(at)).map(|(_, value)| value.clone())
    }
}

impl fmt::Debug for Dict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|(k, v)| (k, v))).finish()
    }
}

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.item(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match methods::DICT.iter().find(|name| **name == key) {
            Some(name) => Some(Value::from_object(Bound { of: Value::from_dyn_object(self.clone()), name })),
            None => self.item(key),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let keys: Vec<Value> = self.entries.iter().map(|(key, _)| key.clone()).collect();
        Enumerator::Iter(Box::new(keys.into_iter()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.entries.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(&Value::from_dyn_object(self.clone()), f)
    }
}

/// A list.
#[derive(Debug)]
pub(crate) struct List(pub(crate) Vec<Value>);

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(&Value::from_dyn_object(self.clone()), f)
    }
}

fn written(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = String::new();
    repr(value, &Taint::default(), &mut text, 0).map_err(|_| fmt::Error)?;
    f.write_str(&text)
}

/// A method that was looked up but not called yet.
#[derive(Debug)]
struct Bound {
    of: Value,
    name: &'static str,
}

impl Object for Bound {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        methods::call(state, &self.of, self.name, args)
    }
}

/// Whether the value is a method without its call.
pub(crate) fn is_callable(value: &Value) -> bool {
    value.downcast_object_ref::<Bound>().is_some() || (value.kind() == ValueKind::Plain && value.as_object().is_some())
}

/// JSON as a value of a template.
pub(crate) fn value_of(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(b) => Value::from(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::from(n),
            (None, Some(n)) => Value::from(n),
            (None, None) => Value::from(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(s) => Value::from(s.as_str()),
        Json::Array(items) => Value::from_object(List(items.iter().map(value_of).collect())),
        Json::Object(map) => Value::from_object(Dict::new(map.iter().map(|(k, v)| (k.clone(), value_of(v))))),
    }
}

/// A list of values.
pub(crate) fn list(items: Vec<Value>) -> Value {
    Value::from_object(List(items))
}

/// `str(value)`.
pub(crate) fn str_of(value: &Value, taint: &Taint) -> Result<String, Error> {
    if value.is_undefined() {
        return Ok(String::new());
    }
    if let Some(s) = value.as_str() {
        return Ok(s.to_owned());
    }
    let mut out = String::new();
    repr(value, taint, &mut out, 0)?;
    Ok(out)
}

/// A number that is no integer.
pub(crate) fn as_float(value: &Value) -> Option<f64> {
    if value.kind() == ValueKind::Number && !value.is_integer() { f64::try_from(value.clone()).ok() } else { None }
}

/// `repr(value)`, as lists and dicts write what they hold.
pub(crate) fn repr(value: &Value, taint: &Taint, out: &mut String, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    if let Some(s) = value.as_str() {
        repr_str(s, taint, out);
    } else if let Some(x) = as_float(value) {
        out.push_str(&float(x));
    } else if let Some(object) = value.as_object() {
        match object.repr() {
            ObjectRepr::Map => {
                out.push('{');
                for (n, (key, item)) in pairs(object).enumerate() {
                    out.push_str(if n > 0 { ", " } else { "" });
                    repr(&key, taint, out, depth + 1)?;
                    out.push_str(": ");
                    repr(&item, taint, out, depth + 1)?;
                    check_length(out)?;
                }
                out.push('}');
            }
            ObjectRepr::Seq | ObjectRepr::Iterable => {
                let tuple = value.is_tuple();
                out.push(if tuple { '(' } else { '[' });
                let mut count = 0;
                for item in value.try_iter()?.checked() {
                    out.push_str(if count > 0 { ", " } else { "" });
                    repr(&item?, taint, out, depth + 1)?;
                    check_length(out)?;
                    count += 1;
                }
                out.push_str(if tuple && count == 1 { "," } else { "" });
                out.push(if tuple { ')' } else { ']' });
            }
            _ => out.push_str(&value.to_string()),
        }
    } else if value.is_undefined() {
        out.push_str("Undefined");
    } else {
        out.push_str(&value.to_string());
    }
    Ok(())
}

/// What is written must not grow without end.
pub(crate) fn check_length(out: &str) -> Result<(), Error> {
    if out.len() <= MAX_WRITTEN {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidOperation, format!("a container takes more than {MAX_WRITTEN} bytes to write")))
}

/// The entries of a map.
pub(crate) fn pairs(object: &DynObject) -> impl Iterator<Item = (Value, Value)> + '_ {
    object.try_iter_pairs().into_iter().flatten()
}

/// Containers nested too deep.
pub(crate) fn too_deep() -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("containers are nested deeper than {MAX_DEPTH}"))
}

/// `repr` of a string: single quotes unless it holds some and no double ones.
fn repr_str(s: &str, taint: &Taint, out: &mut String) {
    let has = |quote: char| s.chars().any(|c| taint.original(c) == quote);
    let quote = if has('\'') && !has('"') { '"' } else { '\'' };
    out.push(quote);
    for c in s.chars() {
        let original = taint.original(c);
        let escaped = match original {
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            q if q == quote => format!("\\{q}"),
            p if printable(p) => {
                out.push(c);
                continue;
            }
            x => match u32::from(x) {
                n @ ..=0xff => format!("\\x{n:02x}"),
                n @ ..=0xffff => format!("\\u{n:04x}"),
                n => format!("\\U{n:08x}"),
            },
        };
        taint.push_as(c, &escaped, out);
    }
    out.push(quote);
}

/// `str.isprintable` of a character, but for unassigned ones.
pub(crate) fn printable(c: char) -> bool {
    let n = u32::from(c);
    let format = matches!(n, 0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f | 0x202a..=0x202e
        | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0xe0001..=0xe007f);
    let private = matches!(n, 0xe000..=0xf8ff | 0xf_0000..=0x10_ffff);
    c == ' ' || !(c.is_control() || c.is_whitespace() || format || private)
}

/// `repr` of a float: the shortest that reads back, with an exponent outside of 1e-4 to 1e16.
pub(crate) fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf".into() } else { "-inf".into() };
    }
    if x != 0.0 && !(1e-4..1e16).contains(&x.abs()) {
        let text = format!("{x:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = format!("{x}");
    if text.contains('.') { text } else { text + ".0" }
}
