//! Rendering a model's Jinja template as Transformers does.

use std::io;
use std::sync::Arc;

use chrono::Local;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value as Any;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use serde_json::{Map, Value};

use super::python::{str_of, value_of};
use super::taint::Taint;
use super::{TemplateError, TemplateInput, filters, methods, source};

/// Bytes of a rendered text at most.
const MAX_TEXT: usize = 1 << 20;
/// What rendering may cost, but for the length of the conversation; a unit is a step or 64 bytes.
const FUEL: u64 = 400_000;
/// Bytes of a template at most.
const MAX_SOURCE: usize = 1 << 18;
/// Names that a message's reasoning goes by, the one that templates read first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];
/// Marks the end of a message that is to be gone on with.
const CONTINUE: &str = "CONTINUE_FINAL_MESSAGE_TAG ";
/// Stack for the engine, which recurses into what a template nests; only what is used is taken.
const STACK: usize = 256 << 20;
/// The engine's name of the one template.
const NAME: &str = "template";

/// A model's own template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    env: Environment<'static>,
    source: Arc<str>,
    name: Arc<str>,
}

/// What a template sees of a conversation.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) messages: Vec<Map<String, Value>>,
    pub(crate) tools: Value,
    pub(crate) variables: Map<String, Value>,
}

impl ChatTemplate {
    /// Reads a template; `name` is for messages.
    ///
    /// # Errors
    /// What does not parse, by line.
    pub fn new(source: &str, name: &str) -> Result<Self, TemplateError> {
        let failed = |line, message| TemplateError { name: name.into(), line, message };
        if source.len() > MAX_SOURCE {
            return Err(failed(
                None,
                format!("the template has {} bytes, at most {MAX_SOURCE} are read", source.len()),
            ));
        }
        let mut env = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        env.set_syntax(syntax.map_err(|e| failed(None, e.to_string()))?);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_unknown_method_callback(|state, value, method, args| methods::call(state, value, method, args));
        env.set_debug(true);
        let rewritten = source::rewrite(source).map_err(|(line, problem)| failed(Some(line), problem))?;
        let template = Self { env, source: source.into(), name: name.into() };
        let mut env = template.env.clone();
        let added = with_stack(|| env.add_template_owned(NAME, rewritten).map_err(|e| template.failed(&e)));
        added.unwrap_or_else(|problem| Err(failed(None, problem)))?;
        Ok(Self { env, ..template })
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text that the model sees.
    ///
    /// # Errors
    /// What the template refuses; a template that does too much work or writes more than 1 MiB.
    pub fn render(&self, input: &TemplateInput) -> Result<String, TemplateError> {
        self.render_sight(input, self.sight(input)?, &Arc::default())
    }

    /// What the template is to see of the conversation.
    pub(crate) fn sight(&self, input: &TemplateInput) -> Result<Sight, TemplateError> {
        if input.continue_final_message && input.add_generation_prompt {
            let message = "a text cannot both end within the last message and begin a new one".into();
            return Err(TemplateError { name: self.name.to_string(), line: None, message });
        }
        let messages = input.messages.iter().map(|message| aliased(message.json())).collect();
        Ok(Sight { messages, tools: input.tools.cloned().unwrap_or_default(), variables: input.variables.clone() })
    }

    /// Renders what may be tainted.
    pub(crate) fn render_sight(
        &self,
        input: &TemplateInput,
        mut sight: Sight,
        taint: &Arc<Taint>,
    ) -> Result<String, TemplateError> {
        let last = if input.continue_final_message { Some(self.mark_end(&mut sight)?) } else { None };
        let mut env = self.env.clone();
        filters::register(&mut env, taint);
        filters::register_now(&mut env, input.now.unwrap_or_else(|| Local::now().naive_local()));
        let held = taint.clone();
        env.set_formatter(move |out, _, value| match value.as_str() {
            Some(text) => out.write_str(text).map_err(Error::from),
            None => out.write_str(&str_of(value, &held)?).map_err(Error::from),
        });
        let size: usize = sight.messages.iter().map(|m| m.values().map(size).sum::<usize>()).sum();
        env.set_fuel(Some(FUEL + (size + self::size(&sight.tools)) as u64 / 8));
        let template = env.get_template(NAME).map_err(|e| self.failed(&e))?;
        let limit = if taint.is_empty() { MAX_TEXT } else { 4 * MAX_TEXT };
        let mut text = Capped { bytes: Vec::new(), limit };
        let rendered = with_stack(|| {
            let rendered = template.render_captured_to(variables(input, sight), &mut text);
            rendered.map(drop).map_err(|e| self.failed(&e))
        });
        let failed = |message| TemplateError { name: self.name.to_string(), line: None, message };
        rendered.unwrap_or_else(|problem| Err(failed(problem)))?;
        let text = String::from_utf8_lossy(&text.bytes).into_owned();
        match last {
            Some(last) => self.cut(text, &last),
            None => Ok(text),
        }
    }

    /// Marks the end of the last message; the text of it as it was.
    fn mark_end(&self, sight: &mut Sight) -> Result<String, TemplateError> {
        let refused = |problem: &str| TemplateError {
            name: self.name.to_string(),
            line: None,
            message: format!("the last message cannot be gone on with: {problem}"),
        };
        let last = sight.messages.last_mut().ok_or_else(|| refused("there is none"))?;
        if !self.source.contains("content") {
            return Err(refused("the template does not know `content`"));
        }
        let text = match last.get_mut("content") {
            None | Some(Value::Null) => return Err(refused("it has no content")),
            Some(Value::Array(parts)) => {
                let mut parts = parts.iter_mut().rev();
                parts.find_map(|part| part.get_mut("text")).ok_or_else(|| refused("no part of it is text"))?
            }
            Some(content) => content,
        };
        match text {
            Value::String(text) => {
                let whole = text.clone();
                text.push_str(CONTINUE);
                Ok(whole)
            }
            _ => Err(refused("its content is no text")),
        }
    }

    /// Cuts the text off at the end of the last message.
    fn cut(&self, mut text: String, last: &str) -> Result<String, TemplateError> {
        let last = methods::strip(last, None, true, true);
        match text.rfind(CONTINUE.trim_end()) {
            Some(at) if text.contains(&last) => {
                let exact = text[at..].starts_with(CONTINUE);
                text.truncate(at);
                // What follows is gone, and the template took away blanks at the end of the message.
                Ok(if exact { text } else { methods::strip(&text, None, false, true) })
            }
            _ => Err(TemplateError {
                name: self.name.to_string(),
                line: None,
                message: "the last message cannot be gone on with: the template leaves out some of it".into(),
            }),
        }
    }

    fn failed(&self, error: &Error) -> TemplateError {
        let message = match error.kind() {
            ErrorKind::OutOfFuel => "out of fuel: the template does too much work".into(),
            ErrorKind::WriteFailure => format!("the rendered text is longer than {MAX_TEXT} bytes"),
            kind => match error.detail() {
                Some(detail) if kind == ErrorKind::InvalidOperation => detail.to_owned(),
                Some(detail) => format!("{kind}: {detail}"),
                None => kind.to_string(),
            },
        };
        TemplateError { name: self.name.to_string(), line: error.line(), message }
    }
}

/// The message with its reasoning under the names that templates read.
fn aliased(message: Map<String, Value>) -> Map<String, Value> {
    let reasoning = REASONING.iter().find_map(|name| message.get(*name).filter(|v| !v.is_null()).cloned());
    let Some(reasoning) = reasoning else { return message };
    let mut fields = Map::from_iter([("thinking".to_owned(), reasoning.clone())]);
    fields.extend(message);
    fields.insert("reasoning_content".into(), reasoning);
    fields
}

/// All that the template can look up.
fn variables(input: &TemplateInput, sight: Sight) -> Any {
    let mut all = Map::new();
    all.insert("documents".into(), Value::Null);
    all.extend(input.specials.clone());
    all.extend(sight.variables);
    all.insert("messages".into(), Value::Array(sight.messages.into_iter().map(Value::Object).collect()));
    all.insert("tools".into(), sight.tools);
    all.insert("add_generation_prompt".into(), input.add_generation_prompt.into());
    Any::from_pairs(all.iter().map(|(name, value)| (name.as_str(), value_of(value))))
}

/// Runs the engine on a stack of its own; its panics become messages.
fn with_stack<T: Send>(run: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
        let thread = thread.map_err(|e| format!("no thread to render in: {e}"))?;
        thread.join().map_err(|_| "the template engine failed".to_owned())
    })
}

/// Bytes of all strings.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.iter().map(|(key, item)| key.len() + size(item)).sum(),
        _ => 1,
    }
}

/// A text that does not grow beyond a limit.
struct Capped {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
