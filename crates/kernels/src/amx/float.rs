//! bf16 in tiles: a panel's sixteen rows are a tile as they are stored, 32 weights of each; sixteen columns of inputs are another, pairs
//! of values a line. A column alone is a tile of one pair a line, so its sums are added in the same order as among others: for
//! each 32 values the even and the odd ones apart, with a rounding after each product, then both, then that to the sum of what
//! was before, and no denormals (Intel's manual, volume 2, `TDPBF16PS`).

use std::arch::asm;
use std::arch::x86_64::*;

use half::bf16 as Bf16;

use super::{MANY, Sizes, Tiles};
use crate::avx512::turn::{Pointers, Source};
use crate::matmul::columns::{COLUMNS, LANES, LINE, Lined, STEP};
use crate::matmul::rows::{Data, Panel};

/// Bytes of a tile; a line of it is one of the cache.
const TILE: usize = 1024;
/// Bytes of a row that are fetched ahead of a single column.
const AHEAD: usize = 512;

/// [`MANY`] are six tiles of sums, one of weights, one of inputs; these are the same for one column.
static ONE: Sizes = Sizes::new([(4, 16), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (64, 16), (4, 16)]);

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
