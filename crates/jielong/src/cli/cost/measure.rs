//! Some steps of a model, timed at growing depths, and the line through them that says what all steps would take.

use std::time::Instant;

use anyhow::Result;
use jielong_core::cost::{Cost, Shape, step};
use jielong_core::{Model, State, Token};
use jielong_llama::Llama;
use serde::Serialize;

use super::super::bench::{feed, greedy, median, tokens};

/// Depths that are tried, as far as time and context allow.
const DEPTHS: [usize; 6] = [0, 256, 1024, 4096, 16_384, 65_536];
/// Most and fewest steps at a depth.
const STEPS: [usize; 2] = [64, 4];
/// Tokens that are read at once on the way to a depth, between two looks at the clock.
const CHUNK: usize = 128;

/// Steps at one depth.
#[derive(Clone, Debug, Serialize)]
pub struct Depth {
    /// Tokens before the first of the steps.
    pub depth: usize,
    pub steps: usize,
    /// The median.
    pub seconds_per_step: f64,
    /// Bytes of the cache that a step in their middle reads.
    pub cache_bytes: u128,
}

/// What the extrapolation rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A line through the times at several depths.
    Line,
    /// One depth only, or times that do not grow with it: a byte of the cache as long as one of the weights.
    Bytes,
}

/// Measured steps and the line through them.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// All of the measurement, with the tokens read between the depths.
    pub seconds: f64,
    /// Steps timed, at all depths.
    pub steps: usize,
    pub depths: Vec<Depth>,
    pub basis: Basis,
    /// Of a step, without the cache.
    pub seconds_per_step: f64,
    pub seconds_per_cache_byte: f64,
}

impl Measured {
    /// Times steps of a model for some `seconds`.
    pub fn of(model: &Llama, shape: &Shape, seconds: f64) -> Result<Self> {
        let start = Instant::now();
        let left = || seconds - start.elapsed().as_secs_f64();
        let most = STEPS[0].min(model.context() / 4).max(1);
        let (mut state, mut depths) = (model.new_state()?, Vec::<Depth>::new());
        for target in DEPTHS {
            // The last steps end with the context.
            let target = target.min(model.context().saturating_sub(most));
            if !depths.is_empty() && (target <= state.len() || left() <= 0.0) {
                break;
            }
            let reading = left() / 2.0;
            while state.len() < target && left() > reading {
                let count = CHUNK.min(target - state.len());
                feed(model, &mut state, &tokens(model, count))?;
            }
            let (depth, until) = (state.len(), left() - seconds / 8.0);
            let (mut token, mut times) = (Token(1), Vec::new());
            while times.len() < most && (times.len() < STEPS[1] || left() > until) {
                let start = Instant::now();
                token = greedy(&model.next(&[token], &mut state)?);
                times.push(start.elapsed().as_secs_f64());
            }
            let cache_bytes = step(shape, depth + times.len().div_ceil(2)).cache_bytes;
            depths.push(Depth { depth, steps: times.len(), seconds_per_step: median(&times), cache_bytes });
        }
        let points: Vec<[f64; 2]> = depths.iter().map(|d| [d.cache_bytes as f64, d.seconds_per_step]).collect();
        let (basis, [per_step, per_byte]) = line(&points, shape.weight_bytes() as f64);
        Ok(Self {
            seconds: start.elapsed().as_secs_f64(),
            steps: depths.iter().map(|depth| depth.steps).sum(),
            depths,
            basis,
            seconds_per_step: per_step,
            seconds_per_cache_byte: per_byte,
        })
    }

    /// What some steps would take, by the line.
    pub fn extrapolated(&self, cost: &Cost) -> f64 {
        self.seconds_per_step * cost.steps as f64 + self.seconds_per_cache_byte * cost.cache_bytes as f64
    }
}

/// Seconds of a step and of a byte of its cache, by least squares over `[bytes, seconds]`.
fn line(points: &[[f64; 2]], weight_bytes: f64) -> (Basis, [f64; 2]) {
    let count = points.len().max(1) as f64;
    let mean = |axis: usize| points.iter().map(|point| point[axis]).sum::<f64>() / count;
    let (bytes, seconds) = (mean(0), mean(1));
    let spread: f64 = points.iter().map(|[x, _]| (x - bytes) * (x - bytes)).sum();
    let slope = points.iter().map(|[x, t]| (x - bytes) * (t - seconds)).sum::<f64>() / spread;
    let intercept = seconds - slope * bytes;
    match slope > 0.0 && intercept > 0.0 {
        true => (Basis::Line, [intercept, slope]),
        false => {
            let per_byte = seconds / (weight_bytes + bytes).max(1.0);
            (Basis::Bytes, [per_byte * weight_bytes, per_byte])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_its_points_or_follows_the_bytes() {
        let (basis, [step, byte]) = line(&[[0.0, 2.0], [10.0, 3.0], [30.0, 5.0]], 100.0);
        assert!(basis == Basis::Line && (step - 2.0).abs() < 1e-12 && (byte - 0.1).abs() < 1e-12);
        for points in [&[[20.0, 6.0]][..], &[[10.0, 7.0], [30.0, 5.0]], &[[20.0, 6.0], [20.0, 6.0]]] {
            let (basis, [step, byte]) = line(points, 100.0);
            assert!(basis == Basis::Bytes && (step - 5.0).abs() < 1e-12 && (byte - 0.05).abs() < 1e-12, "{points:?}");
        }
    }
}
