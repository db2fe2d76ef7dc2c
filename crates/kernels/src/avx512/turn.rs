//! Sixteen rows of bytes → registers with one row a lane: turned here, or loaded where they were turned before.

use std::arch::x86_64::*;

use crate::matmul::columns::{LANES, LINE};

/// Where the rows of a panel are, or the panel itself.
pub(crate) trait Source {
    /// 16 bytes at `at` of each row: register `c` has the four from `4c` on, one row a lane.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW, VL and DQ; the rows have these bytes.
    unsafe fn four(&self, at: usize) -> [__m512i; 4];

    /// 32 bytes at `at`, as [`Source::four`].
    ///
    /// # Safety
    /// As [`Source::four`].
    unsafe fn eight(&self, at: usize) -> [__m512i; 8];

    /// The scale of 2 bytes that a block begins with.
    ///
    /// # Safety
    /// As [`Source::four`]; 16 bytes follow on `at`.
    unsafe fn first_half(&self, at: usize) -> __m512;

    /// The scale of 2 bytes at `at` that a block ends with.
    ///
    /// # Safety
    /// As [`Source::four`]; 14 bytes are before it.
    unsafe fn last_half(&self, at: usize) -> __m512;

    /// The 4 bytes at `at`, after a scale of 2.
    ///
    /// # Safety
    /// As [`Source::four`]; 14 bytes follow on `at`.
    unsafe fn word(&self, at: usize) -> __m512i;

    /// Fetches `count` bytes at `at` of each row into the first cache, if that takes few instructions.
    fn fetch(&self, _at: usize, _count: usize) {}
}

/// Where the rows of a panel begin.
pub(crate) struct Pointers(pub [*const u8; LANES]);

/// A panel that was turned: byte `at` of the rows is at `16 · at`.
#[derive(Clone, Copy)]
pub(super) struct Turned(pub *const u8);

impl Source for Turned {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn four(&self, at: usize) -> [__m512i; 4] {
        let at = self.0.add(LANES * at);
        [0, 1, 2, 3].map(|c| _mm512_loadu_si512(at.add(64 * c).cast()))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn eight(&self, at: usize) -> [__m512i; 8] {
        let at = self.0.add(LANES * at);
        [0, 1, 2, 3, 4, 5, 6, 7].map(|c| _mm512_loadu_si512(at.add(64 * c).cast()))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn first_half(&self, at: usize) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(self.0.add(LANES * at).cast()))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn last_half(&self, at: usize) -> __m512 {
        self.first_half(at)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn word(&self, at: usize) -> __m512i {
        _mm512_loadu_si512(self.0.add(LANES * at).cast())
    }

    #[inline]
    fn fetch(&self, at: usize, count: usize) {
        for line in (0..LANES * count).step_by(LINE) {
            // SAFETY: a prefetch reads nothing that the program sees and cannot fail, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.0.wrapping_add(LANES * at + line).cast()) };
        }
    }
}

/// f16 in the lower half of each lane; in the upper half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) fn lower(v: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) fn upper(v: __m512i) -> __m512 {
    lower(_mm512_srli_epi32::<16>(v))
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

impl Source for Pointers {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn four(&self, at: usize) -> [__m512i; 4] {
        let row = |i: usize| _mm_loadu_si128(self.0[i].add(at).cast());
        let four = |i: usize| {
            let v = _mm512_castsi128_si512(row(i));
            let v = _mm512_inserti32x4::<1>(v, row(4 + i));
            let v = _mm512_inserti32x4::<2>(v, row(8 + i));
            _mm512_inserti32x4::<3>(v, row(12 + i))
        };
        quarters([four(0), four(1), four(2), four(3)])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn eight(&self, at: usize) -> [__m512i; 8] {
        let row = |i: usize| _mm256_loadu_si256(self.0[i].add(at).cast());
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

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn first_half(&self, at: usize) -> __m512 {
        lower(self.four(at)[0])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn last_half(&self, at: usize) -> __m512 {
        upper(self.four(at - 14)[3])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn word(&self, at: usize) -> __m512i {
        let before = self.four(at - 2);
        _mm512_or_si512(_mm512_srli_epi32::<16>(before[0]), _mm512_slli_epi32::<16>(before[1]))
    }
}

/// Turns the rows of a panel block by block, from `start` of each block on: whole groups of 4 bytes.
///
/// # Safety
/// As [`Source::four`]; the rows are whole blocks of `size` bytes, and `out` has room for sixteen of them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) unsafe fn turn(rows: [*const u8; LANES], size: usize, part: std::ops::Range<usize>, out: &mut [u8]) {
    let rows = Pointers(rows);
    for (index, out) in out.chunks_exact_mut(LANES * size).enumerate() {
        let block = index * size;
        let mut at = part.start;
        let mut put = |at: usize, c: usize, v: __m512i| {
            _mm512_storeu_si512(out[LANES * at + 64 * c..][..64].as_mut_ptr().cast(), v);
        };
        while part.end - at >= 32 {
            rows.eight(block + at).into_iter().enumerate().for_each(|(c, v)| put(at, c, v));
            at += 32;
        }
        while part.end - at >= 16 {
            rows.four(block + at).into_iter().enumerate().for_each(|(c, v)| put(at, c, v));
            at += 16;
        }
        while part.end - at >= 4 {
            let word = |lane: usize| rows.0[lane].add(block + at).cast::<i32>().read_unaligned();
            let mut words = [0; LANES];
            for lane in 0..LANES {
                words[lane] = word(lane);
            }
            put(at, 0, _mm512_loadu_si512(words.as_ptr().cast()));
            at += 4;
        }
    }
}
