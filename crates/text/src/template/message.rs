//! One message of a conversation.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// One message: a role, content, and whatever else its JSON has (`tool_calls`, `name`, `reasoning_content`, …), in the
/// order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// All fields, `role` among them.
    pub fields: Map<String, Value>,
}

impl Message {
    /// A message of this role and content.
    pub fn new(role: &str, content: &str) -> Self {
        let fields = [("role", role), ("content", content)].into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self { role: role.into(), fields }
    }

    /// What the user says.
    pub fn user(content: &str) -> Self {
        Self::new("user", content)
    }

    /// What the assistant said.
    pub fn assistant(content: &str) -> Self {
        Self::new("assistant", content)
    }

    /// What holds for the whole conversation.
    pub fn system(content: &str) -> Self {
        Self::new("system", content)
    }

    /// The content if it is text, or the texts of its parts joined.
    pub fn text(&self) -> Option<String> {
        match self.fields.get("content")? {
            Value::String(text) => Some(text.clone()),
            Value::Array(parts) => Some(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
            _ => None,
        }
    }

    /// Lengthens the content by a text: the string, or the last part that is text.
    pub fn push_text(&mut self, text: &str) {
        match self.fields.get_mut("content") {
            Some(Value::String(content)) => content.push_str(text),
            Some(Value::Array(parts)) => match parts.iter_mut().rev().find_map(|part| part.get_mut("text")) {
                Some(Value::String(last)) => last.push_str(text),
                _ => parts.push(json!({"type": "text", "text": text})),
            },
            _ => {
                self.fields.insert("content".into(), text.into());
            }
        }
    }

    /// All fields, with the role as it is now.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let mut fields = self.fields.clone();
        fields.insert("role".into(), self.role.as_str().into());
        fields
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        let role = fields.get("role").and_then(Value::as_str);
        let role = role.ok_or_else(|| serde::de::Error::custom("a message needs a `role`, which is a string"))?;
        Ok(Self { role: role.into(), fields })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_keep_their_order() {
        let text = r#"{"content":"hi","role":"tool","name":"f","n":[1,{"b":2,"a":1}]}"#;
        let mut message: Message = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&message).unwrap(), text);
        message.push_text("!");
        assert_eq!(message.text().unwrap(), "hi!");
        let mut parts: Message =
            serde_json::from_str(r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"image"}]}"#).unwrap();
        parts.push_text("b");
        assert_eq!(parts.text().unwrap(), "ab");
        assert!(serde_json::from_str::<Message>(r#"{"content":"hi"}"#).unwrap_err().to_string().contains("role"));
    }
}
