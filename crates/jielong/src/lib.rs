//! jielong (接龍, "continue the chain"): one loop and one transformer continue every kind of token.
//!
//! ```
//! use jielong::{Message, Pipeline};
//!
//! # let model = "tests/oracle/tiny-chat"; // offline, in milliseconds
//! # stringify! {
//! let model = "smollm2"; // an alias, a Hugging Face id, a folder or a GGUF file
//! # };
//! let pipeline = Pipeline::load(model)?;
//! let messages = [Message::user("What is the capital of France?")];
//! println!("{}", pipeline.chat(&messages)?);
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! [`sources`] finds and fetches models, [`assets`] reads what a model brings besides its weights, [`Pipeline`] is a model
//! ready to use, [`Session`] a conversation with it, [`mixed`] a model for several kinds of tokens; [`convert`] writes a
//! model in another format, [`data`] has pictures and sound to learn from. The parts are in crates of their own:
//! `jielong_core` (the loop and the sampler), `jielong_llama` (the transformer), `jielong_nn` (layers and training),
//! `jielong_kernels` (the heavy operations on the CPU), `jielong_text` (tokenizers and templates), `jielong_image` and
//! `jielong_audio` (pictures and sound as codes).

pub mod assets;
pub mod codecs;
pub mod convert;
pub mod data;
pub mod files;
pub mod mixed;
pub mod pipeline;
pub mod session;
pub mod shapes;
pub mod sources;
pub mod toml_file;

pub use jielong_text::Message;
pub use pipeline::{Pipeline, Settings};
pub use session::Session;
