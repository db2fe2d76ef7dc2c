//! The Jinja template of a model, rendered as Transformers does.
//!
//! Source of the behaviour: Transformers' `apply_chat_template` (blocks trimmed, `raise_exception`, `strftime_now`, `tojson`
//! without HTML escapes, `{% generation %}`, loop controls, `continue_final_message`) and Jinja2. Templates come from
//! strangers: each rendering has fuel, and its output a limit.

use std::fmt::Write as _;
use std::io;

use chrono::{Local, NaiveDateTime};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value as Any};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value, json};

use super::message::map_strings;
use super::{Message, python};

/// The longest output, in bytes.
const LONGEST: usize = 1 << 20;

/// Fuel of any rendering: about one an instruction, and one for 64 bytes made.
const FUEL: u64 = 400_000;

/// More fuel for each byte of input.
const FUEL_PER_BYTE: u64 = 40;

/// What marks the end of the final message while it is rendered, as Transformers does it.
const TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// Why a template cannot be used on a conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}{}: {message}", line.map_or(String::new(), |n| format!(":{n}")))]
pub struct TemplateError {
    /// Where the template is from.
    pub name: String,
    /// The line, if one is to blame.
    pub line: Option<usize>,
    /// What is wrong, or what the template itself raised.
    pub message: String,
}

/// What a template is rendered with.
#[derive(Clone, Debug, Default)]
pub struct TemplateInput<'a> {
    /// The conversation.
    pub messages: &'a [Message],
    /// Definitions of tools: a list.
    pub tools: Option<&'a Value>,
    /// The text ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// The text ends where the last message ends, so that the answer goes on from it.
    pub continue_final_message: bool,
    /// The clock; the local time if `None`.
    pub now: Option<NaiveDateTime>,
    /// `bos_token` and the like.
    pub specials: Map<String, Value>,
    /// Any other variable, such as `enable_thinking`; wins over the ones above.
    pub variables: Map<String, Value>,
}

/// An input whose texts were changed.
pub(super) struct Marked<'a> {
    messages: Vec<Message>,
    tools: Option<Value>,
    of: &'a TemplateInput<'a>,
}

impl<'a> TemplateInput<'a> {
    /// The same with every text changed; the change is told whose text it is.
    pub(super) fn marked(&'a self, change: &dyn Fn(&str, &str) -> String) -> Marked<'a> {
        let messages = self.messages.iter().map(|m| m.map_text(&|text| change(text, m.role()))).collect();
        let tools = self.tools.map(|tools| map_strings(tools, &|text| change(text, "tools")));
        Marked { messages, tools, of: self }
    }
}

impl Marked<'_> {
    pub(super) fn input(&self) -> TemplateInput<'_> {
        TemplateInput { messages: &self.messages, tools: self.tools.as_ref(), ..self.of.clone() }
    }
}

/// A chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    name: String,
    source: String,
    /// The source as the engine takes it.
    jinja: String,
}

impl ChatTemplate {
    /// Reads a template; `name` is for messages.
    ///
    /// # Errors
    /// [`TemplateError`] with the line that does not parse.
    pub fn new(source: &str, name: &str) -> Result<Self, TemplateError> {
        let template = Self { name: name.into(), source: source.into(), jinja: prepared(source) };
        let environment = environment(None, FUEL);
        environment.template_from_named_str(&template.name, &template.jinja).map_err(|e| template.error(&e))?;
        Ok(template)
    }

    /// The source as given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// [`TemplateError`]: what the template raises, a final message that cannot be gone on with, out of fuel, too long.
    pub fn render(&self, input: &TemplateInput) -> Result<String, TemplateError> {
        let refuse = |message: String| TemplateError { name: self.name.clone(), line: None, message };
        let mut messages: Vec<Map<String, Value>> = input.messages.iter().map(|m| with_reasoning(m.fields())).collect();
        let mut last = String::new();
        if input.continue_final_message {
            last = tag_final(&mut messages, &self.source).map_err(refuse)?;
        }
        let mut context = Map::new();
        context.extend(input.specials.clone());
        context.insert("documents".into(), Value::Null);
        context.extend(input.variables.clone());
        context.insert("messages".into(), json!(messages));
        context.insert("tools".into(), input.tools.cloned().unwrap_or(Value::Null));
        context.insert("add_generation_prompt".into(), json!(input.add_generation_prompt));
        let fuel = FUEL + FUEL_PER_BYTE * size(&context) as u64;
        let environment = environment(input.now, fuel);
        let template = environment.template_from_named_str(&self.name, &self.jinja).map_err(|e| self.error(&e))?;
        let mut out = Capped(Vec::new());
        template.render_captured_to(python::value(&Value::Object(context)), &mut out).map_err(|e| self.error(&e))?;
        let text = String::from_utf8_lossy(&out.0).into_owned();
        if input.continue_final_message { cut_final(text, &last).map_err(refuse) } else { Ok(text) }
    }

    fn error(&self, error: &Error) -> TemplateError {
        let message = match error.kind() {
            ErrorKind::OutOfFuel => "out of fuel: the template does not come to an end".into(),
            ErrorKind::WriteFailure => format!("the output is longer than {LONGEST} bytes"),
            _ => match (error.detail(), std::error::Error::source(error)) {
                (Some(detail), _) if error.kind() == ErrorKind::InvalidOperation => detail.to_owned(),
                (_, Some(cause)) => format!("{}: {cause}", error.kind()),
                (Some(detail), None) => format!("{}: {detail}", error.kind()),
                (None, None) => error.kind().to_string(),
            },
        };
        TemplateError { name: self.name.clone(), line: error.line(), message }
    }
}

/// Today as templates write it, such as `05 Jan 2026`.
pub fn today() -> String {
    Local::now().format("%d %b %Y").to_string()
}

fn environment<'a>(now: Option<NaiveDateTime>, fuel: u64) -> Environment<'a> {
    let mut environment = Environment::new();
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(fuel));
    python::install(&mut environment);
    environment.add_function("raise_exception", |message: String| -> Result<Any, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", move |format: String| -> Result<String, Error> {
        let now = now.unwrap_or_else(|| Local::now().naive_local());
        let mut text = String::new();
        write!(text, "{}", now.format(&format)).map_err(|_| {
            Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {format:?} is no time format"))
        })?;
        Ok(text)
    });
    environment.add_filter("tojson", |value: Any, options: Kwargs| -> Result<Any, Error> {
        let style = python::JsonStyle {
            indent: options.get("indent")?,
            ensure_ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
            sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
            separators: options.get::<Option<Vec<String>>>("separators")?,
        };
        options.assert_all_used()?;
        Ok(Any::from_safe_string(style.dump(&python::json(&value)?)))
    });
    environment
}

/// The source in the engine's own terms. `{% generation %}` marks what the assistant said; for the text it means nothing. A safe
/// string makes `+` escape what it is joined with, but not `~`, so there it is a string like any other.
fn prepared(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%").into_iter().chain(rest.find("{{")).min() {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let close = if tag.starts_with("{%") { "%}" } else { "}}" };
        let Some(end) = tag.find(close) else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end + 2);
        let inner = tag[2..tag.len() - 2].trim_matches(['-', '+']).trim();
        match inner {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ if inner.contains('~') => out.push_str(&tag.replace("|safe", "|string").replace("| safe", "|string")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Names under which a message's reasoning is passed; the first is the standard.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The message with its reasoning under the names that templates read.
fn with_reasoning(fields: &Map<String, Value>) -> Map<String, Value> {
    let mut fields = fields.clone();
    let reasoning = REASONING.iter().find_map(|key| fields.get(*key).filter(|v| !v.is_null())).cloned();
    if let Some(reasoning) = reasoning {
        fields.entry("thinking").or_insert_with(|| reasoning.clone());
        fields.insert("reasoning_content".into(), reasoning);
    }
    fields
}

/// Marks the end of the last message's text, and returns that text.
fn tag_final(messages: &mut [Map<String, Value>], source: &str) -> Result<String, String> {
    let Some(last) = messages.last_mut() else {
        return Err("the conversation is empty: there is no message to go on with".into());
    };
    if !source.contains("content") {
        return Err("this template does not use `content`: the last message cannot be gone on with".into());
    }
    let text = match last.get_mut("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => match parts.iter_mut().rev().find_map(|part| part.get_mut("text")) {
            Some(Value::String(text)) => text,
            _ => return Err("the last message has no text to go on with".into()),
        },
        _ => return Err("the last message has no `content` to go on with".into()),
    };
    let before = text.clone();
    text.push_str(TAG);
    Ok(before)
}

/// Cuts a rendering where the tagged message ends.
fn cut_final(mut text: String, last: &str) -> Result<String, String> {
    let at = text.rfind(TAG.trim_end()).filter(|_| text.contains(last.trim()));
    let Some(at) = at else {
        return Err("the template changes or leaves out the last message: it cannot be gone on with".into());
    };
    let kept = text[at..].starts_with(TAG);
    text.truncate(at);
    if !kept {
        // The template trims its messages: so is this one.
        text.truncate(text.trim_end().len());
    }
    Ok(text)
}

/// Bytes of all strings.
fn size(context: &Map<String, Value>) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(list) => list.iter().map(of).sum::<usize>() + list.len(),
            Value::Object(map) => map.iter().map(|(k, v)| k.len() + of(v)).sum(),
            _ => 8,
        }
    }
    context.values().map(of).sum()
}

/// An output of limited length.
struct Capped(Vec<u8>);

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
