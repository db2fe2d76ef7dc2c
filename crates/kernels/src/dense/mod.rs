//! Products of two matrices of f32, as they are or rounded to bf16 with sums of f32 (Kalamkar et al. 2019, *A study of bfloat16
//! for deep learning training*): what training multiplies.
//!
//! `[rows, inner] · [inner, columns]`: both sides are packed (Goto, van de Geijn 2008, *Anatomy of high-performance matrix
//! multiplication*) in blocks of 32 rows or columns. A block has two tiles for each step of the inner dimension, and a tile
//! sixteen lines. In f32 a step is sixteen values, and a line has one of them for sixteen rows or columns. In bf16 it is 32: on the
//! left a line is a row with all of them, on the right a pair of them for each of sixteen columns. What is missing to whole
//! blocks and steps is zero.
//!
//! A result does not depend on how many others are computed with it, nor on threads.

mod float;
mod pack;
#[cfg(target_arch = "x86_64")]
mod tile;

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::conv::Factors;
use crate::cpu::Isa;
use crate::matmul::columns::LANES;

pub use pack::{Lies, Operand, Packed, Side};

/// Rows or columns of a block.
const BLOCK: usize = 2 * LANES;

/// Sixteen lines of sixteen f32, or of sixteen pairs of bf16.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Tile([[u32; LANES]; LANES]);

/// Results of a block of rows with a block of columns.
#[repr(align(64))]
struct Sums([[f32; BLOCK]; BLOCK]);

/// In which type these kernels multiply where `wanted` is; `None` where they have no instructions for it.
pub fn factors(isa: Isa, wanted: Factors) -> Option<Factors> {
    match wanted {
        Factors::Bf16 if isa >= Isa::Avx512Bf16 => Some(Factors::Bf16),
        _ if isa >= Isa::Avx2 => Some(Factors::F32),
        _ => None,
    }
}

/// The product of two sides, `[rows, columns]`, on the threads of rayon's pool.
///
/// # Panics
/// If the sides are not a left and a right one of the same inner dimension and type.
pub fn multiply(left: &Packed, right: &Packed) -> Vec<f32> {
    let (rows, columns) = (left.outer, right.outer);
    assert!(left.side == Side::Left && right.side == Side::Right && left.inner == right.inner, "sides of a product");
    assert!(left.factors == right.factors && left.isa == right.isa, "sides of a product");
    let mut out = Vec::with_capacity(rows * columns);
    let blocks = out.spare_capacity_mut()[..rows * columns].par_chunks_mut((BLOCK * columns).max(1)).enumerate();
    blocks.for_each(|(block, out)| multiply_rows((left.isa, left.factors, left.block(block)), right, out));
    // SAFETY: all rows of all blocks were written.
    #[allow(unsafe_code)]
    unsafe {
        out.set_len(rows * columns);
    }
    out
}

/// Rows of a product: a block of the left side with all blocks of the right side.
fn multiply_rows((isa, factors, left): (Isa, Factors, &[Tile]), right: &Packed, out: &mut [MaybeUninit<f32>]) {
    let columns = right.outer;
    #[cfg(target_arch = "x86_64")]
    if factors == Factors::Bf16 {
        // SAFETY: sides of bf16 are packed only where the processor has the instructions.
        #[allow(unsafe_code)]
        return unsafe { tile::multiply(isa, left, right, out) };
    }
    let _ = factors;
    let mut sums = Sums([[0.0; BLOCK]; BLOCK]);
    for (block, first) in (0..columns).step_by(BLOCK).enumerate() {
        float::multiply(isa, left, right.block(block), &mut sums);
        sums.write(first, columns, out);
    }
}

impl Sums {
    /// Writes what is there of the columns from `first` on.
    fn write(&self, first: usize, columns: usize, out: &mut [MaybeUninit<f32>]) {
        for (out, sums) in out.chunks_exact_mut(columns).zip(&self.0) {
            let wide = BLOCK.min(columns - first);
            out[first..][..wide].write_copy_of_slice(&sums[..wide]);
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::testing::values;

    /// `[outer, inner]` → `[inner, outer]`
    fn turned(values: &[f32], [outer, inner]: [usize; 2]) -> Vec<f32> {
        (0..inner * outer).map(|at| values[at % outer * inner + at / outer]).collect()
    }

    #[test]
    fn products_are_those_of_the_values_however_both_sides_lie() {
        let ways = Isa::available().into_iter().flat_map(|isa| {
            let exact = factors(isa, Factors::F32).map(|factors| (isa, factors));
            exact.into_iter().chain(factors(isa, Factors::Bf16).map(|factors| (isa, factors)))
        });
        for (isa, factors) in ways {
            for [rows, inner, columns] in
                [[1, 1, 1], [32, 32, 32], [33, 65, 31], [70, 40, 100], [5, 300, 17], [64, 96, 48]]
            {
                let (a, b) = (values(rows * inner, 1), values(columns * inner, 2));
                let round = |x: &f32| match factors {
                    Factors::F32 => f64::from(*x),
                    Factors::Bf16 => f64::from(bf16::from_f32(*x).to_f32()),
                };
                let exact = |at: usize| -> f64 {
                    let (a, b) = (&a[at / columns * inner..][..inner], &b[at % columns * inner..][..inner]);
                    a.iter().zip(b).map(|(a, b)| round(a) * round(b)).sum()
                };
                let (a, b) = ([&a, &turned(&a, [rows, inner])], [&b, &turned(&b, [columns, inner])]);
                let lies = [Lies::Along, Lies::Across];
                let results = [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[l, r]| {
                    let (left, right) = (Operand::new(a[l], rows, lies[l]), Operand::new(b[r], columns, lies[r]));
                    let [left, right] = [(Side::Left, left), (Side::Right, right)]
                        .map(|(side, operand)| Packed::new(isa, factors, side, operand));
                    multiply(&left, &right)
                });
                for (at, y) in results[0].iter().enumerate() {
                    let exact = exact(at);
                    assert!(
                        (f64::from(*y) - exact).abs() < 1e-5 * (inner as f64).sqrt(),
                        "{isa} {factors:?} {rows} {inner} {columns}: {y} {exact}"
                    );
                }
                assert!(
                    results.iter().all(|other| *other == results[0]),
                    "{isa} {factors:?}: {rows} {inner} {columns}"
                );
            }
        }
    }
}
