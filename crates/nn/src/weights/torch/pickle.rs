//! The pickle of a PyTorch file, read by an interpreter that runs nothing.
//!
//! Source: the comments of Python's `pickletools.py`, which define the instructions. Of them, those that a dict of tensors is
//! made of, in protocols 2 to 5. Calls are to the [`names`](super::names) alone; what they make are plain records.

use std::collections::BTreeMap;

use super::cursor::Cursor;
use super::names::{self, Name};
use super::value::{Pickle, Storage, Tensor, Value};

/// Values that objects, and the memo of them, may hold together; values on the stack.
const MOST: usize = 1 << 20;
const DEEPEST: usize = 1 << 18;

/// Most dimensions of a tensor.
const DIMENSIONS: usize = 8;

/// Reads a pickle.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let mut machine = Machine { cursor: Cursor::new(bytes), ..Machine::default() };
    loop {
        let at = machine.cursor.at();
        match machine.step().map_err(|problem| format!("byte {at}: {problem}"))? {
            None => {}
            Some(_) if machine.cursor.left() > 0 => {
                return Err(format!("{} bytes follow the end of the pickle", machine.cursor.left()));
            }
            Some(root) => return Ok(Pickle { root, dicts: machine.dicts, tensors: machine.tensors }),
        }
    }
}

#[derive(Default)]
struct Machine<'a> {
    cursor: Cursor<'a>,
    stack: Vec<Value<'a>>,
    /// Lengths of the stack where marks were set.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Value<'a>>,
    /// Values held by objects and memo so far.
    held: usize,
    sequences: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<Storage<'a>>,
    tensors: Vec<Tensor<'a>>,
}

impl<'a> Machine<'a> {
    /// One instruction; the result, where it is the last.
    fn step(&mut self) -> Result<Option<Value<'a>>, String> {
        match self.cursor.u8()? {
            0x80 => match self.cursor.u8()? {
                2..=5 => {}
                protocol => return Err(format!("protocol {protocol}; 2 to 5 are read")),
            },
            0x95 => drop(self.cursor.u64()?),
            b'.' => return self.pop().map(Some),
            b'(' => self.mark()?,
            b'N' => self.push(Value::Other("None"))?,
            0x88 | 0x89 => self.push(Value::Other("a boolean"))?,
            b'G' => {
                self.cursor.take(8)?;
                self.push(Value::Other("a float"))?;
            }
            b'K' => self.number(|cursor| cursor.u8().map(i64::from))?,
            b'M' => self.number(|cursor| cursor.u16().map(i64::from))?,
            b'J' => self.number(|cursor| cursor.array().map(i32::from_le_bytes).map(i64::from))?,
            0x8a => self.long()?,
            0x8c => self.text(|cursor| cursor.u8().map(u64::from))?,
            b'X' => self.text(|cursor| cursor.u32().map(u64::from))?,
            0x8d => self.text(Cursor::u64)?,
            b'q' => self.put(|cursor| cursor.u8().map(u32::from))?,
            b'r' => self.put(Cursor::u32)?,
            0x94 => {
                let next = self.memo.len() as u32;
                self.put(|_| Ok(next))?;
            }
            b'h' => self.get(|cursor| cursor.u8().map(u32::from))?,
            b'j' => self.get(Cursor::u32)?,
            b')' | b']' => self.sequence(Vec::new())?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.sequence(items)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.extend(&items)?;
            }
            b'}' => self.dict()?,
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(&items)?;
            }
            b'c' => {
                let [module, name] = [self.cursor.until(b'\n')?, self.cursor.until(b'\n')?].map(utf8);
                self.push(Value::Name(names::find(module?, name?)?))?;
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.push(Value::Name(names::find(module, name)?))?,
                (name, _) => return Err(format!("a name is made of {}", name.kind())),
            },
            b'R' => self.call()?,
            b'b' => self.build()?,
            b'Q' => self.persistent()?,
            other => return Err(format!("instruction {other:#04x} is none that a dict of tensors is made of")),
        }
        Ok(None)
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), String> {
        if self.stack.len() == DEEPEST {
            return Err(format!("more than {DEEPEST} values on the stack"));
        }
        self.stack.push(value);
        Ok(())
    }

    /// The last value on the stack since the last mark.
    fn last(&self) -> Result<Value<'a>, String> {
        let fence = self.marks.last().copied().unwrap_or_default();
        self.stack[fence..].last().copied().ok_or_else(|| "a value is needed, none is on the stack".into())
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        let value = self.last()?;
        self.stack.pop();
        Ok(value)
    }

    fn mark(&mut self) -> Result<(), String> {
        if self.marks.len() == DEEPEST {
            return Err(format!("more than {DEEPEST} marks"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, String> {
        let mark = self.marks.pop().ok_or("no mark is on the stack")?;
        Ok(self.stack.split_off(mark))
    }

    /// Counts values that stay in memory.
    fn hold(&mut self, values: usize) -> Result<(), String> {
        self.held += values;
        if self.held > MOST { Err(format!("more than {MOST} values")) } else { Ok(()) }
    }

    fn number(&mut self, read: impl FnOnce(&mut Cursor<'a>) -> Result<i64, String>) -> Result<(), String> {
        let number = read(&mut self.cursor)?;
        self.push(Value::Int(number))
    }

    /// A number of up to 255 bytes, the lowest first, in two's complement.
    fn long(&mut self) -> Result<(), String> {
        let length = self.cursor.u8()?;
        let bytes = self.cursor.take(length.into())?;
        let mut padded = [bytes.last().map_or(0, |&last| if last < 0x80 { 0 } else { 0xff }); 8];
        match padded.get_mut(..bytes.len()) {
            None => self.push(Value::Other("a number of more than 64 bits")),
            Some(low) => {
                low.copy_from_slice(bytes);
                self.push(Value::Int(i64::from_le_bytes(padded)))
            }
        }
    }

    fn text(&mut self, length: impl FnOnce(&mut Cursor<'a>) -> Result<u64, String>) -> Result<(), String> {
        let length = length(&mut self.cursor)?;
        let text = utf8(self.cursor.take(length)?)?;
        self.push(Value::Text(text))
    }

    fn put(&mut self, key: impl FnOnce(&mut Cursor<'a>) -> Result<u32, String>) -> Result<(), String> {
        let key = key(&mut self.cursor)?;
        let value = self.last()?;
        self.hold(2)?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn get(&mut self, key: impl FnOnce(&mut Cursor<'a>) -> Result<u32, String>) -> Result<(), String> {
        let key = key(&mut self.cursor)?;
        let value = self.memo.get(&key).copied().ok_or_else(|| format!("nothing is kept under {key}"))?;
        self.push(value)
    }

    fn sequence(&mut self, items: Vec<Value<'a>>) -> Result<(), String> {
        self.hold(1 + items.len())?;
        self.sequences.push(items);
        self.push(Value::Sequence(self.sequences.len() - 1))
    }

    fn tuple(&mut self, length: usize) -> Result<(), String> {
        let mut items = (0..length).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.sequence(items)
    }

    /// Appends to the list on the stack.
    fn extend(&mut self, items: &[Value<'a>]) -> Result<(), String> {
        self.hold(items.len())?;
        match self.last()? {
            Value::Sequence(list) => self.sequences[list].extend(items),
            other => return Err(format!("appends to {}", other.kind())),
        }
        Ok(())
    }

    fn dict(&mut self) -> Result<(), String> {
        self.hold(1)?;
        self.dicts.push(Vec::new());
        self.push(Value::Dict(self.dicts.len() - 1))
    }

    /// Adds keys and values to the dict on the stack.
    fn set(&mut self, items: &[Value<'a>]) -> Result<(), String> {
        self.hold(items.len())?;
        let (pairs, rest) = items.as_chunks::<2>();
        match self.last()? {
            Value::Dict(dict) if rest.is_empty() => {
                self.dicts[dict].extend(pairs.iter().map(|&[key, value]| (key, value)))
            }
            Value::Dict(_) => return Err("a key without a value".into()),
            other => return Err(format!("sets a key of {}", other.kind())),
        }
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let (arguments, called) = (self.pop()?, self.pop()?);
        let Value::Sequence(arguments) = arguments else {
            return Err(format!("calls with {}, not with a list", arguments.kind()));
        };
        let arguments = &self.sequences[arguments][..];
        match (called, arguments) {
            (Value::Name(Name::OrderedDict), []) => self.dict(),
            (Value::Name(Name::Parameter), &[Value::Tensor(tensor), _, _]) => self.push(Value::Tensor(tensor)),
            (Value::Name(Name::Tensor), &[Value::Storage(storage), Value::Int(offset), shape, strides, _, _, ..])
                if arguments.len() <= 7 =>
            {
                let Storage { dtype, key, held } = self.storages[storage];
                let offset = u64::try_from(offset).map_err(|_| format!("a tensor at offset {offset}"))?;
                let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
                if shape.len() != strides.len() {
                    return Err(format!("a tensor of {} sizes and {} strides", shape.len(), strides.len()));
                }
                self.hold(2 + shape.len())?;
                self.tensors.push(Tensor { dtype, key, held, offset, shape, strides });
                self.push(Value::Tensor(self.tensors.len() - 1))
            }
            (Value::Name(name), _) => Err(format!("{name:?} is called in a way that torch.save does not")),
            (other, _) => Err(format!("{} is called", other.kind())),
        }
    }

    /// Sizes or strides of a tensor.
    fn sizes(&self, value: Value) -> Result<Vec<u64>, String> {
        let Value::Sequence(list) = value else {
            return Err(format!("sizes are {}, not a list", value.kind()));
        };
        let list = &self.sequences[list];
        if list.len() > DIMENSIONS {
            return Err(format!("a tensor of {} dimensions; at most {DIMENSIONS} are read", list.len()));
        }
        let size = |value: &Value| match *value {
            Value::Int(size) => u64::try_from(size).map_err(|_| format!("a size of {size}")),
            other => Err(format!("a size is {}", other.kind())),
        };
        list.iter().map(size).collect()
    }

    /// Attributes that a dict carries (the version of each module) are passed over.
    fn build(&mut self) -> Result<(), String> {
        match (self.pop()?, self.last()?) {
            (Value::Dict(_), Value::Dict(_)) => Ok(()),
            (_, other) => Err(format!("sets attributes of {}", other.kind())),
        }
    }

    /// `("storage", type, key, location, values)`
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let items = if let Value::Sequence(list) = id { &self.sequences[list][..] } else { &[] };
        let &[Value::Text("storage"), Value::Name(Name::Storage(dtype)), Value::Text(key), _, Value::Int(held)] = items
        else {
            return Err("refers to something outside that is no storage".into());
        };
        let held = u64::try_from(held).map_err(|_| format!("a storage of {held} values"))?;
        self.hold(2)?;
        self.storages.push(Storage { dtype, key, held });
        self.push(Value::Storage(self.storages.len() - 1))
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    str::from_utf8(bytes).map_err(|_| "a text that is not UTF-8".into())
}
