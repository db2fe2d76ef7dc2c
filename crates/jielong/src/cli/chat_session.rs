//! The interactive session of `jielong chat`: line editing, history, commands.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jielong::pipeline::Pipeline;
use jielong::session::Session;
use jielong_core::Model;
use jielong_text::Message;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::json;

use super::chat::{View, answer, filled, load, print_prompt};
use super::{Global, files, output, sampling};

const HELP: &str = "\
/system [TEXT]     show, set or (with -) remove the system prompt; {model} and {date} are filled in
/prefill TEXT      put words into the model's mouth: the next answer goes on from them
/prompt            show the exact text and ids that the model has been given so far
/undo              take back the last question and its answer
/again             answer the last question anew
/set [NAME VALUE]  show or change how tokens are drawn, such as /set temperature 0.7 (off takes it back)
/stats             print times, reused tokens and context after each answer, or no longer
/save FILE         write the conversation
/load FILE         go on with a saved conversation
/new               forget everything but the system prompt
/help              this list
exit               end (also Ctrl-D)";

/// Temperature of `/again` when answers are greedy: the same answer again would be of no use.
const AGAIN: f32 = 0.7;

/// What to do after a line.
enum Next {
    Go,
    Leave,
}

/// An interactive session.
pub struct Chat<'a> {
    pipeline: &'a Pipeline,
    session: Session<'a>,
    view: View,
    global: &'a Global,
    prefill: Option<String>,
}

impl<'a> Chat<'a> {
    pub fn new(pipeline: &'a Pipeline, session: Session<'a>, view: View, global: &'a Global) -> Self {
        Self { pipeline, session, view, global, prefill: None }
    }

    /// Reads lines until `exit` or the end of input.
    pub fn run(mut self) -> Result<()> {
        if !self.global.quiet {
            let (name, context) = (&self.pipeline.name, self.pipeline.model.context());
            eprintln!("{name} on {}, context {context}. /help lists the commands, exit ends.", self.pipeline.device);
        }
        let mut editor = DefaultEditor::new().context("the line editor")?;
        let history = history_file();
        if let Some(file) = &history {
            let _ = editor.load_history(file); // the first session has none
        }
        loop {
            match editor.readline("> ") {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => {
                    let _ = editor.add_history_entry(&line); // a duplicate is not added
                    match self.line(line.trim()) {
                        Ok(Next::Go) => {}
                        Ok(Next::Leave) => break,
                        Err(error) => eprintln!("error: {}", output::explained(&error)),
                    }
                }
                Err(ReadlineError::Interrupted) => eprintln!("(exit or Ctrl-D ends)"),
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error).context("standard input"),
            }
        }
        if let Some(file) = &history {
            let kept =
                file.parent().map_or(Ok(()), std::fs::create_dir_all).is_ok() && editor.save_history(file).is_ok();
            if !kept {
                eprintln!("warning: the history could not be written to {}", file.display());
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<Next> {
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match command {
            "exit" | "quit" | "/exit" | "/quit" if rest.is_empty() => return Ok(Next::Leave),
            "/help" => eprintln!("{HELP}"),
            "/new" => self.session.messages.retain(|m| m.role == "system"),
            "/system" => self.system(rest),
            "/prefill" => self.prefill = Some(rest.to_owned()).filter(|text| !text.is_empty()),
            "/prompt" => print_prompt(&self.session)?,
            "/stats" => self.view.stats = !self.view.stats,
            "/undo" => {
                self.take_back()?;
            }
            "/again" => self.again()?,
            "/set" => self.set(rest)?,
            "/save" => self.save(Path::new(rest))?,
            "/load" => {
                self.session.messages = load(Path::new(rest))?;
                eprintln!("{} messages", self.session.messages.len());
            }
            _ if command.starts_with('/') => bail!("no command is called {command}; /help lists them"),
            _ => self.ask(line.to_owned())?,
        }
        Ok(Next::Go)
    }

    /// Asks, and answers; a question that cannot be answered is taken back.
    fn ask(&mut self, question: String) -> Result<()> {
        let before = self.session.messages.len();
        self.session.messages.push(Message::user(&question));
        let prefill = self.prefill.take();
        if let Some(prefill) = &prefill {
            self.session.messages.push(Message::assistant(prefill));
        }
        let answered = answer(&mut self.session, &self.view, self.pipeline, self.global, prefill.as_deref());
        if answered.is_err() {
            let now = self.session.messages.len();
            self.session.messages.truncate(before.min(now.saturating_sub(1 + usize::from(prefill.is_some()))));
            self.prefill = prefill;
        }
        answered.map(|_| ())
    }

    /// Removes the last question with its answer, and returns the question.
    fn take_back(&mut self) -> Result<String> {
        let last = self.session.messages.iter().rposition(|m| m.role == "user").context("there is no question yet")?;
        let question = self.session.messages[last].text().unwrap_or_default();
        self.session.messages.truncate(last);
        Ok(question)
    }

    fn again(&mut self) -> Result<()> {
        let question = self.take_back()?;
        let config = self.session.sampling().clone();
        if config.temperature > 0.0 {
            return self.ask(question);
        }
        eprintln!("[greedy answers do not change: drawn with temperature {AGAIN}]");
        self.session.set_sampling(jielong_core::SamplerConfig { temperature: AGAIN, ..config.clone() })?;
        let asked = self.ask(question);
        self.session.set_sampling(config)?;
        asked
    }

    fn system(&mut self, text: &str) {
        let has = self.session.messages.first().is_some_and(|m| m.role == "system");
        match (text, has) {
            ("", true) => eprintln!("{}", self.session.messages[0].text().unwrap_or_default()),
            ("", false) => eprintln!("there is no system prompt"),
            ("-", true) => drop(self.session.messages.remove(0)),
            ("-", false) => {}
            (_, true) => self.session.messages[0] = Message::system(&filled(text, self.pipeline)),
            (_, false) => self.session.messages.insert(0, Message::system(&filled(text, self.pipeline))),
        }
    }

    fn set(&mut self, rest: &str) -> Result<()> {
        let mut config = self.session.sampling().clone();
        if let Some((name, value)) = rest.split_once([' ', '=']) {
            sampling::set(&mut config, name.trim(), value.trim())?;
            return self.session.set_sampling(config);
        }
        if !rest.is_empty() {
            bail!("/set {rest}: a value is missing; for example /set temperature 0.7, or /set top_k off");
        }
        let shown = serde_json::to_value(&config)?;
        for name in sampling::NAMES {
            eprintln!("{name:20} {}", if shown[name].is_null() { "off".into() } else { shown[name].to_string() });
        }
        Ok(())
    }

    fn save(&self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() {
            bail!("/save needs a file name");
        }
        let text = serde_json::to_string_pretty(&json!({
            "model": self.pipeline.name,
            "messages": self.session.messages,
        }))?;
        files::write(path, format!("{text}\n").as_bytes())?;
        eprintln!("{} messages in {}", self.session.messages.len(), path.display());
        Ok(())
    }
}

/// Where the lines of earlier sessions are kept.
fn history_file() -> Option<PathBuf> {
    jielong::sources::state_dir().map(|folder| folder.join("chat-history.txt"))
}
