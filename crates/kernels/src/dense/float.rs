//! Products of packed blocks of f32: so many rows and sixteens of columns at a time as there are registers for.

use super::{BLOCK, Sums, Tile};
use crate::cpu::Isa;
use crate::lanes::Lanes;
#[cfg(target_arch = "x86_64")]
use crate::lanes::Register;
use crate::matmul::columns::LANES;

impl Tile {
    fn floats(&self) -> &[[f32; LANES]; LANES] {
        // SAFETY: as many bits; every one of them is a float.
        #[allow(unsafe_code)]
        unsafe {
            &*std::ptr::from_ref(self).cast()
        }
    }
}

/// A block of rows with a block of columns.
pub(super) fn multiply(isa: Isa, left: &[Tile], right: &[Tile], out: &mut Sums) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
        fn avx512(left: &[Tile], right: &[Tile], out: &mut Sums) {
            by::<Register, 8, 2>(left, right, out);
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2(left: &[Tile], right: &[Tile], out: &mut Sums) {
            by::<[f32; LANES], 4, 1>(left, right, out);
        }
        // SAFETY, of both: an `Isa` above the baseline is there only if the processor has it.
        #[allow(unsafe_code)]
        match isa {
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => return unsafe { avx512(left, right, out) },
            Isa::Avx2 => return unsafe { avx2(left, right, out) },
            Isa::Baseline | Isa::Dot => {}
        }
    }
    let _ = isa;
    by::<[f32; LANES], 4, 1>(left, right, out);
}

#[inline(always)]
fn by<L: Lanes, const ROWS: usize, const WIDE: usize>(left: &[Tile], right: &[Tile], out: &mut Sums) {
    for row in (0..BLOCK).step_by(ROWS) {
        let (half, from) = (row / LANES, row % LANES);
        for column in (0..BLOCK / LANES).step_by(WIDE) {
            let mut sums = [[L::zero(); WIDE]; ROWS];
            for (rows, columns) in left.chunks_exact(2).zip(right.chunks_exact(2)) {
                let (rows, columns) = (rows[half].floats(), &columns[column..column + WIDE]);
                for k in 0..LANES {
                    let y: [L; WIDE] = std::array::from_fn(|c| L::load(&columns[c].floats()[k]));
                    for r in 0..ROWS {
                        for c in 0..WIDE {
                            sums[r][c] = y[c].fused(rows[k][from + r], sums[r][c]);
                        }
                    }
                }
            }
            for r in 0..ROWS {
                for c in 0..WIDE {
                    sums[r][c].store(&mut out.0[row + r][(column + c) * LANES..]);
                }
            }
        }
    }
}
