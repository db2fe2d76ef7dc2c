//! What a pickle holds, as plain records: objects live in lists and refer to each other by index, so an object in itself is no
//! cycle in memory.

use super::names::Name;

/// Something in a pickle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// Of this kind, and never looked at.
    Other(&'static str),
    Int(i64),
    Text(&'a str),
    Name(Name),
    /// A tuple or list, by its index; so are the others.
    Sequence(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
}

impl Value<'_> {
    /// What it is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Other(kind) => kind,
            Self::Int(_) => "a number",
            Self::Text(_) => "a text",
            Self::Name(_) => "a name",
            Self::Sequence(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

/// A storage: a type of safetensors, the key of its entry, how many values it has.
#[derive(Clone, Copy)]
pub(super) struct Storage<'a> {
    pub(super) dtype: &'static str,
    pub(super) key: &'a str,
    pub(super) held: u64,
}

/// A tensor as a view of a storage; nothing of it is checked but that it is as long as it is wide.
pub(super) struct Tensor<'a> {
    pub(super) dtype: &'static str,
    /// Key of the storage's entry.
    pub(super) key: &'a str,
    /// Values of the storage.
    pub(super) held: u64,
    /// The first value.
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

/// All that a pickle holds.
pub(super) struct Pickle<'a> {
    pub(super) root: Value<'a>,
    pub(super) dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    pub(super) tensors: Vec<Tensor<'a>>,
}
