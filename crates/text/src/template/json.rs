//! `tojson`: Python's `json.dumps`, without any escaping for HTML.

use minijinja::value::{ObjectRepr, Value};
use minijinja::{Error, ErrorKind};

use super::python::{self, as_float, pairs};
use super::taint::Taint;

/// The options of `json.dumps`.
pub(crate) struct Json<'a> {
    pub(crate) ensure_ascii: bool,
    /// One step of indentation.
    pub(crate) indent: Option<String>,
    pub(crate) item_separator: String,
    pub(crate) key_separator: String,
    pub(crate) sort_keys: bool,
    pub(crate) taint: &'a Taint,
}

impl Json<'_> {
    pub(crate) fn write(&self, value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
        if depth > 200 {
            return Err(python::too_deep());
        }
        if let Some(s) = value.as_str() {
            self.string(s, out);
        } else if let Some(x) = as_float(value) {
            out.push_str(&number(x));
        } else if let Some(object) = value.as_object() {
            match object.repr() {
                ObjectRepr::Map => {
                    let mut entries: Vec<(String, Value)> =
                        pairs(object).map(|(k, v)| Ok((key(&k)?, v))).collect::<Result<_, Error>>()?;
                    if self.sort_keys {
                        entries.sort_by(|a, b| a.0.cmp(&b.0));
                    }
                    self.container(entries.into_iter().map(Ok), ('{', '}'), out, depth, |(key, value), out| {
                        self.string(&key, out);
                        out.push_str(&self.key_separator);
                        self.write(&value, out, depth + 1)
                    })?;
                }
                ObjectRepr::Seq | ObjectRepr::Iterable => {
                    let items = value.try_iter()?.checked();
                    self.container(items, ('[', ']'), out, depth, |item, out| self.write(&item, out, depth + 1))?;
                }
                _ => return Err(not_json("function")),
            }
        } else if value.is_undefined() {
            return Err(not_json("Undefined"));
        } else if value.is_none() {
            out.push_str("null");
        } else if let (false, Ok(b)) = (value.is_number(), bool::try_from(value.clone())) {
            out.push_str(if b { "true" } else { "false" });
        } else {
            out.push_str(&value.to_string());
        }
        Ok(())
    }

    fn container<T>(
        &self,
        items: impl Iterator<Item = Result<T, Error>>,
        (open, close): (char, char),
        out: &mut String,
        depth: usize,
        mut write: impl FnMut(T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |out: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                (0..depth).for_each(|_| out.push_str(indent));
            }
        };
        out.push(open);
        let mut count = 0;
        for item in items {
            if count > 0 {
                out.push_str(&self.item_separator);
            }
            line(out, depth + 1);
            write(item?, out)?;
            python::check_length(out)?;
            count += 1;
        }
        if count > 0 {
            line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn string(&self, s: &str, out: &mut String) {
        out.push('"');
        for c in s.chars() {
            let written = match self.taint.original(c) {
                '"' => "\\\"".to_owned(),
                '\\' => "\\\\".to_owned(),
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\t' => "\\t".to_owned(),
                '\u{8}' => "\\b".to_owned(),
                '\u{c}' => "\\f".to_owned(),
                o if o < ' ' || (self.ensure_ascii && !(' '..='~').contains(&o)) => {
                    o.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                }
                _ => {
                    out.push(c);
                    continue;
                }
            };
            self.taint.push_as(c, &written, out);
        }
        out.push('"');
    }
}

fn number(x: f64) -> String {
    if x.is_nan() {
        "NaN".into()
    } else if x.is_infinite() {
        if x > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else {
        python::float(x)
    }
}

fn key(key: &Value) -> Result<String, Error> {
    if let Some(s) = key.as_str() {
        return Ok(s.to_owned());
    }
    if let Some(x) = as_float(key) {
        return Ok(number(x));
    }
    if key.as_object().is_some() || key.is_undefined() {
        return Err(Error::new(ErrorKind::InvalidOperation, "keys must be str, int, float, bool or None"));
    }
    Ok(match key.to_string().as_str() {
        "None" => "null".into(),
        "True" => "true".into(),
        "False" => "false".into(),
        other => other.into(),
    })
}

fn not_json(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("Object of type {what} is not JSON serializable"))
}
