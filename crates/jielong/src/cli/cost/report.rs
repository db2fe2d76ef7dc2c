//! Costs as a table, as JSON with exact numbers, and as a plot.

use anyhow::Result;
use jielong_image::picture::Picture;
use jielong_image::plot::{Curve, lines};
use serde::Serialize;

use super::super::output::{Output, bytes, count, duration, si};
use super::machine::Machine;
use super::measure::{Basis, Depth};
use super::price::Priced;
use super::quality::Quality;

/// All that is printed.
#[derive(Serialize)]
pub struct Report {
    pub models: Vec<Priced>,
    pub quality: Option<Quality>,
}

impl Priced {
    fn print(&self, out: &mut Output) -> Result<()> {
        let context = self.context;
        let [weights, position] = [self.shape.weight_bytes(), self.shape.position_bytes()].map(bytes);
        let head = if self.legal_head { ", of the head the legal rows alone" } else { "" };
        out.line(&format!(
            "{}: {weights} of weights{head}, {position} of cache a position, context {}",
            self.model,
            count(context as u128)
        ))?;
        if let Some(machine) = &self.machine {
            let Machine { threads, instructions, bandwidth_bytes_per_second, flops_per_second } = machine;
            let [read, rate] = [bandwidth_bytes_per_second, flops_per_second].map(|value| si(*value));
            out.line(&format!("{threads} threads, {instructions}: {read}B/s read, {rate}FLOP/s, measured now"))?;
        }
        out.line("")?;
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (pair, ratio) in self.works.chunks_exact(2).zip(&self.ratios) {
            rows.extend(pair.iter().map(|row| row.cells(context)));
            rows.push(ratio.cells());
        }
        let heads = ["", "steps", "FLOPs", "KV cache", "bytes moved", "predicted", "extrapolated", "of the context"];
        let shown = [true, true, true, true, true, self.machine.is_some(), self.measured.is_some(), true];
        let kept = |cells: Vec<String>| -> Vec<String> {
            cells.into_iter().zip(shown).filter_map(|(cell, shown)| shown.then_some(cell)).collect()
        };
        let heads = kept(heads.map(str::to_owned).to_vec());
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        out.table(&heads, &rows.into_iter().map(kept).collect::<Vec<_>>())?;
        self.notes(out)
    }

    /// What the numbers mean.
    fn notes(&self, out: &mut Output) -> Result<()> {
        out.line("")?;
        if self.machine.is_some() {
            out.line(
                "predicted: each step takes no less than its bytes by the read rate, nor its FLOPs by the other.",
            )?;
        }
        if self.works.iter().any(|row| row.exceeds_context) {
            let context = count(self.context as u128);
            out.line(&format!(
                "exceeded: more steps than the context of {context}; the cost is as if it were longer."
            ))?;
        }
        let Some(measured) = &self.measured else { return Ok(()) };
        out.line(&format!(
            "extrapolated, not measured: from {} steps, measured in {}:\n",
            measured.steps,
            duration(measured.seconds)
        ))?;
        let row = |depth: &Depth| {
            let line = measured.seconds_per_step + measured.seconds_per_cache_byte * depth.cache_bytes as f64;
            vec![depth.depth.to_string(), depth.steps.to_string(), duration(depth.seconds_per_step), duration(line)]
        };
        let rows: Vec<Vec<String>> = measured.depths.iter().map(row).collect();
        let by = if measured.basis == Basis::Line { "by the line" } else { "by bytes" };
        out.table(&["tokens before", "steps", "time of a step", by], &rows)
    }

    /// How the works go on, over the share that is done.
    fn plot(&self) -> Picture {
        let speed = self.machine.as_ref().map(Machine::speed);
        let what = match (&self.measured, speed) {
            (Some(_), _) => "extrapolated seconds",
            (None, Some(_)) => "predicted seconds",
            (None, None) => "flops",
        };
        let curves: Vec<Curve> = self.works.iter().map(|row| row.curve(self.measured.as_ref(), speed)).collect();
        lines(&format!("{}: {what}, % of the work", self.model), &curves)
    }
}

impl Report {
    pub fn print(&self, out: &mut Output) -> Result<()> {
        for (index, priced) in self.models.iter().enumerate() {
            if index > 0 {
                out.line("")?;
            }
            priced.print(out)?;
        }
        self.quality.as_ref().map_or(Ok(()), |quality| {
            out.line("")?;
            quality.print(out)
        })
    }

    /// JSON with whole numbers of any size.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// The plots of all models, one below the other.
    pub fn plot(&self) -> Picture {
        let mut sheet = Picture { width: 0, height: 0, rgb: Vec::new() };
        for plot in self.models.iter().map(Priced::plot) {
            sheet.width = plot.width; // all are alike
            sheet.height += plot.height;
            sheet.rgb.extend(plot.rgb);
        }
        sheet
    }
}
