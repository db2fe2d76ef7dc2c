//! The command line: what the user says, and what is printed.

mod audio;
mod bench;
mod chat;
mod chat_session;
mod convert;
mod cost;
mod data;
mod doctor;
mod eval;
mod generate;
mod ids;
mod image;
mod interrupt;
mod list;
mod logits;
mod model_args;
mod next;
pub mod output;
mod progress;
mod pull;
mod recipes;
mod sampling;
mod show;
mod spectrogram;
mod speculation;
mod stats;
mod template;
mod tokens;
mod train;

use std::path::PathBuf;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use jielong::files;
use jielong::sources::{SourceOptions, UserConfig};
use jielong_core::SamplerConfig;

/// One loop and one transformer continue every kind of token
#[derive(Parser)]
#[command(name = "jielong", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Use only what is on this machine
    #[arg(long, global = true, help_heading = "General")]
    offline: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, help_heading = "General")]
    color: Color,
    /// Another config file than the user's own
    #[arg(long, global = true, value_name = "FILE", help_heading = "General")]
    config: Option<PathBuf>,
    /// No progress and no hints
    #[arg(short, long, global = true, help_heading = "General")]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
enum Command {
    Chat(chat::Args),
    Generate(generate::Args),
    Next(next::Args),
    Tokens(tokens::Args),
    Template(template::Args),
    Logits(logits::Args),
    Pull(pull::Args),
    List(list::Args),
    Show(show::Args),
    Convert(convert::Args),
    Data(data::Args),
    Train(train::Args),
    Eval(eval::Args),
    Image(image::Args),
    Audio(audio::Args),
    Bench(bench::Args),
    Cost(cost::Args),
    Doctor(doctor::Args),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What holds for every command.
pub struct Global {
    /// No progress and no hints.
    pub quiet: bool,
    /// The user's config file.
    pub user: UserConfig,
    /// Where it is looked for.
    pub config_file: Option<PathBuf>,
    /// Where models come from.
    pub sources: SourceOptions,
}

impl Global {
    /// The user's own sampling settings, over those of a model.
    pub fn sampling(&self, model: SamplerConfig) -> SamplerConfig {
        self.user.sampling.clone().unwrap_or(model)
    }
}

/// Runs one command.
pub fn run(cli: Cli) -> Result<()> {
    output::set_color(match cli.color {
        Color::Auto => None,
        Color::Always => Some(true),
        Color::Never => Some(false),
    });
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "jielong", &mut std::io::stdout());
        return Ok(());
    }
    let user = UserConfig::load(cli.config.as_deref())?;
    let sources = SourceOptions::from_env()?.with_config(&user).offline(cli.offline);
    let config_file = cli.config.or_else(jielong::sources::config_file);
    let global = Global { quiet: cli.quiet, user, config_file, sources };
    match cli.command {
        Command::Chat(args) => chat::run(args, &global),
        Command::Generate(args) => generate::run(args, &global),
        Command::Next(args) => next::run(args, &global),
        Command::Tokens(args) => tokens::run(args, &global),
        Command::Template(args) => template::run(args, &global),
        Command::Logits(args) => logits::run(args, &global),
        Command::Pull(args) => pull::run(args, &global),
        Command::List(args) => list::run(args, &global),
        Command::Show(args) => show::run(args, &global),
        Command::Convert(args) => convert::run(args, &global),
        Command::Data(args) => data::run(args, &global),
        Command::Train(args) => train::run(args, &global),
        Command::Eval(args) => eval::run(args, &global),
        Command::Image(args) => image::run(args, &global),
        Command::Audio(args) => audio::run(args, &global),
        Command::Bench(args) => bench::run(args, &global),
        Command::Cost(args) => cost::run(args, &global),
        Command::Doctor(args) => doctor::run(args, &global),
        Command::Completions { .. } => Ok(()),
    }
}
