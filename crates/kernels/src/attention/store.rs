//! Keys and values of one layer, laid out for the kernel that reads them.
//!
//! Keys lie in panels of sixteen positions, `[head][position / 16][dim][16]`, so that a score is computed in each lane;
//! values lie as they are, `[head][position][dim]`, with `dim` padded to sixteens. 8-bit cells have one scale for each head
//! and position.

use std::str::FromStr;

use half::f16;

use crate::lanes::Cell;
use crate::mapped::Cells;
use crate::matmul::columns::LANES;

/// Type of the cells of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheType {
    /// Exact.
    #[default]
    F32,
    /// Half the memory and half the time, 11 bits.
    F16,
    /// A quarter: 8 bits and a scale for each head and position.
    Q8,
}

impl CacheType {
    /// Bytes of the keys or values of one head at one position.
    pub fn bytes(self, dim: usize) -> usize {
        match self {
            Self::F32 => 4 * dim,
            Self::F16 => 2 * dim,
            Self::Q8 => dim + 4,
        }
    }
}

impl FromStr for CacheType {
    type Err = UnknownCacheType;

    fn from_str(name: &str) -> Result<Self, UnknownCacheType> {
        match name {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "q8" | "q8_0" => Ok(Self::Q8),
            _ => Err(UnknownCacheType(name.into())),
        }
    }
}

/// Not the name of a type of a cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no type of a cache is called `{0}`; use f32, f16 or q8")]
pub struct UnknownCacheType(String);

/// Cells, in one of the types.
#[derive(Debug)]
pub(super) enum Stored {
    F32(Cells<f32>),
    F16(Cells<f16>),
    Q8 { cells: Cells<i8>, scales: Cells<f32> },
}

/// Keys and values of one layer.
#[derive(Debug)]
pub struct KvStore {
    pub(super) heads: usize,
    pub(super) dim: usize,
    slots: usize,
    pub(super) keys: Stored,
    pub(super) values: Stored,
}

impl KvStore {
    /// Room for `slots` positions of `heads` heads of `dim` values, all empty. Memory is taken when it is written.
    pub fn new(cells: CacheType, heads: usize, dim: usize, slots: usize) -> Self {
        let slots = slots.next_multiple_of(LANES);
        let make = |count: usize| match cells {
            CacheType::F32 => Stored::F32(Cells::new(count)),
            CacheType::F16 => Stored::F16(Cells::new(count)),
            CacheType::Q8 => Stored::Q8 { cells: Cells::new(count), scales: Cells::new(heads * slots) },
        };
        let padded = dim.next_multiple_of(LANES);
        Self { heads, dim, slots, keys: make(heads * slots * dim), values: make(heads * slots * padded) }
    }

    /// Positions there is room for.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let of = |cells: &Stored| match cells {
            Stored::F32(cells) => cells.len() * 4,
            Stored::F16(cells) => cells.len() * 2,
            Stored::Q8 { cells, scales } => cells.len() + scales.len() * 4,
        };
        of(&self.keys) + of(&self.values)
    }

    /// `dim`, rounded up to sixteens.
    pub(super) fn padded(&self) -> usize {
        self.dim.next_multiple_of(LANES)
    }

    /// Cells of one head.
    pub(super) fn key_span(&self) -> usize {
        self.slots * self.dim
    }

    pub(super) fn value_span(&self) -> usize {
        self.slots * self.padded()
    }

    /// Makes room for `slots` positions and keeps those that are there.
    pub fn grow(&mut self, slots: usize) {
        let slots = slots.next_multiple_of(LANES);
        if slots <= self.slots {
            return;
        }
        fn wider<C: Cell>(old: &[C], heads: usize, new: usize) -> Cells<C> {
            let mut out = Cells::new(heads * new);
            for (old, out) in old.chunks_exact((old.len() / heads).max(1)).zip(out.chunks_exact_mut(new)) {
                out[..old.len()].copy_from_slice(old);
            }
            out
        }
        let heads = self.heads;
        let grow = |cells: &mut Stored, span: usize| {
            *cells = match cells {
                Stored::F32(cells) => Stored::F32(wider(cells, heads, span)),
                Stored::F16(cells) => Stored::F16(wider(cells, heads, span)),
                Stored::Q8 { cells, scales } => {
                    Stored::Q8 { cells: wider(cells, heads, span), scales: wider(scales, heads, slots) }
                }
            };
        };
        let padded = self.padded();
        grow(&mut self.keys, slots * self.dim);
        grow(&mut self.values, slots * padded);
        self.slots = slots;
    }

    /// Writes keys and values, `[t][heads][dim]` each, at the positions from `start` on.
    ///
    /// # Panics
    /// If there is no room, or the lengths do not agree.
    pub fn append(&mut self, start: usize, keys: &[f32], values: &[f32]) {
        let (dim, heads, slots) = (self.dim, self.heads, self.slots);
        let t = keys.len() / (heads * dim);
        assert!(
            keys.len() == t * heads * dim && values.len() == keys.len() && start + t <= slots,
            "no room for {t} positions"
        );
        let (key_span, value_span, padded) = (self.key_span(), self.value_span(), self.padded());
        let rows =
            |all| <[f32]>::chunks_exact(all, dim).enumerate().map(|(i, row)| (start + i / heads, i % heads, row));
        for (position, head, row) in rows(keys) {
            let at = head * key_span + position / LANES * LANES * dim + position % LANES;
            write(&mut self.keys, row, at, LANES, head * slots + position);
        }
        for (position, head, row) in rows(values) {
            write(&mut self.values, row, head * value_span + position * padded, 1, head * slots + position);
        }
    }
}

/// Writes a row to `at`, `at + step`, …, and its scale.
fn write(cells: &mut Stored, row: &[f32], at: usize, step: usize, scale_at: usize) {
    match cells {
        Stored::F32(cells) => {
            cells[at..].iter_mut().step_by(step).zip(row).for_each(|(cell, value)| *cell = *value);
        }
        Stored::F16(cells) => {
            cells[at..].iter_mut().step_by(step).zip(row).for_each(|(cell, value)| *cell = f16::from_f32(*value));
        }
        Stored::Q8 { cells, scales } => {
            let bits = row.iter().fold(0, |most, value| (value.to_bits() & 0x7fff_ffff).max(most));
            let most = f32::from_bits(bits);
            // What is not finite makes the scale NaN, and so whatever reads it.
            let scale = if most.is_finite() { most / 127.0 } else { f32::NAN };
            let factor = if most > 1e-30 { 127.0 / most } else { 0.0 };
            scales[scale_at] = scale;
            for (cell, value) in cells[at..].iter_mut().step_by(step).zip(row) {
                *cell = (value * factor).round_ties_even() as i8;
            }
        }
    }
}
