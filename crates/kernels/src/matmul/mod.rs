//! Products with packed weights: a stored matrix times one or many columns.
//!
//! Sixteen rows of the matrix are taken together, a *panel*. Weights in blocks are unpacked step by step of the inner
//! dimension into registers, one row a lane, and go over all columns before the next step; plain weights go over the columns
//! in tiles. To bring sixteen rows into lanes costs as much as to multiply them, so matrices of blocks may be turned once
//! for all ([`Matrix::turned`]); the results are the same. Many columns of long rows are multiplied a part of their length at
//! a time, which stays in the second cache while it goes over several panels.
//!
//! The same code serves one column (decode, bound by memory) and hundreds (prefill, bound by arithmetic), and a result never
//! depends on how many columns or threads there were. [`portable`] defines the results; [`avx512`](super::avx512) has the
//! same for AVX-512, bit for bit, except that bf16 weights meet inputs rounded to bf16 where the processor multiplies these.

pub(crate) mod columns;
pub(crate) mod portable;
pub(crate) mod rows;

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::Bytes;

use self::columns::{COLUMNS, Columns, Form, Kind, LANES, Lined, MOST, STEP, TOGETHER};
use self::rows::{Data, Panel, Rows};
use crate::cpu::{Cpu, Isa};
use crate::dtype::Dtype;
use crate::foresight::Span;
use crate::mapped::Memory;
use crate::quant::KernelError;
use crate::shared::Disjoint;

/// Bytes of weights that make a task worth handing over.
const TASK: usize = 32 << 10;

/// Bytes of a panel that is worth to be read beside others; of shorter ones, streams would begin too often.
const LONG: usize = 16 << 10;

/// Where the weights of a model are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// In memory and turned, where products are faster so.
    #[default]
    Turned,
    /// Always where they are mapped: nothing to load, and processes share them.
    Mapped,
}

/// A matrix of weights, `[rows, columns]`, in whole rows as it is stored, or turned.
#[derive(Clone, Debug)]
pub struct Matrix {
    dtype: Dtype,
    shape: [usize; 2],
    form: Stored,
    bytes: Bytes,
}

/// In which form the bytes of a matrix are.
#[derive(Clone, Copy, Debug)]
enum Stored {
    Rows(Rows),
    /// Panels of sixteen rows, those that are missing at the end zero.
    Turned,
}

impl Matrix {
    /// The matrix of `shape` in `bytes`, for instance of a mapped file.
    ///
    /// # Errors
    /// [`KernelError::Length`] if the bytes are not the matrix, or a row is not whole blocks.
    pub fn new(dtype: Dtype, shape: [usize; 2], order: Rows, bytes: Bytes) -> Result<Self, KernelError> {
        let [rows, columns] = shape;
        let row = dtype.bytes(columns);
        if row.and_then(|row| row.checked_mul(rows)) != Some(bytes.len()) || bytes.is_empty() {
            return Err(KernelError::Length { dtype, bytes: bytes.len(), values: rows.saturating_mul(columns) });
        }
        Ok(Self { dtype, shape, form: Stored::Rows(order), bytes })
    }

    /// The same matrix in memory, turned into panels, if products are faster so: blocks of integers, with AVX-512.
    pub fn turned(self, cpu: &Cpu) -> Self {
        let Stored::Rows(order) = self.form else { return self };
        if self.dtype.block_len() == 1 || cpu.isa() < Isa::Avx512 {
            return self;
        }
        let panels = self.shape[0].div_ceil(LANES);
        let size = self.row_bytes() * LANES;
        let mut out = Memory::new(panels * size);
        let work = |index: usize, out: &mut [u8]| -> Result<(), KernelError> {
            let panel = Panel::stored(&self.bytes, self.dtype, self.shape, order, index);
            panel.turn(cpu.isa(), self.dtype, LANES.min(self.shape[0] - index * LANES), out);
            Ok(())
        };
        match cpu.rows(out.as_mut(), size, work) {
            Ok(()) => Self { form: Stored::Turned, bytes: Bytes::from_owner(out), ..self },
            Err(_) => self,
        }
    }

    /// Whether it is turned into panels.
    pub fn is_turned(&self) -> bool {
        matches!(self.form, Stored::Turned)
    }

    /// How the weights are stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// `[rows, columns]`
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of a row.
    fn row_bytes(&self) -> usize {
        self.shape[1] / self.dtype.block_len() * self.dtype.block_bytes()
    }

    /// The bytes of panel `index`, wherever in it they are.
    fn panel_bytes(&self, index: usize) -> &[u8] {
        let size = self.row_bytes() * LANES;
        &self.bytes[index * size..((index + 1) * size).min(self.bytes.len())]
    }

    /// Panel `index`.
    fn panel(&self, index: usize) -> Panel<'_> {
        match self.form {
            Stored::Rows(order) => Panel::stored(&self.bytes, self.dtype, self.shape, order, index),
            Stored::Turned => Panel { data: Data::Turned(self.panel_bytes(index)), columns: self.shape[1], next: &[] },
        }
    }

    /// Some rows as a matrix of their own, which shares the bytes, and how many rows more it begins with: rows stay together in
    /// sixteens. Products with it are the same. `None` if the rows are stored in another order.
    ///
    /// # Panics
    /// If there are no such rows.
    pub fn part(&self, rows: Range<usize>) -> Option<(Self, usize)> {
        assert!(rows.start < rows.end && rows.end <= self.shape[0], "rows {rows:?} of {}", self.shape[0]);
        let first = rows.start / LANES * LANES;
        let size = self.row_bytes();
        let bytes = match self.form {
            Stored::Rows(Rows::AsStored) => self.bytes.slice(first * size..rows.end * size),
            Stored::Rows(_) => return None,
            Stored::Turned => self.bytes.slice(first * size..rows.end.next_multiple_of(LANES) * size),
        };
        let shape = [rows.end - first, self.shape[1]];
        Some((Self { dtype: self.dtype, shape, form: self.form, bytes }, rows.start - first))
    }

    /// Expands row `index` into `out`, `columns` values.
    ///
    /// # Errors
    /// [`KernelError::Length`] if `out` has another length.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, index: usize, out: &mut [f32]) -> Result<(), KernelError> {
        assert!(index < self.shape[0], "row {index} of {}", self.shape[0]);
        let size = self.row_bytes();
        match self.form {
            Stored::Rows(order) => {
                crate::dequantize(self.dtype, &self.bytes[order.stored(index) * size..][..size], out)
            }
            Stored::Turned => {
                crate::dequantize(self.dtype, &self.panel(index / LANES).row(self.dtype, index % LANES), out)
            }
        }
    }
}

/// `x · Wᵀ` for each of several matrices of the same number of columns: `x` is `[n, columns]`, a result `[n, rows]`.
///
/// # Panics
/// If the lengths do not agree.
pub fn matmul(cpu: &Cpu, x: &[f32], matrices: &[&Matrix]) -> Vec<Vec<f32>> {
    let Some(first) = matrices.first() else { return Vec::new() };
    let [_, width] = first.shape;
    let n = x.len() / width;
    let mut results: Vec<Vec<f32>> = matrices.iter().map(|matrix| Vec::with_capacity(n * matrix.shape[0])).collect();
    let mut forms: Vec<(Kind, Columns)> = Vec::new();
    let mut jobs: Vec<Job> = Vec::with_capacity(matrices.len());
    for (matrix, out) in matrices.iter().zip(&mut results) {
        assert!(x.len() == n * width && matrix.shape[1] == width, "{} values, a matrix of {:?}", x.len(), matrix.shape);
        let kind = Kind::of(matrix.dtype, cpu.isa(), n);
        let form = forms.iter().position(|(other, _)| *other == kind).unwrap_or_else(|| {
            forms.push((kind, Columns::new(cpu, kind, x, width)));
            forms.len() - 1
        });
        let out = Disjoint::new(&mut out.spare_capacity_mut()[..n * matrix.shape[0]]);
        jobs.push(Job { matrix, form, panels: matrix.shape[0].div_ceil(LANES), out });
    }
    // Few tasks cost few hand-overs, many share the work evenly: some pages of weights each, but 16 for each thread at most.
    let total: usize = jobs.iter().map(|job| job.panels).sum();
    let bytes: usize = jobs.iter().map(|job| job.matrix.bytes.len()).sum();
    let size = (TASK * total / bytes).max(total / (16 * cpu.threads())).clamp(1, 32);
    // All columns of some panels, then other panels: weights come from memory once, inputs stay in a cache.
    let mut tasks: Vec<[usize; 3]> = Vec::new(); // job, first panel, first column
    for (j, job) in jobs.iter().enumerate() {
        for panel in (0..job.panels).step_by(size) {
            tasks.extend((0..n).step_by(forms[job.form].0.together()).map(|start| [j, panel, start]));
        }
    }
    if (1..=COLUMNS).contains(&n) {
        let first = |run: Range<usize>| match tasks.get(run.start) {
            Some(&[job, panel, _]) => {
                let matrix = jobs[job].matrix;
                Span::from(&matrix.bytes[panel * LANES * matrix.row_bytes()..])
            }
            None => Span::default(),
        };
        cpu.pool.foresee(jobs[0].matrix.bytes.as_ptr() as usize, first, tasks.len());
    }
    cpu.pool.run(tasks.len(), |task| {
        let [job, first, start] = tasks[task];
        let job = &jobs[job];
        let (kind, columns) = &forms[job.form];
        let count = kind.together().min(n - start);
        let end = (first + size).min(job.panels);
        let next = tasks[(task + 1) % tasks.len()];
        let next = jobs[next[0]].matrix.panel_bytes(next[1]);
        let (isa, dtype, chunk) = (cpu.isa(), job.matrix.dtype, columns.chunk(count));
        if chunk >= width {
            let (mut one, mut few, mut many);
            let sums = match count {
                1 => {
                    one = Lined([[0.0; LANES]; 1]);
                    &mut one.0[..]
                }
                2..=LANES => {
                    few = Lined([[0.0; LANES]; LANES]);
                    &mut few.0[..count]
                }
                _ => {
                    many = Lined([[0.0; LANES]; MOST]);
                    &mut many.0[..count]
                }
            };
            let mut first = first;
            let long = dtype.block_len() == STEP && job.matrix.row_bytes() * LANES >= LONG;
            let several = count == 1 && long && job.matrix.is_turned() && columns.takes_several();
            while several && end - first >= TOGETHER {
                let panels: [Panel; TOGETHER] = std::array::from_fn(|index| job.matrix.panel(first + index));
                let mut sums = Lined([[0.0; LANES]; TOGETHER]);
                multiply(isa, dtype, &panels, columns, [start, 0], &mut sums.0);
                job.put(start, first, &sums.0.each_ref().map(std::slice::from_ref));
                first += TOGETHER;
            }
            for index in first..end {
                let mut panel = job.matrix.panel(index);
                panel.next = if index + 1 < end { job.matrix.panel_bytes(index + 1) } else { next };
                sums.fill([0.0; LANES]);
                multiply(isa, dtype, &[panel], columns, [start, 0], sums);
                job.put(start, index, &[sums]);
            }
        } else {
            let mut sums = vec![Lined([[0.0; LANES]; MOST]); end - first];
            for from in (0..width).step_by(chunk) {
                for (index, sums) in (first..end).zip(&mut sums) {
                    let part = job.matrix.panel(index).part(dtype, from..width.min(from + chunk));
                    multiply(isa, dtype, &[part], columns, [start, from], &mut sums.0[..count]);
                }
            }
            let sums: Vec<&[[f32; LANES]]> = sums.iter().map(|sums| &sums.0[..count]).collect();
            job.put(start, first, &sums);
        }
    });
    for (matrix, out) in matrices.iter().zip(&mut results) {
        // SAFETY: the tasks have written every row of every column.
        #[allow(unsafe_code)]
        unsafe {
            out.set_len(n * matrix.shape[0]);
        }
    }
    results
}

/// A product, and where it goes.
struct Job<'a> {
    matrix: &'a Matrix,
    form: usize,
    panels: usize,
    out: Disjoint<'a, MaybeUninit<f32>>,
}

impl Job<'_> {
    /// Writes the sums of panels from `panel` on, for columns from `first` on: of one column after another what belongs together.
    /// Each panel of each column is of one task.
    fn put(&self, first: usize, panel: usize, sums: &[&[[f32; LANES]]]) {
        let all = self.matrix.shape[0];
        let rows = (sums.len() * LANES).min(all - panel * LANES);
        for column in 0..sums[0].len() {
            // SAFETY: these rows of this column are of the task that calls.
            #[allow(unsafe_code)]
            let out = unsafe { self.out.slice((first + column) * all + panel * LANES, rows) };
            let (whole, rest) = out.as_chunks_mut::<LANES>();
            for (out, sums) in whole.iter_mut().zip(sums) {
                *out = sums[column].map(MaybeUninit::new);
            }
            if let Some(sums) = sums.get(whole.len()) {
                rest.write_copy_of_slice(&sums[column][..rest.len()]);
            }
        }
    }
}

/// Adds a panel's products with the columns from `first` on to `out`, or those of several panels with one column; the panels begin
/// at value `from` of the rows.
fn multiply(
    isa: Isa,
    dtype: Dtype,
    panels: &[Panel],
    x: &Columns,
    [first, from]: [usize; 2],
    out: &mut [[f32; LANES]],
) {
    let (panel, count) = (&panels[0], out.len() / panels.len());
    assert!(first + count <= x.count && from + panel.columns <= x.stride, "columns that are not there");
    assert!(panels.len() == 1 || count == 1 && x.takes_several(), "one column of several panels");
    let (step, float) = (from / STEP * x.count, first * x.stride + from);
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY, of all calls: an `Isa` above the baseline is there only if the processor has it.
        match (&x.form, isa) {
            (Form::Sixteens(x_), Isa::Amx) => {
                let steps = x.stride / STEP;
                let x_ = &x_[first / LANES * steps + from / STEP..];
                #[allow(unsafe_code)]
                return unsafe { crate::amx::integers(dtype, panel, x_, steps, out) };
            }
            (Form::Tiles(x_), Isa::Amx) => {
                #[allow(unsafe_code)]
                return unsafe { crate::amx::bf16(panel, x_, x.count, first, out) };
            }
            (Form::Steps(x_), Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx) => {
                #[allow(unsafe_code)]
                return unsafe { crate::avx512::steps(dtype, panels, &x_[step..], x.count, first, out) };
            }
            (Form::Floats(x_), Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx) => {
                #[allow(unsafe_code)]
                return unsafe { crate::avx512::floats(dtype, panel, &x_[float..], x.stride, out) };
            }
            (Form::Bf16(x_), Isa::Avx512Bf16) => {
                #[allow(unsafe_code)]
                return unsafe { crate::avx512::bf16(panel, &x_[float..], x.stride, out) };
            }
            (Form::Shorts(x_), Isa::Avx2) => {
                #[allow(unsafe_code)]
                return unsafe { crate::avx2::shorts(dtype, panel, &x_[step..], x.count, first, out) };
            }
            (Form::Floats(x_), Isa::Avx2) => {
                #[allow(unsafe_code)]
                return unsafe { portable::floats_avx2(dtype, panel, &x_[float..], x.stride, out) };
            }
            _ => {}
        }
    }
    #[cfg(target_arch = "aarch64")]
    if let (Form::Steps(x_), Isa::Dot) = (&x.form, isa) {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        return unsafe { crate::neon::steps(dtype, panel, &x_[step..], x.count, first, out) };
    }
    let _ = isa;
    match &x.form {
        Form::Shorts(x_) => portable::shorts(dtype, panel, &x_[step..], x.count, first, out),
        Form::Floats(x_) => portable::floats(dtype, panel, &x_[float..], x.stride, out),
        Form::Steps(_) | Form::Sixteens(_) | Form::Bf16(_) | Form::Tiles(_) => {
            unreachable!("columns are made for the instructions that take them")
        }
    }
}
