//! Sixteen rows of bytes → registers with one row a lane.

use std::arch::x86_64::*;

use crate::matmul::columns::LANES;
use crate::matmul::rows::Panel;

/// Where the rows of a panel begin.
pub(super) struct Pointers(pub [*const u8; LANES]);

impl Pointers {
    pub(super) fn new(panel: &Panel) -> Self {
        Self(panel.rows.map(|row| row.as_ptr()))
    }
}

/// Within each quarter of 128 bits, four by four values of 32 bits turned.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn quarters(a: [__m512i; 4]) -> [__m512i; 4] {
    let low = [_mm512_unpacklo_epi32(a[0], a[1]), _mm512_unpacklo_epi32(a[2], a[3])];
    let high = [_mm512_unpackhi_epi32(a[0], a[1]), _mm512_unpackhi_epi32(a[2], a[3])];
    [
        _mm512_unpacklo_epi64(low[0], low[1]),
        _mm512_unpackhi_epi64(low[0], low[1]),
        _mm512_unpacklo_epi64(high[0], high[1]),
        _mm512_unpackhi_epi64(high[0], high[1]),
    ]
}

/// 16 bytes at `at` of each row: register `c` has the four from `4c` on, one row a lane.
///
/// # Safety
/// The rows have these bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn turn4(rows: &Pointers, at: usize) -> [__m512i; 4] {
    let row = |i: usize| _mm_loadu_si128(rows.0[i].add(at).cast());
    let four = |i: usize| {
        let v = _mm512_castsi128_si512(row(i));
        let v = _mm512_inserti32x4::<1>(v, row(4 + i));
        let v = _mm512_inserti32x4::<2>(v, row(8 + i));
        _mm512_inserti32x4::<3>(v, row(12 + i))
    };
    quarters([four(0), four(1), four(2), four(3)])
}

/// 32 bytes at `at` of each row, as [`turn4`].
///
/// # Safety
/// The rows have these bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn turn8(rows: &Pointers, at: usize) -> [__m512i; 8] {
    let row = |i: usize| _mm256_loadu_si256(rows.0[i].add(at).cast());
    let two = |i: usize| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(row(i)), row(4 + i));
    let t = quarters([two(0), two(1), two(2), two(3)]); // rows 0–3 at c, at 4 + c, rows 4–7 at c, at 4 + c
    let u = quarters([two(8), two(9), two(10), two(11)]);
    let mut out = [_mm512_setzero_si512(); 8];
    for c in 0..4 {
        out[c] = _mm512_shuffle_i32x4::<0x88>(t[c], u[c]);
        out[4 + c] = _mm512_shuffle_i32x4::<0xdd>(t[c], u[c]);
    }
    out
}
