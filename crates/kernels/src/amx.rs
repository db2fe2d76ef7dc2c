//! Products in tiles (AMX): a register of sixteen lines of 64 bytes, and an instruction that multiplies two of them.
//!
//! bf16: a panel's sixteen rows are a tile as they are stored, 32 weights of each; sixteen columns of inputs are another, pairs
//! of values a line. A column alone is a tile of one pair a line, so its sums are added in the same order as among others: for
//! each 32 values the even and the odd ones apart, with a rounding after each product, then both, then that to the sum of what
//! was before, and no denormals (Intel's manual, volume 2, `TDPBF16PS`).
//!
//! Blocks of integers: the bytes of sixteen columns against a run of the sixteen rows, as in [`avx512`](super::avx512), bit for bit:
//! sums of integers are exact.

// Every function here needs the instructions it is written in, and reads weights through the pointers of a panel.
#![allow(unsafe_code, unsafe_op_in_unsafe_fn)]

use std::arch::asm;
use std::arch::x86_64::*;

use half::bf16 as Bf16;

use crate::avx512::blocks::{Blocks, Weights};
use crate::avx512::turn::{Pointers, Source};
use crate::dtype::Dtype;
use crate::matmul::columns::{COLUMNS, LANES, STEP, Step};
use crate::matmul::rows::{Data, Panel};

/// Bytes of a tile, and of a line of it.
const TILE: usize = 1024;
const LINE: usize = 64;
/// Bytes of a row that are fetched ahead of a single column.
const AHEAD: usize = 512;

/// Whether there are these instructions, and the system lets the program use them: it keeps room for tiles of threads only if
/// it is asked to (Linux, Documentation/arch/x86/xstate.rst).
pub(crate) fn is_there() -> bool {
    #[cfg(target_os = "linux")]
    {
        const REQUEST: i32 = 0x1023; // ARCH_REQ_XCOMP_PERM
        const TILES: i32 = 18; // XFEATURE_XTILEDATA
        static ALLOWED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        // AMX-BF16, AMX-TILE, AMX-INT8
        let features = 1 << 22 | 1 << 24 | 1 << 25;
        // SAFETY: the call changes what the kernel saves of this process, nothing that the program sees.
        *ALLOWED.get_or_init(|| {
            __cpuid(0).eax >= 7
                && __cpuid_count(7, 0).edx & features == features
                && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILES) } == 0
        })
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// The sizes of the tiles of a thread, given back when it is dropped.
struct Tiles;

/// `palette, first line, …, bytes of a line of each tile, lines of each tile`
#[repr(C, align(64))]
struct Sizes([u8; 64]);

impl Sizes {
    /// Bytes of a line and lines.
    const fn new(tiles: [(u8, u8); 8]) -> Self {
        let mut sizes = [0; 64];
        sizes[0] = 1;
        let mut tile = 0;
        while tile < 8 {
            sizes[16 + 2 * tile] = tiles[tile].0;
            sizes[48 + tile] = tiles[tile].1;
            tile += 1;
        }
        Self(sizes)
    }
}

/// Six tiles of sums, one of weights, one of inputs; the same for one column; one of weights in bytes, two of inputs, two of sums.
static MANY: Sizes = Sizes::new([(64, 16); 8]);
static ONE: Sizes = Sizes::new([(4, 16), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (64, 16), (4, 16)]);
static BYTES: Sizes =
    Sizes::new([(64, 8), (STEP as u8, 16), (STEP as u8, 16), (64, 16), (64, 16), (0, 0), (0, 0), (0, 0)]);

impl Tiles {
    /// # Safety
    /// [`is_there`].
    unsafe fn new(sizes: &'static Sizes) -> Self {
        asm!("ldtilecfg [{}]", in(reg) sizes, options(nostack, preserves_flags));
        Self
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there are tiles, or there would be no `Tiles`.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) }
    }
}

/// A panel as tiles: where the first is, bytes from line to line and from tile to tile.
struct Lines {
    at: *const u8,
    line: usize,
    tile: usize,
}

/// Where the lines to fetch begin, where that leaves off, and where it goes on then.
struct Fetch {
    from: *const u8,
    end: *const u8,
    next: *const u8,
}

/// Sums of the products of all tiles of a panel with those of `$c` blocks of columns; the tiles of inputs are `$step` bytes a step,
/// and `line` a line.
macro_rules! products {
    ($lines:expr, $x:expr, $steps:expr, $line:expr, $fetch:expr, $out:expr, $step:literal, $($c:literal)*) => {
        asm!(
            $(concat!("tilezero tmm", $c),)*
            "2:",
            "tileloadd tmm6, [{w} + {s}*1]",
            "mov {q}, {f}",
            "prefetcht1 [{q}]", "prefetcht1 [{q} + {s}]", "lea {q}, [{q} + 2*{s}]",
            "prefetcht1 [{q}]", "prefetcht1 [{q} + {s}]", "lea {q}, [{q} + 2*{s}]",
            "prefetcht1 [{q}]", "prefetcht1 [{q} + {s}]", "lea {q}, [{q} + 2*{s}]",
            "prefetcht1 [{q}]", "prefetcht1 [{q} + {s}]", "lea {q}, [{q} + 2*{s}]",
            "prefetcht1 [{q}]", "prefetcht1 [{q} + {s}]", "lea {q}, [{q} + 2*{s}]",
            "prefetcht1 [{q}]", "prefetcht1 [{q} + {s}]", "lea {q}, [{q} + 2*{s}]",
            "prefetcht1 [{q}]", "prefetcht1 [{q} + {s}]", "lea {q}, [{q} + 2*{s}]",
            "prefetcht1 [{q}]", "prefetcht1 [{q} + {s}]",
            $(
                concat!("tileloadd tmm7, [{x} + {l}*1 + 1024*", $c, "]"),
                concat!("tdpbf16ps tmm", $c, ", tmm6, tmm7"),
            )*
            "add {w}, {t}",
            concat!("add {x}, ", $step),
            "add {f}, 64",
            "cmp {f}, {end}",
            "cmove {f}, {next}",
            "dec {n}",
            "jnz 2b",
            $(concat!("tilestored [{out} + {l}*1 + 1024*", $c, "], tmm", $c),)*
            w = inout(reg) $lines.at => _,
            s = in(reg) $lines.line,
            t = in(reg) $lines.tile,
            x = inout(reg) $x => _,
            l = in(reg) $line,
            f = inout(reg) $fetch.from => _,
            end = in(reg) $fetch.end,
            next = in(reg) $fetch.next,
            n = inout(reg) $steps => _,
            q = out(reg) _,
            out = in(reg) $out,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            out("tmm7") _,
            options(nostack),
        )
    };
}

/// Products of bf16 with columns from `first` on, of `count` in all, as [`Form::Tiles`](crate::matmul::columns::Form::Tiles) has them.
///
/// # Safety
/// [`is_there`], and AVX-512 F, BW, VL and DQ; the rows are of bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) unsafe fn bf16(panel: &Panel, x: &[Bf16], count: usize, first: usize, out: &mut [[f32; LANES]]) {
    let Data::Rows(rows) = panel.data else { unreachable!("plain weights stay as they are stored") };
    let steps = panel.columns.div_ceil(STEP);
    let copy;
    let lines = match even(&rows).filter(|_| panel.columns.is_multiple_of(STEP)) {
        Some(line) => Lines { at: rows[0].as_ptr(), line, tile: LINE },
        None => {
            copy = tiles(&rows, steps);
            Lines { at: copy.as_ptr().cast(), line: LINE, tile: TILE }
        }
    };
    if count == 1 {
        assert!(x.len() >= steps * STEP, "a column of whole steps");
        let _tiles = Tiles::new(&ONE);
        let end = rows[0].as_ptr().wrapping_add(rows[0].len());
        let fetch = Fetch { from: rows[0].as_ptr().wrapping_add(AHEAD), end, next: panel.next.as_ptr() };
        products!(lines, x.as_ptr(), steps, 4usize, fetch, out[0].as_mut_ptr(), "64", 0);
        return;
    }
    let x = &x[first / COLUMNS * COLUMNS * steps * STEP..];
    let blocks = out.len().div_ceil(LANES);
    assert!(first.is_multiple_of(COLUMNS) && x.len() >= blocks * LANES * steps * STEP, "tiles of columns");
    let mut sums = [[[0f32; LANES]; LANES]; COLUMNS / LANES];
    {
        let _tiles = Tiles::new(&MANY);
        let from = panel.next.as_ptr();
        let fetch = Fetch { from, end: std::ptr::null(), next: from };
        let (x, line, sums) = (x.as_ptr(), LINE, sums.as_mut_ptr());
        match blocks {
            1 => products!(lines, x, steps, line, fetch, sums, "1024", 0),
            2 => products!(lines, x, steps, line, fetch, sums, "2048", 0 1),
            3 => products!(lines, x, steps, line, fetch, sums, "3072", 0 1 2),
            4 => products!(lines, x, steps, line, fetch, sums, "4096", 0 1 2 3),
            5 => products!(lines, x, steps, line, fetch, sums, "5120", 0 1 2 3 4),
            _ => products!(lines, x, steps, line, fetch, sums, "6144", 0 1 2 3 4 5),
        }
    }
    for (sums, out) in sums.iter().zip(out.chunks_mut(LANES)) {
        let rows = Pointers(sums.each_ref().map(|row| row.as_ptr().cast()));
        for half in 0..2 {
            for (out, sums) in out.iter_mut().skip(8 * half).zip(rows.eight(32 * half)) {
                _mm512_storeu_si512(out.as_mut_ptr().cast(), sums);
            }
        }
    }
}

/// How many bytes the rows are apart, if they all are so many.
fn even(rows: &[&[u8]; LANES]) -> Option<usize> {
    let place = |row: usize| rows[row].as_ptr() as usize;
    let line = place(1).checked_sub(place(0))?;
    (1..LANES).all(|row| place(row).checked_sub(place(row - 1)) == Some(line)).then_some(line)
}

/// Rows of bf16 as tiles, with zeros after them.
fn tiles(rows: &[&[u8]; LANES], steps: usize) -> Vec<[[u8; LINE]; LANES]> {
    let mut tiles = vec![[[0; LINE]; LANES]; steps];
    for (index, row) in rows.iter().enumerate() {
        for (tile, values) in tiles.iter_mut().zip(row.chunks(LINE)) {
            tile[index][..values.len()].copy_from_slice(values);
        }
    }
    tiles
}

/// Adds one run of 32 weights a row to sixteen columns at a time; gives how many columns that were.
///
/// # Safety
/// [`is_there`], and AVX-512 F, BW, VL and DQ; the tiles are [`BYTES`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) unsafe fn columns<B: Blocks>(weights: &Weights, x: &[Step], out: &mut [[f32; LANES]]) -> usize {
    #[repr(align(64))]
    struct Aligned<T>(T);
    let mut sums = Aligned([[[0i32; LANES]; LANES]; 2]); // of the high bytes, of the low ones
    let (xs, outs) = (x.as_chunks::<LANES>().0, out.as_chunks_mut::<LANES>().0);
    for (x, out) in xs.iter().zip(outs) {
        asm!(
            "tileloadd tmm0, [{u} + {l}*1]",
            "tileloadd tmm1, [{hi} + {s}*1]",
            "tileloadd tmm2, [{lo} + {s}*1]",
            "tilezero tmm3",
            "tilezero tmm4",
            "tdpbsud tmm3, tmm1, tmm0",
            "tdpbsud tmm4, tmm2, tmm0",
            "tilestored [{out} + {l}*1], tmm3",
            "tilestored [{out} + {l}*1 + 1024], tmm4",
            u = in(reg) weights.u.as_ptr(),
            hi = in(reg) x[0].hi.as_ptr(),
            lo = in(reg) x[0].lo.as_ptr(),
            s = in(reg) size_of::<Step>(),
            l = in(reg) LINE,
            out = in(reg) sums.0.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
            options(nostack, preserves_flags),
        );
        for c in 0..LANES {
            let [high, low] = [0, 1].map(|part| _mm512_load_si512(sums.0[part][c].as_ptr().cast()));
            let mut sum = _mm512_add_epi32(_mm512_slli_epi32::<8>(high), low);
            if B::CENTRE != 0 {
                let centre = (x[c].sums[0] + x[c].sums[1]) << B::CENTRE;
                sum = _mm512_sub_epi32(sum, _mm512_set1_epi32(centre));
            }
            let scale = _mm512_mul_ps(weights.scale[0], _mm512_set1_ps(x[c].scale));
            let mut y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, _mm512_loadu_ps(out[c].as_ptr()));
            if B::MIN {
                y = _mm512_fmadd_ps(weights.min, _mm512_set1_ps(x[c].sum), y);
            }
            _mm512_storeu_ps(out[c].as_mut_ptr(), y);
        }
    }
    xs.len() * LANES
}

/// [`avx512::steps`](crate::avx512::steps), sixteen columns at a time where there are as many.
///
/// # Safety
/// [`is_there`], and as that.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(crate) unsafe fn steps(d: Dtype, panel: &Panel, x: &[Step], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    let _tiles = Tiles::new(&BYTES);
    crate::avx512::over::<true>(d, panel, x, stride, first, out);
}
