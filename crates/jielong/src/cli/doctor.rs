//! `jielong doctor`: what this machine and this build have. It never fails.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args as ClapArgs;
use jielong::sources;
use jielong_kernels::Isa;
use jielong_nn::device;
use serde_json::{Value, json};

use super::{Global, output};

/// Show devices, CPU features, folders and versions
#[derive(ClapArgs)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Environment variables that change what the program does.
const VARIABLES: [&str; 10] = [
    "JIELONG_CACHE",
    "JIELONG_CONFIG",
    "JIELONG_PYTHON",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "RAYON_NUM_THREADS",
    "CUDA_PATH",
    "NO_COLOR",
];

pub fn run(args: Args, global: &Global) -> Result<()> {
    let mut report: Vec<(&str, Value)> = vec![
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("cuda in this build", json!(cfg!(feature = "cuda"))),
        ("cuda cards", json!(cards())),
        ("cpu", json!(cpu_name())),
        ("cpu features", json!(cpu_features().join(" "))),
        ("cores", json!(std::thread::available_parallelism().map_or(1, usize::from))),
        ("memory", json!(memory().map(output::bytes))),
        ("model cache", folder(sources::cache_dir())),
        ("hub cache", folder(Some(global.sources.hub.cache.clone()))),
        ("hub token", json!(if global.sources.hub.token.is_some() { "set" } else { "none" })),
        ("config file", file(global.config_file.as_deref())),
        ("python", json!(python(&global.sources.python))),
    ];
    for name in VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            report.push((name, json!(value.to_string_lossy())));
        }
    }
    let mut out = output::Output::new();
    if args.json {
        let object: serde_json::Map<String, Value> =
            report.into_iter().map(|(k, v)| (k.replace(' ', "_"), v)).collect();
        return out.json(&Value::Object(object));
    }
    let row = |(name, value): &(&str, Value)| {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null => "unknown".into(),
            other => other.to_string(),
        };
        vec![name.to_string(), value]
    };
    out.table(&["", ""], &report.iter().map(row).collect::<Vec<_>>())
}

/// The cards, or why there are none.
fn cards() -> String {
    if !cfg!(feature = "cuda") {
        return "none: built without `--features cuda`".into();
    }
    match device::cuda_cards().len() {
        0 => "none found: no card, or no driver (libcuda)".into(),
        n => format!("{n} (cuda:0 to cuda:{})", n - 1),
    }
}

/// A value of /proc/cpuinfo (Linux).
fn cpu_info(key: &str) -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn cpu_name() -> String {
    cpu_info("model name").unwrap_or_else(|| std::env::consts::ARCH.into())
}

/// Vector instructions that matter for speed.
fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("f16c", std::arch::is_x86_feature_detected!("f16c")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
        ("amx", Isa::available().contains(&Isa::Amx)),
    ];
    #[cfg(target_arch = "aarch64")]
    let found = [("neon", true), ("dotprod", Isa::available().contains(&Isa::Dot))];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found = [];
    found.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

/// Memory of the machine (Linux).
fn memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("MemTotal:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// A folder and what lies in it.
fn folder(path: Option<PathBuf>) -> Value {
    match path {
        None => Value::Null,
        Some(path) if !path.exists() => json!(format!("{} (not there yet)", path.display())),
        Some(path) => json!(format!("{} ({})", path.display(), output::bytes(size(&path)))),
    }
}

/// Bytes of all files below a folder; links are not followed.
fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size(&entry.path()),
            Ok(data) if data.is_file() => data.len(),
            _ => 0,
        })
        .sum()
}

fn file(path: Option<&Path>) -> Value {
    match path {
        None => Value::Null,
        Some(path) if path.exists() => json!(path.display().to_string()),
        Some(path) => json!(format!("{} (not there; all defaults)", path.display())),
    }
}

/// What runs pip, for models that come as packages.
fn python(command: &[std::ffi::OsString]) -> String {
    let Some((program, arguments)) = command.split_first() else { return "none".into() };
    let output = std::process::Command::new(program).args(arguments).arg("--version").output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => format!("{} does not run; models that come as packages need it", program.to_string_lossy()),
    }
}
