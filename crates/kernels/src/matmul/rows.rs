//! Rows of a stored matrix, taken sixteen at a time.

use super::columns::LANES;
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

/// Sixteen rows of a matrix. Where it has fewer, the last one stands in for those that are missing.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub rows: [&'a [u8]; LANES],
    /// Values of a row.
    pub columns: usize,
    /// What will be read after this panel, as far as it is known: fetched meanwhile.
    pub next: &'a [u8],
}

impl<'a> Panel<'a> {
    /// Rows `16 · index ..` of a matrix of `[rows, columns]`.
    pub(crate) fn new(bytes: &'a [u8], dtype: Dtype, shape: [usize; 2], order: Rows, index: usize) -> Self {
        let [rows, columns] = shape;
        let size = columns / dtype.block_len() * dtype.block_bytes();
        let row = |lane: usize| &bytes[order.stored((index * LANES + lane).min(rows - 1)) * size..][..size];
        Self { rows: std::array::from_fn(row), columns, next: &[] }
    }

    pub(crate) fn row(&self, lane: usize) -> &'a [u8] {
        self.rows[lane]
    }
}
