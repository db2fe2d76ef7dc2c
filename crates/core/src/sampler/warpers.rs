//! The steps that shape the distribution before a draw: temperature, then filters.
//!
//! Every filter finds a bar over the candidates that the one before left, and keeps what reaches it. The candidates stay
//! in the order of their ids, so a draw does not depend on how anything was sorted, and nothing is sorted in full unless
//! the answer needs it. At least one candidate always stays. Where two equal tokens cannot both stay, the lower id does.

use super::SamplerConfig;
use crate::logits::{Candidate, Softmax, by_logit, candidates, max};
use crate::select::{first, first_until};

/// Top-h looks at so many tokens, whatever the vocabulary.
const TOP_H_TOKENS: usize = 100;

/// What can be drawn from a processed row, in the order of the ids. The row itself is divided by the temperature.
pub(super) fn warp(config: &SamplerConfig, row: &mut [f32]) -> Vec<Candidate> {
    if config.temperature != 1.0 {
        temperature(row, config.temperature);
    }
    let mut left: Vec<Candidate> = match (config.top_h, config.top_k) {
        (None, Some(k)) => top_k_of_row(row, k),
        _ => candidates(row).collect(),
    };
    if let Some(share) = config.top_h {
        top_h(&mut left, share);
        if let Some(k) = config.top_k {
            top_k(&mut left, k);
        }
    }
    if let Some(mass) = config.top_p.filter(|mass| *mass < 1.0) {
        top_p(&mut left, mass);
    }
    if let Some(share) = config.min_p {
        min_p(&mut left, share);
    }
    if let Some(mass) = config.typical_p.filter(|mass| *mass < 1.0) {
        typical_p(&mut left, mass);
    }
    if let Some(epsilon) = config.epsilon_cutoff.filter(|epsilon| *epsilon > 0.0) {
        at_least(&mut left, f64::from(epsilon).ln());
    }
    if let Some(epsilon) = config.eta_cutoff.filter(|epsilon| *epsilon > 0.0) {
        let epsilon = f64::from(epsilon).ln();
        let entropy = entropy(&left, &softmax(&left));
        at_least(&mut left, epsilon.min(epsilon / 2.0 - entropy));
    }
    left
}

fn temperature(row: &mut [f32], temperature: f32) {
    let max = max(row.iter().copied());
    // A tiny temperature sends the best logits to infinity. A shift changes no probability, and puts the best at 0.
    let shift = if (max / temperature).is_finite() { 0.0 } else { max };
    for logit in row {
        *logit = (*logit - shift) / temperature;
    }
}

fn top_k_of_row(row: &[f32], k: usize) -> Vec<Candidate> {
    let best = first(candidates(row), k, by_logit);
    let Some(last) = best.last() else {
        return best;
    };
    let bar = last.logit;
    candidates(row).filter(|candidate| candidate.logit >= bar).collect()
}

fn top_k(left: &mut Vec<Candidate>, k: usize) {
    let best = first(left.iter().copied(), k, by_logit);
    if let Some(last) = best.last() {
        left.retain(|candidate| candidate.logit >= last.logit);
    }
}

fn top_p(left: &mut Vec<Candidate>, mass: f32) {
    let softmax = softmax(left);
    let mut sum = 0.0;
    let best = first_until(left, by_logit, |candidate| {
        sum += softmax.prob(candidate.logit);
        sum >= f64::from(mass)
    });
    keep_to_last(left, &best);
}

fn top_h(left: &mut Vec<Candidate>, share: f32) {
    let mut best = first(left.iter().copied(), TOP_H_TOKENS, by_logit);
    let softmax = softmax(&best);
    let limit = entropy(&best, &softmax) * f64::from(share);
    let mut sum = 0.0;
    let within = best.iter().take_while(|candidate| {
        sum += surprise_share(candidate, &softmax);
        sum <= limit
    });
    let count = within.count().max(1);
    best.truncate(count);
    keep_to_last(left, &best);
}

fn min_p(left: &mut Vec<Candidate>, share: f32) {
    let bar = f64::from(best_logit(left)) + f64::from(share).ln();
    left.retain(|candidate| f64::from(candidate.logit) >= bar);
}

fn typical_p(left: &mut Vec<Candidate>, mass: f32) {
    let softmax = softmax(left);
    let entropy = entropy(left, &softmax);
    let distance = |candidate: &Candidate| (-softmax.log_prob(candidate.logit) - entropy).abs();
    let mut sum = 0.0;
    let order = |a: &Candidate, b: &Candidate| {
        let nearer = distance(a).total_cmp(&distance(b));
        nearer.then(a.token.cmp(&b.token))
    };
    let nearest = first_until(left, order, |candidate| {
        sum += softmax.prob(candidate.logit);
        sum >= f64::from(mass)
    });
    // Those that tie with the last stay too.
    if let Some(bar) = nearest.last().map(distance) {
        left.retain(|candidate| distance(candidate) <= bar);
    }
}

/// Keeps what has at least this log-probability, and always the likeliest.
fn at_least(left: &mut Vec<Candidate>, log_probability: f64) {
    let softmax = softmax(left);
    let best = best_logit(left);
    left.retain(|candidate| softmax.log_prob(candidate.logit) >= log_probability || candidate.logit == best);
}

/// Keeps what comes no later than the last of `best`.
fn keep_to_last(left: &mut Vec<Candidate>, best: &[Candidate]) {
    if let Some(last) = best.last() {
        left.retain(|candidate| by_logit(candidate, last).is_le());
    }
}

fn best_logit(left: &[Candidate]) -> f32 {
    max(left.iter().map(|candidate| candidate.logit))
}

fn softmax(left: &[Candidate]) -> Softmax {
    Softmax::of(left.iter().map(|candidate| candidate.logit))
}

/// In nats.
fn entropy(left: &[Candidate], softmax: &Softmax) -> f64 {
    left.iter().map(|candidate| surprise_share(candidate, softmax)).sum()
}

/// −p ln p.
fn surprise_share(candidate: &Candidate, softmax: &Softmax) -> f64 {
    let log_prob = softmax.log_prob(candidate.logit);
    -log_prob.exp() * log_prob
}
