//! How long, how fast and how often: the numbers of a run.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// The numbers of a run: part of `configs/train/*.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Steps of the whole run.
    pub steps: u64,
    /// Items of a batch.
    pub batch: usize,
    /// Batches whose gradients make one step.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// The highest learning rate.
    pub rate: f64,
    /// The last learning rate, as a share of the highest.
    #[serde(default)]
    pub last_rate: f64,
    /// Steps in which the rate rises to its highest.
    #[serde(default)]
    pub warmup: u64,
    /// Where chance begins.
    #[serde(default)]
    pub seed: u64,
    /// Steps between rows of `loss.csv`.
    #[serde(default = "ten")]
    pub log_every: u64,
    /// Steps between evaluations.
    pub evaluate_every: u64,
    /// Steps between checkpoints.
    pub save_every: u64,
}

fn one() -> usize {
    1
}

fn ten() -> u64 {
    10
}

/// A number that no run has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` = {found}; {expected} is expected")]
pub struct PlanError {
    /// The key.
    pub key: &'static str,
    /// The value found.
    pub found: String,
    /// What is expected.
    pub expected: &'static str,
}

impl Plan {
    /// Refuses numbers that make no run.
    ///
    /// # Errors
    /// [`PlanError`], the first of them.
    pub fn check(&self) -> Result<(), PlanError> {
        let counts = [
            ("steps", self.steps),
            ("batch", self.batch as u64),
            ("accumulate", self.accumulate as u64),
            ("log_every", self.log_every),
            ("evaluate_every", self.evaluate_every),
            ("save_every", self.save_every),
        ];
        if let Some((key, found)) = counts.into_iter().find(|(_, count)| !(1..=1 << 40).contains(count)) {
            return Err(PlanError { key, found: found.to_string(), expected: "a number from 1 on" });
        }
        if !self.rate.is_finite() || self.rate <= 0.0 {
            return Err(PlanError { key: "rate", found: self.rate.to_string(), expected: "a number above 0" });
        }
        if !(0.0..=1.0).contains(&self.last_rate) {
            return Err(PlanError {
                key: "last_rate",
                found: self.last_rate.to_string(),
                expected: "a share from 0 to 1",
            });
        }
        Ok(())
    }

    /// The learning rate of a step, counted from 1: up a line, then down half a cosine (Loshchilov & Hutter 2017, *SGDR*).
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        if step <= self.warmup {
            return self.rate * step as f64 / self.warmup as f64;
        }
        let whole = self.steps.saturating_sub(self.warmup).max(1);
        let share = ((step - self.warmup) as f64 / whole as f64).min(1.0);
        let last = self.rate * self.last_rate;
        last + (self.rate - last) * (1.0 + (PI * share).cos()) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            steps: 110,
            batch: 2,
            accumulate: 1,
            rate: 0.5,
            last_rate: 0.1,
            warmup: 10,
            seed: 0,
            log_every: 10,
            evaluate_every: 50,
            save_every: 50,
        }
    }

    #[test]
    fn the_rate_rises_and_falls() {
        let close = |step, expected: f64| assert!((plan().rate(step) - expected).abs() < 1e-12, "{step}");
        close(1, 0.05);
        close(10, 0.5);
        close(60, 0.275);
        close(110, 0.05);
        close(1000, 0.05);
        assert!(Plan { warmup: 0, ..plan() }.rate(1) > 0.49);
    }

    #[test]
    fn numbers_that_make_no_run_are_named() {
        assert_eq!(plan().check(), Ok(()));
        for (bad, key) in [
            (Plan { steps: 0, ..plan() }, "steps"),
            (Plan { batch: 0, ..plan() }, "batch"),
            (Plan { save_every: 0, ..plan() }, "save_every"),
            (Plan { rate: f64::NAN, ..plan() }, "rate"),
            (Plan { rate: -1.0, ..plan() }, "rate"),
            (Plan { last_rate: 2.0, ..plan() }, "last_rate"),
        ] {
            assert_eq!(bad.check().map_err(|error| error.key), Err(key));
        }
    }
}
