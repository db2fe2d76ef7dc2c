//! Sixteen floats side by side, as an array or as a register: what attention and products of matrices are written in.

use half::f16;

use crate::matmul::columns::LANES;

/// Sixteen floats. Every form gives the same bits.
pub(crate) trait Lanes: Copy {
    fn zero() -> Self;
    /// The first sixteen of a slice that has them.
    fn load<C: Cell>(cells: &[C]) -> Self;
    fn store(self, out: &mut [f32]);
    /// `self · factor + sum`, rounded once.
    fn fused(self, factor: f32, sum: Self) -> Self;
    /// Fetches the line that is so many cells ahead of these into the first cache; if nothing is there, that is no harm.
    #[inline(always)]
    fn fetch<C: Cell>(_cells: &[C; LANES], _ahead: usize) {}
}

/// What a cache holds: a number of at most eight bytes, whatever they are; zero if all are.
pub(crate) trait Cell: Copy + Send + Sync {
    fn widen(cells: &[Self; LANES]) -> [f32; LANES];
    #[cfg(target_arch = "x86_64")]
    /// # Safety
    /// The processor has AVX-512 F, BW and VL.
    #[allow(unsafe_code)]
    unsafe fn widen_512(cells: &[Self; LANES]) -> std::arch::x86_64::__m512;
}

impl Cell for f32 {
    #[inline(always)]
    fn widen(cells: &[Self; LANES]) -> [f32; LANES] {
        *cells
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn widen_512(cells: &[Self; LANES]) -> std::arch::x86_64::__m512 {
        // SAFETY: sixteen floats; the instructions are there by the caller's promise.
        unsafe { std::arch::x86_64::_mm512_loadu_ps(cells.as_ptr()) }
    }
}

impl Cell for f16 {
    #[inline(always)]
    fn widen(cells: &[Self; LANES]) -> [f32; LANES] {
        cells.map(f16::to_f32)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn widen_512(cells: &[Self; LANES]) -> std::arch::x86_64::__m512 {
        use std::arch::x86_64::*;
        // SAFETY: sixteen halves; the instructions are there by the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(cells.as_ptr().cast())) }
    }
}

impl Cell for i8 {
    #[inline(always)]
    fn widen(cells: &[Self; LANES]) -> [f32; LANES] {
        cells.map(f32::from)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn widen_512(cells: &[Self; LANES]) -> std::arch::x86_64::__m512 {
        use std::arch::x86_64::*;
        // SAFETY: sixteen bytes; the instructions are there by the caller's promise.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(cells.as_ptr().cast()))) }
    }
}

/// The first sixteen; the caller has checked that there are.
#[inline(always)]
fn sixteen<C>(cells: &[C]) -> &[C; LANES] {
    match cells.first_chunk() {
        Some(cells) => cells,
        None => unreachable!("cells come in sixteens"),
    }
}

impl Lanes for [f32; LANES] {
    #[inline(always)]
    fn zero() -> Self {
        [0.0; LANES]
    }

    #[inline(always)]
    fn load<C: Cell>(cells: &[C]) -> Self {
        C::widen(sixteen(cells))
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        out[..LANES].copy_from_slice(&self);
    }

    #[inline(always)]
    fn fused(self, factor: f32, sum: Self) -> Self {
        std::array::from_fn(|lane| self[lane].mul_add(factor, sum[lane]))
    }
}

/// A register of AVX-512. Made only where the processor has it.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Register(std::arch::x86_64::__m512);

// SAFETY, of all blocks: registers are used only by code that is compiled for AVX-512 and called where it is there.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
impl Lanes for Register {
    #[inline(always)]
    fn zero() -> Self {
        Self(unsafe { std::arch::x86_64::_mm512_setzero_ps() })
    }

    #[inline(always)]
    fn load<C: Cell>(cells: &[C]) -> Self {
        Self(unsafe { C::widen_512(sixteen(cells)) })
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        let out = &mut out[..LANES];
        unsafe { std::arch::x86_64::_mm512_storeu_ps(out.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn fused(self, factor: f32, sum: Self) -> Self {
        use std::arch::x86_64::*;
        Self(unsafe { _mm512_fmadd_ps(self.0, _mm512_set1_ps(factor), sum.0) })
    }

    #[inline(always)]
    fn fetch<C: Cell>(cells: &[C; LANES], ahead: usize) {
        use std::arch::x86_64::*;
        // A prefetch reads nothing that the program sees and cannot fail, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(cells.as_ptr().wrapping_add(ahead).cast()) };
    }
}
