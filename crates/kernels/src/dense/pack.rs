//! One side of a product, from f32 as it lies to tiles.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::{BLOCK, Tile};
use crate::conv::Factors;
use crate::cpu::Isa;
use crate::matmul::columns::LANES;

/// On which side of a product a matrix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its outer dimension is that of rows.
    Left,
    /// That of columns.
    Right,
}

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    /// `[outer, inner]`
    Along,
    /// `[inner, outer]`
    Across,
}

/// A matrix as it is before it is packed.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    values: &'a [f32],
    outer: usize,
    inner: usize,
    lies: Lies,
}

impl<'a> Operand<'a> {
    /// A matrix of so many rows or columns of the product.
    ///
    /// # Panics
    /// If the values are not so many whole ones.
    pub fn new(values: &'a [f32], outer: usize, lies: Lies) -> Self {
        let inner = values.len() / outer.max(1);
        assert!(values.len() == outer * inner, "{} values of {outer}", values.len());
        Self { values, outer, inner, lies }
    }
}

/// A side of a product.
#[derive(Clone, Debug)]
pub struct Packed {
    pub(super) isa: Isa,
    pub(super) factors: Factors,
    pub(super) side: Side,
    pub(super) outer: usize,
    pub(super) inner: usize,
    tiles: Vec<Tile>, // [blocks][steps][2]
}

/// Values of the inner dimension of a tile.
fn step(factors: Factors) -> usize {
    match factors {
        Factors::F32 => LANES,
        Factors::Bf16 => 2 * LANES,
    }
}

impl Packed {
    /// Packs a matrix for products of a type, on the threads of rayon's pool.
    ///
    /// # Panics
    /// If the processor has no such products: [`factors`](super::factors) says which it has.
    pub fn new(isa: Isa, factors: Factors, side: Side, operand: Operand) -> Self {
        assert!(super::factors(isa, factors) == Some(factors), "products of {factors:?} on {isa}");
        let Operand { outer, inner, .. } = operand;
        let (blocks, size) = (outer.div_ceil(BLOCK), 2 * inner.div_ceil(step(factors)));
        let mut tiles = Vec::with_capacity(blocks * size);
        let parts = tiles.spare_capacity_mut()[..blocks * size].par_chunks_mut(size.max(1)).enumerate();
        parts.for_each(|(block, out)| {
            #[cfg(target_arch = "x86_64")]
            if isa >= Isa::Avx512 {
                // SAFETY: the processor has the instructions; the chunks are whole steps.
                #[allow(unsafe_code)]
                return unsafe { x86::pack(&operand, factors, side, block, out) };
            }
            pack(&operand, block, out);
        });
        // SAFETY: all tiles of all blocks were written.
        #[allow(unsafe_code)]
        unsafe {
            tiles.set_len(blocks * size);
        }
        Self { isa, factors, side, outer, inner, tiles }
    }

    /// The tiles of a block.
    pub(super) fn block(&self, block: usize) -> &[Tile] {
        let size = 2 * self.inner.div_ceil(step(self.factors));
        &self.tiles[block * size..][..size]
    }
}

/// A block for products of f32.
fn pack(operand: &Operand, block: usize, out: &mut [MaybeUninit<Tile>]) {
    let Operand { values, outer, inner, lies } = *operand;
    for (index, tile) in out.iter_mut().enumerate() {
        let (step, from) = (index / 2 * LANES, block * BLOCK + index % 2 * LANES);
        let tile = tile.write(Tile([[0; LANES]; LANES]));
        for (k, line) in (step..inner).zip(&mut tile.0) {
            for (index, word) in (from..outer).zip(line) {
                let at = if lies == Lies::Along { index * inner + k } else { k * outer + index };
                *word = values[at].to_bits();
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, unsafe_op_in_unsafe_fn)] // needs the instructions it is written in, and reads through pointers
mod x86 {
    use std::arch::x86_64::*;

    use super::*;
    use crate::avx512::turn::{Pointers, Source};

    /// The first `count` of sixteen lanes.
    fn first(count: usize) -> __mmask16 {
        if count >= LANES { u16::MAX } else { !(u16::MAX << count) }
    }

    /// # Safety
    /// AVX-512 F, BW, VL and DQ, and BF16 for these; `out` has whole steps.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(super) unsafe fn pack(
        operand: &Operand,
        factors: Factors,
        side: Side,
        block: usize,
        out: &mut [MaybeUninit<Tile>],
    ) {
        let Operand { values, outer, inner, .. } = *operand;
        // Only lines of rows of bf16 stay along.
        let along = factors == Factors::Bf16 && side == Side::Left;
        let turn = along != (operand.lies == Lies::Along);
        let mut straight = Tile([[0; LANES]; LANES]);
        for (index, tile) in out.iter_mut().enumerate() {
            let (step, from) = (index / 2 * step(factors), block * BLOCK + index % 2 * LANES);
            let tile = tile.as_mut_ptr().cast::<[u32; LANES]>();
            let to = if turn { straight.0.as_mut_ptr() } else { tile };
            match (operand.lies, factors) {
                (Lies::Along, Factors::F32) => lines(values, [outer, inner], [from, step], to),
                (Lies::Across, Factors::F32) => lines(values, [inner, outer], [step, from], to),
                (Lies::Along, Factors::Bf16) => lines_bf16(operand, from, step, to),
                (Lies::Across, Factors::Bf16) => pairs(operand, from, step, to),
            }
            if turn {
                let lines = Pointers(straight.0.each_ref().map(|line| line.as_ptr().cast()));
                for half in 0..2 {
                    for (line, values) in lines.eight(LINE_HALF * half).into_iter().enumerate() {
                        _mm512_store_si512(tile.add(LANES / 2 * half + line).cast(), values);
                    }
                }
            }
        }
    }

    /// Bytes of half a line.
    const LINE_HALF: usize = size_of::<[u32; LANES]>() / 2;

    /// Sixteen lines of sixteen values as they lie, from a row and a column of the matrix, `[rows, stride]`.
    ///
    /// # Safety
    /// As [`pack`]; the matrix has so many values.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn lines(values: &[f32], [rows, stride]: [usize; 2], [row, column]: [usize; 2], tile: *mut [u32; LANES]) {
        let there = first(stride.saturating_sub(column));
        for index in 0..LANES {
            let mask = if row + index < rows { there } else { 0 };
            let at = values.as_ptr().wrapping_add((row + index) * stride + column);
            _mm512_store_ps(tile.add(index).cast(), _mm512_maskz_loadu_ps(mask, at));
        }
    }

    /// Sixteen of the outer dimension, a line each, with 32 values.
    ///
    /// # Safety
    /// As [`pack`]; the matrix lies along.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn lines_bf16(operand: &Operand, from: usize, step: usize, tile: *mut [u32; LANES]) {
        let there = operand.inner - step;
        let masks = [first(there), first(there.saturating_sub(LANES))];
        for index in 0..LANES {
            let value = if from + index < operand.outer {
                let at = operand.values.as_ptr().add((from + index) * operand.inner + step);
                let [low, high] = [0, 1].map(|half| _mm512_maskz_loadu_ps(masks[half], at.wrapping_add(LANES * half)));
                bits(_mm512_cvtne2ps_pbh(high, low))
            } else {
                _mm512_setzero_si512()
            };
            _mm512_store_si512(tile.add(index).cast(), value);
        }
    }

    /// Sixteen pairs of the inner dimension, a line each, for sixteen of the outer.
    ///
    /// # Safety
    /// As [`pack`]; the matrix lies across.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn pairs(operand: &Operand, from: usize, step: usize, tile: *mut [u32; LANES]) {
        // 0, 16, 1, 17, …
        let order = _mm512_add_epi32(
            _mm512_mullo_epi32(
                _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                _mm512_set1_epi32(0x1_0001),
            ),
            _mm512_set1_epi32(0x10_0000),
        );
        let there = first(operand.outer.saturating_sub(from));
        for index in 0..LANES {
            let [low, high] = [0, 1].map(|odd| {
                let row = step + 2 * index + odd;
                let mask = if row < operand.inner { there } else { 0 };
                _mm512_maskz_loadu_ps(mask, operand.values.as_ptr().wrapping_add(row * operand.outer + from))
            });
            let values = _mm512_permutexvar_epi16(order, bits(_mm512_cvtne2ps_pbh(high, low)));
            _mm512_store_si512(tile.add(index).cast(), values);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn bits(values: __m512bh) -> __m512i {
        // SAFETY: as many bits of another kind.
        unsafe { std::mem::transmute::<__m512bh, __m512i>(values) }
    }
}
