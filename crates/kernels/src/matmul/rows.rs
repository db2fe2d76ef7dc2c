//! Rows of a matrix, taken sixteen at a time: as they are stored, or turned into *panels*.
//!
//! A panel holds sixteen rows in the order in which a kernel wants them: of each block first the 4 bytes from 0 on of every
//! row, one row a lane, then the next 4, and so on; the scale of 2 bytes that some types have is kept together likewise. So
//! it has the bytes of the rows, byte `at` of a block beginning at `16 · at` of the panel's.

use std::borrow::Cow;
use std::ops::Range;

use super::columns::LANES;
use crate::cpu::Isa;
use crate::dtype::Dtype;

/// In which order the rows of a matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// As they are used.
    AsStored,
    /// Those of each head as pairs `(0, 1), (2, 3), …` of a rotation; used are all firsts, then all seconds.
    Interleaved {
        /// Rows of a head.
        head: usize,
    },
}

impl Rows {
    /// Where row `index` is stored.
    pub fn stored(self, index: usize) -> usize {
        match self {
            Self::AsStored => index,
            Self::Interleaved { head } => {
                let (start, within) = (index / head * head, index % head);
                start + within % (head / 2) * 2 + within / (head / 2)
            }
        }
    }

    /// Which row is stored at `place`: the inverse of [`Rows::stored`].
    pub fn used(self, place: usize) -> usize {
        match self {
            Self::AsStored => place,
            Self::Interleaved { head } => {
                let (start, within) = (place / head * head, place % head);
                start + within % 2 * (head / 2) + within / 2
            }
        }
    }
}

/// Sixteen rows of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub data: Data<'a>,
    /// Values of a row.
    pub columns: usize,
    /// What will be read after this panel, as far as it is known: fetched meanwhile.
    pub next: &'a [u8],
}

/// The bytes of a panel.
#[derive(Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "one a panel, on the stack: a box would cost more")]
pub(crate) enum Data<'a> {
    /// Rows as they are stored. Where a matrix has fewer, the last one stands in for those that are missing.
    Rows([&'a [u8]; LANES]),
    /// Turned. Rows that are missing are zero.
    Turned(&'a [u8]),
}

impl<'a> Panel<'a> {
    /// Rows `16 · index ..` of a stored matrix of `[rows, columns]`.
    pub(crate) fn stored(bytes: &'a [u8], dtype: Dtype, shape: [usize; 2], order: Rows, index: usize) -> Self {
        let [rows, columns] = shape;
        let size = columns / dtype.block_len() * dtype.block_bytes();
        let row = |lane: usize| &bytes[order.stored((index * LANES + lane).min(rows - 1)) * size..][..size];
        Self { data: Data::Rows(std::array::from_fn(row)), columns, next: &[] }
    }

    /// Values `range` of each row; whole blocks.
    pub(crate) fn part(&self, dtype: Dtype, range: Range<usize>) -> Self {
        let place = |values: usize| values / dtype.block_len() * dtype.block_bytes();
        let bytes = place(range.start)..place(range.end);
        let data = match self.data {
            Data::Rows(rows) => Data::Rows(rows.map(|row| &row[bytes.clone()])),
            Data::Turned(all) => Data::Turned(&all[LANES * bytes.start..LANES * bytes.end]),
        };
        Self { data, columns: range.len(), next: &[] }
    }

    /// A row as it is stored, or was before it was turned.
    pub(crate) fn row(&self, dtype: Dtype, lane: usize) -> Cow<'a, [u8]> {
        let bytes = match self.data {
            Data::Rows(rows) => return Cow::Borrowed(rows[lane]),
            Data::Turned(bytes) => bytes,
        };
        let size = dtype.block_bytes();
        let mut row = vec![0; bytes.len() / LANES];
        for (block, bytes) in row.chunks_exact_mut(size).zip(bytes.chunks_exact(LANES * size)) {
            for (at, width) in parts(dtype) {
                block[at..][..width].copy_from_slice(&bytes[LANES * at + width * lane..][..width]);
            }
        }
        Cow::Owned(row)
    }

    /// Turns the first `count` of the rows that are stored; the others become zero.
    pub(crate) fn turn(&self, isa: Isa, dtype: Dtype, count: usize, out: &mut [u8]) {
        let Data::Rows(rows) = self.data else { return };
        let size = dtype.block_bytes();
        let put = |out: &mut [u8], part: (usize, usize)| {
            let (at, width) = part;
            for (index, out) in out.chunks_exact_mut(LANES * size).enumerate() {
                for (lane, row) in rows.iter().enumerate().take(count) {
                    let from = &row[index * size + at..][..width];
                    out[LANES * at + width * lane..][..width].copy_from_slice(from);
                }
            }
        };
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Avx512 && count == LANES {
            let half = half(dtype);
            half.into_iter().for_each(|at| put(out, (at, 2)));
            let part = match half {
                Some(0) => 2..size,
                Some(end) => 0..end,
                None => 0..size,
            };
            assert!(rows.iter().all(|row| row.len() * LANES == out.len()), "rows of whole blocks");
            // SAFETY: an `Isa` above the baseline is there only if the processor has it; the lengths were checked.
            #[allow(unsafe_code)]
            return unsafe { crate::avx512::turn::turn(rows.map(<[u8]>::as_ptr), size, part, out) };
        }
        let _ = isa;
        parts(dtype).for_each(|part| put(out, part));
    }
}

/// Where the parts of a block begin that stay together, and their bytes.
fn parts(dtype: Dtype) -> impl Iterator<Item = (usize, usize)> {
    let (half, mut at) = (half(dtype), 0);
    std::iter::from_fn(move || {
        let part = (at, if half == Some(at) { 2 } else { 4 });
        at += part.1;
        (part.0 < dtype.block_bytes()).then_some(part)
    })
}

/// Where a block has a scale of 2 bytes that does not fill 4 with a minimum.
fn half(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q5_0 => Some(0),
        Dtype::Q6_K => Some(208),
        _ => None,
    }
}
