//! What was said in a conversation.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One message: a role, content, and whatever else a template may use (`tool_calls`, `name`, `reasoning_content`, …), in
/// the order given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Message(Map<String, Value>);

impl TryFrom<Map<String, Value>> for Message {
    type Error = String;

    fn try_from(fields: Map<String, Value>) -> Result<Self, String> {
        match fields.get("role") {
            Some(Value::String(_)) => Ok(Self(fields)),
            Some(other) => Err(format!("`role` is {other}, expected a string such as \"user\"")),
            None => Err("a message without `role`".into()),
        }
    }
}

impl From<Message> for Map<String, Value> {
    fn from(message: Message) -> Self {
        message.0
    }
}

impl Message {
    fn of(role: &str, text: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("role".into(), json!(role));
        fields.insert("content".into(), json!(text));
        Self(fields)
    }

    /// What the user says.
    pub fn user(text: &str) -> Self {
        Self::of("user", text)
    }

    /// What the model is told to be.
    pub fn system(text: &str) -> Self {
        Self::of("system", text)
    }

    /// What the model says.
    pub fn assistant(text: &str) -> Self {
        Self::of("assistant", text)
    }

    /// `user`, `system`, `assistant`, `tool`, …
    pub fn role(&self) -> &str {
        self.0.get("role").and_then(Value::as_str).unwrap_or_default()
    }

    /// All fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The text of the content; text parts joined, if it is a list of parts.
    pub fn text(&self) -> String {
        match self.0.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
            _ => String::new(),
        }
    }

    /// Lengthens the content.
    pub fn push_text(&mut self, more: &str) {
        match self.0.get_mut("content") {
            Some(Value::String(text)) => text.push_str(more),
            Some(Value::Array(parts)) => match parts.iter_mut().rev().find_map(|p| p.get_mut("text")) {
                Some(Value::String(text)) => text.push_str(more),
                _ => parts.push(json!({"type": "text", "text": more})),
            },
            _ => {
                self.0.insert("content".into(), json!(more));
            }
        }
    }

    /// The same message with every string of its content changed; the role, and the kinds of parts and calls, stay.
    pub(super) fn map_text(&self, change: &dyn Fn(&str) -> String) -> Self {
        let keep = |key: &str| matches!(key, "role" | "type");
        let fields = self.0.iter().map(|(key, value)| {
            let value = if keep(key) { value.clone() } else { map_strings(value, change) };
            (key.clone(), value)
        });
        Self(fields.collect())
    }
}

/// A JSON value with every string changed but for those that say what kind of thing an object is.
pub(super) fn map_strings(value: &Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(list) => list.iter().map(|v| map_strings(v, change)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, v)| (key.clone(), if key == "type" { v.clone() } else { map_strings(v, change) }))
            .collect(),
        other => other.clone(),
    }
}
