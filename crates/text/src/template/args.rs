//! Arguments of a Python function: by place or by name.

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};

/// The arguments of one call, less those that were taken.
pub(crate) struct Args {
    function: String,
    places: std::collections::VecDeque<Value>,
    named: Kwargs,
}

impl Args {
    pub(crate) fn new(function: &str, args: &[Value]) -> Result<Self, Error> {
        let (places, named) = match args.split_last() {
            Some((last, rest)) if last.is_kwargs() => (rest, Kwargs::try_from(last.clone())?),
            _ => (args, Kwargs::from_iter(std::iter::empty::<(String, Value)>())),
        };
        Ok(Self { function: function.into(), places: places.iter().cloned().collect(), named })
    }

    /// The next argument by place, or the one of this name.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<Value>, Error> {
        match self.places.pop_front() {
            Some(value) => Ok(Some(value)),
            None if self.named.has(name) => self.named.get(name).map(Some),
            None => Ok(None),
        }
    }

    /// As [`take`](Self::take); `None` counts as absent.
    pub(crate) fn some(&mut self, name: &str) -> Result<Option<Value>, Error> {
        Ok(self.take(name)?.filter(|value| !value.is_none()))
    }

    pub(crate) fn need(&mut self, name: &str) -> Result<Value, Error> {
        self.take(name)?.ok_or_else(|| self.error(&format!("missing argument `{name}`")))
    }

    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.some(name)?.map(|value| self.as_string(&value)).transpose()
    }

    pub(crate) fn need_string(&mut self, name: &str) -> Result<String, Error> {
        let value = self.need(name)?;
        self.as_string(&value)
    }

    fn as_string(&self, value: &Value) -> Result<String, Error> {
        let wrong = || self.error(&format!("expected a string, found {}", value.kind()));
        value.as_str().map(str::to_owned).ok_or_else(wrong)
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, Error> {
        let value = self.some(name)?;
        value.map(|v| i64::try_from(v).map_err(|_| self.error(&format!("`{name}` is not an integer")))).transpose()
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Error> {
        Ok(self.take(name)?.is_some_and(|value| value.is_true()))
    }

    /// All that is left by place.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        self.places.drain(..).collect()
    }

    /// The arguments by name, as one value, if there are any.
    pub(crate) fn named_value(&self) -> Option<Value> {
        (self.named.args().next().is_some()).then(|| Value::from(self.named.clone()))
    }

    /// No argument may be left.
    pub(crate) fn done(&self) -> Result<(), Error> {
        if !self.places.is_empty() {
            return Err(self.error("too many arguments"));
        }
        self.named.assert_all_used()
    }

    pub(crate) fn error(&self, problem: &str) -> Error {
        Error::new(ErrorKind::InvalidOperation, format!("{}: {problem}", self.function))
    }
}
