//! What several model crates need of Burn: the device, and mapped weight files turned into tensors,
//! and such files written.

pub mod cpu;
pub mod device;
pub mod load;
pub mod weights;
pub mod write;
