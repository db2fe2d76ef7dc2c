//! The rotary part of a `config.json`: base frequencies and scaling, in both published forms.

use serde_json::Value;

use crate::config::{ConfigError, unsupported};
use crate::hf::Keys;
use crate::rope::RopeScaling;

/// `rope_theta` of full layers, and that of sliding ones where the family has two (Gemma 3).
pub(crate) fn thetas(keys: &Keys, family: &str) -> Result<(f64, Option<f64>), ConfigError> {
    let two = family.starts_with("gemma3");
    let default = match family {
        "smollm3" => 2e6,
        _ if two => 1e6,
        _ => 1e4,
    };
    let nested = |part: &str| -> Result<Option<f64>, ConfigError> {
        match parameters(keys, part) {
            Some(map) => Keys(map).number("rope_theta"),
            None => Ok(None),
        }
    };
    let theta = match nested("full_attention")? {
        Some(theta) => theta,
        None => keys.number("rope_theta")?.unwrap_or(default),
    };
    if !two {
        return Ok((theta, None));
    }
    let local = match keys.value("rope_parameters") {
        Some(_) => nested("sliding_attention")?,
        None => keys.number("rope_local_base_freq")?,
    };
    Ok((theta, Some(local.unwrap_or(1e4))))
}

/// The object that holds the rotary keys: `rope_parameters`, its entry for `part` where layers differ, or `rope_scaling`.
fn parameters<'a>(keys: &'a Keys, part: &str) -> Option<&'a serde_json::Map<String, Value>> {
    let map = keys.value("rope_parameters").or_else(|| keys.value("rope_scaling"))?.as_object()?;
    match map.get(part).and_then(Value::as_object) {
        Some(inner) => Some(inner),
        None => Some(map),
    }
}

/// The change of frequencies that the config asks for, of a model with `context` positions.
pub(crate) fn scaling(keys: &Keys, part: &str, context: usize) -> Result<RopeScaling, ConfigError> {
    let Some(map) = parameters(keys, part) else { return Ok(RopeScaling::Default) };
    let rope = Keys(map);
    let kind = match rope.text("rope_type")? {
        Some(kind) => kind,
        None => rope.text("type")?.unwrap_or_else(|| "default".into()),
    };
    let required = |key: &str| -> Result<f64, ConfigError> {
        rope.number(key)?.ok_or_else(|| ConfigError::Missing { key: format!("rope_scaling.{key}") })
    };
    let original = match rope.size("original_max_position_embeddings")? {
        Some(n) => n,
        None => keys.size("original_max_position_embeddings")?.unwrap_or(context),
    };
    match kind.as_str() {
        // Dynamic NTK changes frequencies only beyond `max_position_embeddings`, and no state goes there.
        "default" | "dynamic" => Ok(RopeScaling::Default),
        "linear" => Ok(RopeScaling::Linear { factor: required("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: required("factor")?,
            low_freq_factor: required("low_freq_factor")?,
            high_freq_factor: required("high_freq_factor")?,
            original,
        }),
        // Phi 3 said "yarn" and "su" before the method had its name.
        "yarn" if rope.value("short_factor").is_some() => long(&rope, original, context),
        "yarn" => yarn(&rope, original, context),
        "longrope" | "su" => long(&rope, original, context),
        _ => Err(unsupported(
            "rope_scaling.rope_type",
            kind,
            "; supported are default, linear, dynamic, llama3, yarn and longrope",
        )),
    }
}

fn yarn(rope: &Keys, original: usize, context: usize) -> Result<RopeScaling, ConfigError> {
    let factor = rope.number("factor")?.unwrap_or(context as f64 / original.max(1) as f64);
    let mscale = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
    let nonzero = |key: &str| -> Result<Option<f64>, ConfigError> { Ok(rope.number(key)?.filter(|&n| n != 0.0)) };
    let attention_factor = match (rope.number("attention_factor")?, nonzero("mscale")?, nonzero("mscale_all_dim")?) {
        (Some(factor), _, _) => factor,
        (None, Some(one), Some(all)) => mscale(one) / mscale(all),
        _ => mscale(1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: nonzero("beta_fast")?.unwrap_or(32.0),
        beta_slow: nonzero("beta_slow")?.unwrap_or(1.0),
        original,
        attention_factor,
        truncate: rope.switch("truncate")?.unwrap_or(true),
    })
}

fn long(rope: &Keys, original: usize, context: usize) -> Result<RopeScaling, ConfigError> {
    let list = |key: &str| -> Result<Vec<f64>, ConfigError> {
        rope.numbers(key)?.ok_or_else(|| ConfigError::Missing { key: format!("rope_scaling.{key}") })
    };
    let factor = rope.number("factor")?.unwrap_or(context as f64 / original.max(1) as f64);
    let attention_factor = match rope.number("attention_factor")? {
        Some(given) => given,
        None if factor <= 1.0 || original < 2 => 1.0,
        None => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
    };
    Ok(RopeScaling::Long { short: list("short_factor")?, long: list("long_factor")?, original, attention_factor })
}
