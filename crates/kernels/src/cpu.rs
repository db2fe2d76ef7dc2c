//! The processor as the kernels use it: its threads, and the best instructions it has.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::pool::Pool;
use crate::shared::Disjoint;

/// Sets of instructions that kernels are written or compiled for, each with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every processor of the architecture has: SSE2, or NEON. The portable code, compiled for it.
    Baseline,
    /// NEON with products of bytes: a kernel of its own for weights in blocks.
    Dot,
    /// AVX2, FMA and F16C: a kernel of its own for weights in blocks, otherwise the portable code, compiled for them.
    Avx2,
    /// AVX-512 F, BW, VL, DQ and VNNI.
    Avx512,
    /// The same with products of bf16.
    Avx512Bf16,
    /// The same with products of tiles, of bf16 and of bytes: AMX.
    Amx,
}

impl Isa {
    /// All that this processor has, in order.
    pub fn available() -> Vec<Self> {
        let all = [Self::Baseline, Self::Dot, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx];
        all.into_iter().filter(|isa| isa.is_there()).collect()
    }

    /// The fastest that this processor has.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new(); // to ask a processor is slow where it is virtual
        *BEST.get_or_init(|| Self::available().into_iter().filter(|isa| isa.pays()).max().unwrap_or(Self::Baseline))
    }

    /// Whether these instructions are faster than those before. Intel's products of bf16 are not: one takes as long as four of f32,
    /// and does the work of two (`matmul_speed 2 stored bf16` beside `avx512`).
    #[cfg(target_arch = "x86_64")]
    fn pays(self) -> bool {
        let id = std::arch::x86_64::__cpuid(0);
        let intel = [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel";
        self != Self::Avx512Bf16 || !intel
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn pays(self) -> bool {
        true
    }

    #[cfg(target_arch = "x86_64")]
    fn is_there(self) -> bool {
        let avx2 =
            || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        let avx512 = || {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni")
        };
        match self {
            Self::Baseline => true,
            Self::Dot => false,
            Self::Avx2 => avx2(),
            Self::Avx512 => avx2() && avx512(),
            Self::Avx512Bf16 => avx2() && avx512() && is_x86_feature_detected!("avx512bf16"),
            Self::Amx => Self::Avx512Bf16.is_there() && crate::amx::is_there(),
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn is_there(self) -> bool {
        self == Self::Baseline || self == Self::Dot && std::arch::is_aarch64_feature_detected!("dotprod")
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_there(self) -> bool {
        self == Self::Baseline
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Baseline if cfg!(target_arch = "aarch64") => "NEON",
            Self::Baseline if cfg!(target_arch = "x86_64") => "SSE2",
            Self::Baseline => "baseline",
            Self::Dot => "NEON with dot products",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512 VNNI",
            Self::Avx512Bf16 => "AVX-512 VNNI BF16",
            Self::Amx => "AMX",
        })
    }
}

/// What runs the kernels: a pool of threads and a set of instructions. Results depend on the set alone, never on the
/// number of threads.
#[derive(Debug)]
pub struct Cpu {
    pub(crate) pool: Pool,
    isa: Isa,
}

impl Cpu {
    /// `threads` threads, the calling one included, with the fastest instructions there are; 0: one for each physical core.
    pub fn new(threads: usize) -> Self {
        Self { pool: Pool::new(if threads == 0 { default_threads() } else { threads }), isa: Isa::best() }
    }

    /// The same with other instructions; `None` if the processor does not have them.
    pub fn with_isa(threads: usize, isa: Isa) -> Option<Self> {
        Isa::available().contains(&isa).then(|| Self { isa, ..Self::new(threads) })
    }

    /// Calls `work` for each row of `width` bytes of `out`, on all threads.
    ///
    /// # Errors
    /// One of those that `work` returned.
    pub fn rows<E: Send>(
        &self,
        out: &mut [u8],
        width: usize,
        work: impl Fn(usize, &mut [u8]) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let rows = out.len().checked_div(width).unwrap_or(0);
        let (out, failed) = (Disjoint::new(out), Mutex::new(None));
        self.pool.run(rows, |row| {
            // SAFETY: a row is of one task.
            #[allow(unsafe_code)]
            let out = unsafe { out.slice(row * width, width) };
            if let Err(error) = work(row, out) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// The instructions in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The threads in use.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }
}

/// Physical cores, or fewer where the process may not use them all.
pub fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    num_cpus::get_physical().clamp(1, allowed)
}
