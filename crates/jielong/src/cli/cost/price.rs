//! What works cost with a model, in numbers.

use jielong_core::cost::{Cost, Shape, Speed, cost, seconds};
use jielong_image::plot::Curve;
use serde::Serialize;

use super::super::output::{bytes, count, duration, si};
use super::machine::Machine;
use super::measure::Measured;
use super::works::{Medium, Unit, Work};

/// Points of a curve.
const POINTS: usize = 100;

/// A model and what the works cost with it.
#[derive(Serialize)]
pub struct Priced {
    pub model: String,
    /// Positions of a state.
    pub context: usize,
    /// Whether only the rows of the head are computed that are legal.
    pub legal_head: bool,
    pub shape: Shape,
    /// `None` on a card.
    pub machine: Option<Machine>,
    pub measured: Option<Measured>,
    pub works: Vec<Row>,
    /// Of pixels or samples to codes.
    pub ratios: Vec<Ratio>,
}

/// What one work costs.
#[derive(Clone, Serialize)]
pub struct Row {
    pub medium: Medium,
    pub size: String,
    pub token: Unit,
    pub steps: usize,
    /// Tokens that are legal at a place.
    pub legal_tokens: usize,
    /// Whether the cost is that of a longer context than the model has.
    pub exceeds_context: bool,
    pub flops: Flops,
    pub kv_cache_bytes: u128,
    pub bytes_moved: Bytes,
    /// The least time, by the speed of the machine.
    pub predicted_seconds: Option<f64>,
    /// The time by measured steps; not measured itself.
    pub extrapolated_seconds: Option<f64>,
    #[serde(skip)]
    shape: Shape,
}

#[derive(Clone, Serialize)]
pub struct Flops {
    linear: u128,
    head: u128,
    attention: u128,
    total: u128,
}

#[derive(Clone, Serialize)]
pub struct Bytes {
    weights: u128,
    cache: u128,
    total: u128,
}

/// How many times as much pixels or samples take as codes.
#[derive(Serialize)]
pub struct Ratio {
    medium: Medium,
    steps: f64,
    flops: f64,
    kv_cache_bytes: f64,
    bytes_moved: f64,
    predicted_seconds: Option<f64>,
    extrapolated_seconds: Option<f64>,
}

/// A model before it is priced.
pub struct Subject {
    pub model: String,
    pub context: usize,
    pub shape: Shape,
    pub machine: Option<Machine>,
    pub measured: Option<Measured>,
}

impl Subject {
    /// What the works cost; with heads of all rows, or of those that are legal.
    pub fn price(self, works: &[Work], legal_head: bool) -> Priced {
        let row = |work: &Work| {
            let shape = if legal_head { self.shape.with_head(work.legal) } else { self.shape.clone() };
            Row::new(work, shape, &self)
        };
        let rows: Vec<Row> = works.iter().map(row).collect();
        let ratios = rows.chunks_exact(2).map(|pair| Ratio::new(&pair[0], &pair[1])).collect();
        let Self { model, context, shape, machine, measured } = self;
        Priced { model, context, legal_head, shape, machine, measured, works: rows, ratios }
    }
}

impl Row {
    fn new(work: &Work, shape: Shape, subject: &Subject) -> Self {
        // The token that begins it is the prompt.
        let cost = cost(&shape, 1, work.steps);
        let Cost { linear_flops: linear, head_flops: head, attention_flops: attention, .. } = cost;
        let speed = subject.machine.as_ref().map(Machine::speed);
        Self {
            medium: work.medium,
            size: work.size.clone(),
            token: work.unit,
            steps: work.steps,
            legal_tokens: work.legal,
            exceeds_context: work.steps > subject.context,
            flops: Flops { linear, head, attention, total: cost.flops() },
            kv_cache_bytes: cost.kv_cache_bytes,
            bytes_moved: Bytes { weights: cost.weight_bytes, cache: cost.cache_bytes, total: cost.bytes_moved() },
            predicted_seconds: speed.map(|speed| seconds(&shape, 1, work.steps, speed)),
            extrapolated_seconds: subject.measured.as_ref().map(|measured| measured.extrapolated(&cost)),
            shape,
        }
    }

    fn name(&self) -> String {
        let (medium, token) = match (self.medium, self.token) {
            (Medium::Image, Unit::Code) => ("image", "codes"),
            (Medium::Image, _) => ("image", "pixels"),
            (Medium::Audio, Unit::Code) => ("audio", "codes"),
            (Medium::Audio, _) => ("audio", "samples"),
        };
        format!("{medium} {token}")
    }

    pub fn cells(&self, context: usize) -> Vec<String> {
        let share = self.steps as f64 / context as f64;
        vec![
            format!("{} {}", self.name(), self.size),
            count(self.steps as u128),
            si(self.flops.total as f64),
            big_bytes(self.kv_cache_bytes),
            big_bytes(self.bytes_moved.total),
            time(self.predicted_seconds),
            time(self.extrapolated_seconds),
            if self.exceeds_context { format!("exceeded {share:.1}×") } else { format!("{:.0} %", share * 100.0) },
        ]
    }

    /// Seconds, or FLOPs where there are none, when a share of the work is done.
    pub fn curve(&self, measured: Option<&Measured>, speed: Option<Speed>) -> Curve {
        let at = |part: usize| {
            let steps = (self.steps as u128 * part as u128 / POINTS as u128).max(1) as usize;
            let cost = cost(&self.shape, 1, steps);
            let value = match (measured, speed) {
                (Some(measured), _) => measured.extrapolated(&cost),
                (None, Some(speed)) => seconds(&self.shape, 1, steps, speed),
                (None, None) => cost.flops() as f64,
            };
            [100.0 * part as f64 / POINTS as f64, value]
        };
        Curve { name: self.name(), points: (1..=POINTS).map(at).collect() }
    }
}

impl Ratio {
    fn new(many: &Row, few: &Row) -> Self {
        let over = |a: u128, b: u128| a as f64 / b.max(1) as f64;
        let times = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a / b);
        Self {
            medium: many.medium,
            steps: over(many.steps as u128, few.steps as u128),
            flops: over(many.flops.total, few.flops.total),
            kv_cache_bytes: over(many.kv_cache_bytes, few.kv_cache_bytes),
            bytes_moved: over(many.bytes_moved.total, few.bytes_moved.total),
            predicted_seconds: times(many.predicted_seconds, few.predicted_seconds),
            extrapolated_seconds: times(many.extrapolated_seconds, few.extrapolated_seconds),
        }
    }

    pub fn cells(&self) -> Vec<String> {
        let times =
            |ratio: f64| format!("{}×", if ratio < 10.0 { format!("{ratio:.1}") } else { count(ratio as u128) });
        let maybe = |ratio: Option<f64>| ratio.map_or(String::new(), times);
        let sums = [self.steps, self.flops, self.kv_cache_bytes, self.bytes_moved].map(times);
        let mut cells = vec!["  times as much".to_owned()];
        cells.extend(sums);
        cells.extend([maybe(self.predicted_seconds), maybe(self.extrapolated_seconds), String::new()]);
        cells
    }
}

fn time(seconds: Option<f64>) -> String {
    seconds.map_or(String::new(), duration)
}

fn big_bytes(n: u128) -> String {
    bytes(u64::try_from(n).unwrap_or(u64::MAX))
}
