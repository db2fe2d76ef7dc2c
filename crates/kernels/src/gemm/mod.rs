//! Products of two matrices of f32 rounded to bf16, with sums of f32 (Kalamkar et al. 2019, *A study of bfloat16 for deep learning
//! training*): what training multiplies, for processors that multiply bf16.
//!
//! `[rows, inner] · [inner, columns]`: both sides are packed (Goto, van de Geijn 2008, *Anatomy of high-performance matrix
//! multiplication*) in blocks of [`BLOCK`] rows or columns. A block has two tiles for each [`STEP`] of the inner dimension, and a
//! tile sixteen lines: on the left sixteen rows with 32 values each, on the right sixteen pairs of values for each of sixteen
//! columns. What is missing to whole blocks and steps is zero.
//!
//! A result does not depend on how many others are computed with it, nor on threads.

mod pack;
#[cfg(target_arch = "x86_64")]
mod tile;

use crate::cpu::Isa;
use crate::matmul::columns::LANES;
use crate::shared::Disjoint;

pub use pack::{Lies, Operand, Packed, Side};

/// Rows or columns of a block.
const BLOCK: usize = 2 * LANES;
/// Values of the inner dimension of a tile.
const STEP: usize = 32;

/// Sixteen lines of 32 values of bf16.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Tile([[u32; LANES]; LANES]); // pairs

/// Does the work of each index below a number, on as many threads as the caller has for it.
pub type Each<'a> = &'a (dyn Fn(usize, &(dyn Fn(usize) + Sync)) + Sync);

/// Whether a processor has products of bf16.
pub fn is_there(isa: Isa) -> bool {
    isa >= Isa::Avx512Bf16
}

/// The product of two sides, `[rows, columns]`.
///
/// # Panics
/// If the sides are not a left and a right one of the same inner dimension.
pub fn product(left: &Packed, right: &Packed, each: Each) -> Vec<f32> {
    let (rows, columns) = (left.outer, right.outer);
    assert!(left.side == Side::Left && right.side == Side::Right && left.inner == right.inner, "sides of a product");
    let mut out = Vec::with_capacity(rows * columns);
    let room = Disjoint::new(&mut out.spare_capacity_mut()[..rows * columns]);
    each(rows.div_ceil(BLOCK), &|block| {
        let first = block * BLOCK;
        // SAFETY: a task has the rows of its block; the processor has the instructions, or there were no packed sides.
        #[allow(unsafe_code)]
        unsafe {
            let out = room.slice(first * columns, BLOCK.min(rows - first) * columns);
            multiply(left.isa, left.block(block), &right.tiles, columns, out);
        }
    });
    // SAFETY: each task has written all its rows.
    #[allow(unsafe_code)]
    unsafe {
        out.set_len(rows * columns);
    }
    out
}

#[cfg(target_arch = "x86_64")]
use tile::multiply;

/// # Safety
/// Packed sides are not made on other architectures.
#[cfg(not(target_arch = "x86_64"))]
#[allow(unsafe_code)]
unsafe fn multiply(isa: Isa, _: &[Tile], _: &[Tile], _: usize, _: &mut [std::mem::MaybeUninit<f32>]) {
    unreachable!("packed sides on {isa}")
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// `[outer, inner]` → `[inner, outer]`
    fn turned(values: &[f32], [outer, inner]: [usize; 2]) -> Vec<f32> {
        (0..inner * outer).map(|at| values[at % outer * inner + at / outer]).collect()
    }

    #[test]
    fn products_are_those_of_rounded_values_however_both_sides_lie() {
        for isa in Isa::available().into_iter().filter(|&isa| is_there(isa)) {
            for [rows, inner, columns] in
                [[1, 1, 1], [32, 32, 32], [33, 65, 31], [70, 40, 100], [5, 300, 17], [64, 96, 48]]
            {
                let (a, b) = (values(rows * inner, 1), values(columns * inner, 2));
                let round = |x: &f32| f64::from(bf16::from_f32(*x).to_f32());
                let exact = |at: usize| -> f64 {
                    let (a, b) = (&a[at / columns * inner..][..inner], &b[at % columns * inner..][..inner]);
                    a.iter().zip(b).map(|(a, b)| round(a) * round(b)).sum()
                };
                let (a, b) = ([&a, &turned(&a, [rows, inner])], [&b, &turned(&b, [columns, inner])]);
                let lies = [Lies::Along, Lies::Across];
                let each: Each = &|count, work| (0..count).rev().for_each(work);
                let results = [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[l, r]| {
                    let (left, right) = (Operand::new(a[l], rows, lies[l]), Operand::new(b[r], columns, lies[r]));
                    product(
                        &Packed::new(isa, Side::Left, left, each),
                        &Packed::new(isa, Side::Right, right, each),
                        each,
                    )
                });
                for (at, y) in results[0].iter().enumerate() {
                    let exact = exact(at);
                    assert!(
                        (f64::from(*y) - exact).abs() < 1e-5 * (inner as f64).sqrt(),
                        "{isa} {rows} {inner} {columns}: {y} {exact}"
                    );
                }
                assert!(results.iter().all(|other| *other == results[0]), "{isa}: {rows} {inner} {columns}");
            }
        }
    }
}
