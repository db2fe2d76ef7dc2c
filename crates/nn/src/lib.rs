//! What several model crates need of Burn: the device, and mapped weight files turned into tensors,
//! and such files written.

pub mod attention;
pub mod card;
pub mod conv;
pub mod cpu;
pub mod cross_entropy;
pub mod device;
pub mod factors;
pub mod frames;
pub mod group_norm;
pub mod layers;
pub mod linear;
pub mod load;
pub mod module;
pub mod picture;
pub mod quantizer;
pub mod train;
pub mod weights;
pub mod write;
