//! What the user gives: lists of ids, texts, variables.

use std::io::Read;

use anyhow::{Context, Result, bail};
use jielong_core::Token;
use serde_json::Value;

/// Ids separated by commas or spaces.
pub fn parse(list: &str) -> Result<Vec<Token>> {
    let parts = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
    let ids = parts.map(|part| part.parse().map(Token).with_context(|| format!("{part:?} is not a token id")));
    let ids: Vec<Token> = ids.collect::<Result<_>>()?;
    if ids.is_empty() {
        bail!("{list:?} holds no token id; give a list such as 1,2,3");
    }
    Ok(ids)
}

/// The text itself; `-` reads standard input.
pub fn text_or_stdin(text: &str) -> Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("standard input")?;
    String::from_utf8(bytes).context("standard input is not UTF-8")
}

/// `KEY=VALUE`; a value that is JSON is read as JSON, any other is a string.
pub fn variable(pair: &str) -> Result<(String, Value)> {
    let (key, value) = pair.split_once('=').with_context(|| format!("{pair:?}: expected KEY=VALUE"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((key.to_owned(), value))
}
