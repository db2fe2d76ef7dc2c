//! The names that a pickle may use. Every other is refused: a pickle calls what it names.

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A dict that keeps its order.
    OrderedDict,
    /// A tensor, of a storage, an offset, sizes and strides.
    Tensor,
    /// A parameter, of a tensor.
    Parameter,
    /// A storage of this type, in the words of safetensors.
    Storage(&'static str),
}

const STORAGES: [(&str, &str); 10] = [
    ("FloatStorage", "F32"),
    ("HalfStorage", "F16"),
    ("BFloat16Storage", "BF16"),
    ("DoubleStorage", "F64"),
    ("LongStorage", "I64"),
    ("IntStorage", "I32"),
    ("ShortStorage", "I16"),
    ("CharStorage", "I8"),
    ("ByteStorage", "U8"),
    ("BoolStorage", "BOOL"),
];

/// What `module.name` stands for.
pub(super) fn find(module: &str, name: &str) -> Result<Name, String> {
    let storage = || STORAGES.iter().find(|(known, _)| *known == name).map(|(_, dtype)| Name::Storage(dtype));
    let known = match (module, name) {
        ("collections", "OrderedDict") => Some(Name::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Some(Name::Tensor),
        ("torch._utils", "_rebuild_parameter") => Some(Name::Parameter),
        ("torch", _) => storage(),
        _ => None,
    };
    known.ok_or_else(|| {
        format!("uses `{module:.64}.{name:.64}`, which is not read; save a dict of tensors: `model.state_dict()`")
    })
}
