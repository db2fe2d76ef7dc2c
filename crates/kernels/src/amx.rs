//! Products in tiles (AMX): a register of sixteen lines of 64 bytes, and an instruction that multiplies two of them.
//!
//! bf16: a panel's sixteen rows are a tile as they are stored, 32 weights of each; sixteen columns of inputs are another, pairs
//! of values a line. A column alone is a tile of one pair a line, so its sums are added in the same order as among others: for
//! each 32 values the even and the odd ones apart, with a rounding after each product, then both, then that to the sum of what
//! was before, and no denormals (Intel's manual, volume 2, `TDPBF16PS`).
//!
//! Blocks of integers: the bytes of sixteen columns against a run of the sixteen rows, as in [`avx512`](super::avx512), bit for bit:
//! sums of integers are exact. A few columns are left to that.

// Every function here needs the instructions it is written in, and reads weights through the pointers of a panel.
#![allow(unsafe_code, unsafe_op_in_unsafe_fn)]

use std::arch::asm;
use std::arch::x86_64::*;

use half::bf16 as Bf16;

use crate::avx512::blocks::{Blocks, Weights};
use crate::avx512::turn::{Pointers, Source};
use crate::avx512::{Runs, over};
use crate::dtype::Dtype;
use crate::matmul::columns::{COLUMNS, LANES, LINE, Lined, STEP, Sixteen};
use crate::matmul::rows::{Data, Panel};

/// Bytes of a tile; a line of it is one of the cache.
const TILE: usize = 1024;
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
pub(crate) struct Tiles;

/// `palette, first line, …, bytes of a line of each tile, lines of each tile`
#[repr(C, align(64))]
pub(crate) struct Sizes([u8; 64]);

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

/// Six tiles of sums, one of weights, one of inputs; the same for one column; one of weights in bytes, two of inputs, four of sums;
/// the same for half a run.
pub(crate) static MANY: Sizes = Sizes::new([(64, 16); 8]);
static ONE: Sizes = Sizes::new([(4, 16), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (64, 16), (4, 16)]);
static BYTES: Sizes =
    Sizes::new([(64, 8), (STEP as u8, 16), (STEP as u8, 16), (64, 16), (64, 16), (64, 16), (64, 16), (0, 0)]);
static HALVES: Sizes = Sizes::new([(64, 4), (16, 16), (16, 16), (64, 16), (64, 16), (64, 16), (64, 16), (0, 0)]);

impl Tiles {
    /// # Safety
    /// [`is_there`].
    pub(crate) unsafe fn new(sizes: &'static Sizes) -> Self {
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
    let mut sums = Lined([[[0f32; LANES]; LANES]; COLUMNS / LANES]);
    {
        let _tiles = Tiles::new(&MANY);
        let from = panel.next.as_ptr();
        let fetch = Fetch { from, end: std::ptr::null(), next: from };
        let (x, line, sums) = (x.as_ptr(), LINE, sums.0.as_mut_ptr());
        match blocks {
            1 => products!(lines, x, steps, line, fetch, sums, "1024", 0),
            2 => products!(lines, x, steps, line, fetch, sums, "2048", 0 1),
            3 => products!(lines, x, steps, line, fetch, sums, "3072", 0 1 2),
            4 => products!(lines, x, steps, line, fetch, sums, "4096", 0 1 2 3),
            5 => products!(lines, x, steps, line, fetch, sums, "5120", 0 1 2 3 4),
            _ => products!(lines, x, steps, line, fetch, sums, "6144", 0 1 2 3 4 5),
        }
    }
    for (sums, out) in sums.0.iter().zip(out.chunks_mut(LANES)) {
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

/// Products of a run of weights, 32 a row or 16, with sixteen columns: of the high bytes in one tile, of the low ones in another.
///
/// Tiles keep what they hold from one of these to the next: no other code here, and nothing that is compiled for these functions,
/// uses them.
macro_rules! product {
    ($w:expr, $x:expr, $high:literal, $low:literal) => {
        asm!(
            "tileloadd tmm0, [{w} + {l}*1]",
            "tileloadd tmm1, [{x} + {s}*1]",
            "tileloadd tmm2, [{x} + {s}*1 + 512]",
            concat!("tilezero ", $high),
            concat!("tilezero ", $low),
            concat!("tdpbssd ", $high, ", tmm1, tmm0"),
            concat!("tdpbssd ", $low, ", tmm2, tmm0"),
            w = in(reg) $w,
            x = in(reg) $x,
            l = in(reg) LINE,
            s = in(reg) STEP,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack, preserves_flags),
        )
    };
}

/// Where these two go.
macro_rules! store {
    ($out:expr, $high:literal, $low:literal) => {
        asm!(
            concat!("tilestored [{out} + {l}*1], ", $high),
            concat!("tilestored [{out} + {l}*1 + 1024], ", $low),
            out = in(reg) $out,
            l = in(reg) LINE,
            options(nostack, preserves_flags),
        )
    };
}

/// Sums of high and of low bytes, `[column][row]`.
type Sums = [[[i32; LANES]; LANES]; 2];
/// Runs of weights that are held until they go over the columns together, whose sums stay in registers meanwhile.
const HELD: usize = 16;

/// Columns, sixteen together.
struct Many<'a> {
    /// Those of a block of columns begin `steps` after those of the block before.
    x: &'a [Sixteen],
    steps: usize,
    out: &'a mut [[f32; LANES]],
    sums: Lined<[Sums; 2]>,
    held: Vec<Weights>,
}

impl Runs for Many<'_> {
    const LONG: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn run<B: Blocks>(&mut self, _panel: usize, step: usize, weights: &Weights) {
        let centre = _mm512_set1_epi8((1u8 << B::CENTRE).cast_signed());
        let u = if B::CENTRE == 0 { weights.u } else { weights.u.map(|u| _mm512_sub_epi8(u, centre)) };
        self.held.push(Weights { u, ..*weights });
        if self.held.len() == HELD {
            self.flush::<B>(step + 1 - HELD);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn end<B: Blocks>(&mut self, steps: usize) {
        if !self.held.is_empty() {
            self.flush::<B>(steps - self.held.len());
        }
    }
}

impl Many<'_> {
    /// Adds the products of what is held with all columns; it begins at step `step`.
    ///
    /// # Safety
    /// [`is_there`]; the tiles are [`BYTES`] or [`HALVES`].
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn flush<B: Blocks>(&mut self, step: usize) {
        let sums = &mut self.sums.0;
        for (block, out) in self.out.chunks_mut(LANES).enumerate() {
            let x = &self.x[block * self.steps + step..][..self.held.len()];
            match out.as_mut_array::<LANES>() {
                Some(out) => columns::<B>(&self.held, x, sums, out),
                None => {
                    let mut all = [[0.0; LANES]; LANES];
                    all[..out.len()].copy_from_slice(out);
                    columns::<B>(&self.held, x, sums, &mut all);
                    out.copy_from_slice(&all[..out.len()]);
                }
            }
        }
        self.held.clear();
    }
}

/// Sums of eight columns: so few that loops over them are unrolled, and the sums of two eights stay in registers.
type Eight = [__m512; LANES / 2];

/// Adds the products of runs with a block of columns.
///
/// # Safety
/// As [`Many::flush`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn columns<B: Blocks>(runs: &[Weights], x: &[Sixteen], sums: &mut [Sums; 2], out: &mut [[f32; LANES]; LANES]) {
    let halves = 1 + usize::from(B::HALVES);
    let count = runs.len() * halves;
    assert!(runs.len() == x.len(), "a run for each step");
    let w = |index: usize| runs[index / halves].u.as_ptr().add(4 * (index % halves));
    let at = |index: usize| x[index / halves].hi.as_ptr().cast::<u8>().add(STEP / 2 * (index % halves));
    let mut y = [load(out, 0), load(out, LANES / 2)];
    product!(w(0), at(0), "tmm3", "tmm4");
    for index in (0..count).step_by(2) {
        // The next product is on its way before this one is waited for.
        let next = index + 1;
        if next < count {
            product!(w(next), at(next), "tmm5", "tmm6");
        }
        store!(sums[0].as_mut_ptr(), "tmm3", "tmm4");
        let (weights, columns) = (&runs[index / halves], &x[index / halves]);
        y[0] = scaled::<B>(weights, index % halves, columns, &sums[0], 0, y[0]);
        y[1] = scaled::<B>(weights, index % halves, columns, &sums[0], LANES / 2, y[1]);
        if next == count {
            break;
        }
        if next + 1 < count {
            product!(w(next + 1), at(next + 1), "tmm3", "tmm4");
        }
        store!(sums[1].as_mut_ptr(), "tmm5", "tmm6");
        let (weights, columns) = (&runs[next / halves], other(&x[next / halves]));
        y[0] = scaled::<B>(weights, next % halves, columns, &sums[1], 0, y[0]);
        y[1] = scaled::<B>(weights, next % halves, columns, &sums[1], LANES / 2, y[1]);
    }
    for c in 0..LANES / 2 {
        _mm512_storeu_ps(out[c].as_mut_ptr(), y[0][c]);
    }
    for c in 0..LANES / 2 {
        _mm512_storeu_ps(out[LANES / 2 + c].as_mut_ptr(), y[1][c]);
    }
}

/// The same columns, which the compiler takes for others: scales that two halves of a run have in common would be kept in registers
/// that the sums need.
#[inline]
fn other(x: &Sixteen) -> &Sixteen {
    let mut at: *const Sixteen = x;
    // SAFETY: nothing happens, and the place is that of `x`.
    unsafe {
        asm!("/* {0} */", inout(reg) at, options(nostack, preserves_flags));
        &*at
    }
}

/// The sums of eight columns from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load(out: &[[f32; LANES]; LANES], first: usize) -> Eight {
    let mut y = [_mm512_setzero_ps(); LANES / 2];
    for (y, out) in y.iter_mut().zip(&out[first..]) {
        // SAFETY: sixteen values.
        *y = unsafe { _mm512_loadu_ps(out.as_ptr()) };
    }
    y
}

/// Adds sums of integers to those of eight columns from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn scaled<B: Blocks>(weights: &Weights, half: usize, x: &Sixteen, sums: &Sums, first: usize, mut y: Eight) -> Eight {
    for (i, y) in y.iter_mut().enumerate() {
        let c = first + i;
        // SAFETY: sixteen sums each.
        let [high, low] = unsafe { [0, 1].map(|part| _mm512_load_si512(sums[part][c].as_ptr().cast())) };
        let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32::<8>(high), low));
        *y = _mm512_fmadd_ps(sum, _mm512_mul_ps(weights.scale[half], _mm512_set1_ps(x.scale[c])), *y);
        if B::MIN {
            *y = _mm512_fmadd_ps(weights.min, _mm512_set1_ps(x.sum[c]), *y);
        }
    }
    y
}

/// As [`avx512::steps`](crate::avx512::steps), for columns that lie together.
///
/// # Safety
/// [`is_there`], and as that.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(crate) unsafe fn integers(d: Dtype, panel: &Panel, x: &[Sixteen], steps: usize, out: &mut [[f32; LANES]]) {
    let _tiles = Tiles::new(if d == Dtype::Q6_K { &HALVES } else { &BYTES });
    let sums = Lined([[[[0; LANES]; LANES]; 2]; 2]);
    over(d, std::slice::from_ref(panel), &mut Many { x, steps, out, sums, held: Vec::with_capacity(HELD) });
}
