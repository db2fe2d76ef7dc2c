//! Products of packed blocks of bf16: 32 rows and 32 columns at a time, in registers.

// Every function here needs the instructions it is written in, and reads and writes through pointers.
#![allow(unsafe_code, unsafe_op_in_unsafe_fn)]

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::{BLOCK, Packed, Sums, Tile};
use crate::amx::{MANY, Tiles};
use crate::cpu::Isa;
use crate::matmul::columns::LANES;

/// Rows of a product: a block of the left side with all blocks of the right side.
///
/// # Safety
/// The processor has AVX-512 F and BF16, and AMX if the `isa` is that.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn multiply(isa: Isa, left: &[Tile], right: &Packed, out: &mut [MaybeUninit<f32>]) {
    let (columns, rows) = (right.outer, out.len() / right.outer);
    let _tiles = (isa == Isa::Amx).then(|| Tiles::new(&MANY));
    let mut sums = Sums([[0.0; BLOCK]; BLOCK]);
    for (block, first) in (0..columns).step_by(BLOCK).enumerate() {
        let right = right.block(block);
        assert_eq!(left.len(), right.len(), "tiles of both sides");
        let whole = rows == BLOCK && columns - first >= BLOCK;
        let (to, line) =
            if whole { (out[first..].as_mut_ptr().cast(), columns) } else { (sums.0.as_mut_ptr().cast(), BLOCK) };
        if isa == Isa::Amx {
            tiles(left, right, to, line);
        } else {
            pairs(left, right, to, line);
        }
        if !whole {
            sums.write(first, columns, out);
        }
    }
}

/// A block of rows with a block of columns, in tiles: results in lines that are `line` apart.
///
/// # Safety
/// AMX, set up for tiles of full size; the results have room.
#[inline]
unsafe fn tiles(left: &[Tile], right: &[Tile], out: *mut f32, line: usize) {
    asm!(
        "tilezero tmm0",
        "tilezero tmm1",
        "tilezero tmm2",
        "tilezero tmm3",
        "test {n}, {n}",
        "jz 3f",
        "2:",
        "tileloadd tmm4, [{l} + {s}*1]",
        "tileloadd tmm6, [{r} + {s}*1]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{r} + {s}*1 + 1024]",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm5, [{l} + {s}*1 + 1024]",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
        "add {l}, 2048",
        "add {r}, 2048",
        "dec {n}",
        "jnz 2b",
        "3:",
        "tilestored [{upper} + {line}*1], tmm0",
        "tilestored [{upper} + {line}*1 + 64], tmm1",
        "tilestored [{lower} + {line}*1], tmm2",
        "tilestored [{lower} + {line}*1 + 64], tmm3",
        l = inout(reg) left.as_ptr() => _,
        r = inout(reg) right.as_ptr() => _,
        s = in(reg) 64usize,
        n = inout(reg) left.len() / 2 => _,
        upper = in(reg) out,
        lower = in(reg) out.add(LANES * line),
        line = in(reg) line * size_of::<f32>(),
        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
        options(nostack),
    );
}

/// The same with products of pairs: sixteen rows and sixteen columns at a time.
///
/// # Safety
/// AVX-512 F and BF16; the results have room.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn pairs(left: &[Tile], right: &[Tile], out: *mut f32, line: usize) {
    for part in 0..4 {
        let (lower, later) = (part / 2, part % 2);
        let mut sums = [_mm512_setzero_ps(); LANES];
        let steps = left.iter().skip(lower).step_by(2).zip(right.iter().skip(later).step_by(2));
        for (rows, columns) in steps {
            for pair in 0..LANES {
                let y = _mm512_load_si512(columns.0[pair].as_ptr().cast());
                for row in 0..LANES {
                    let x = _mm512_set1_epi32(rows.0[row][pair].cast_signed());
                    let [x, y] = [x, y].map(|v| std::mem::transmute::<__m512i, __m512bh>(v));
                    sums[row] = _mm512_dpbf16_ps(sums[row], x, y);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(out.add((LANES * lower + row) * line + LANES * later), sums);
        }
    }
}
