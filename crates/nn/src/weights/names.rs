//! A JSON object whose names are names of tensors.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Most tensors of one object, and the longest name: what is beyond is no model, and would take memory.
const MOST: usize = 1 << 17;
const LONGEST: usize = 4096;

/// Values by name, without `__metadata__`. A plain map would keep the last of two equal names silently; here it is an error.
pub(super) struct ByName<V>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByName<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Names(PhantomData))
    }
}

struct Names<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Names<V> {
    type Value = ByName<V>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByName<V>, A::Error> {
        let mut values = BTreeMap::new();
        let mut metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" && !metadata {
                metadata = true;
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if name.len() > LONGEST {
                return Err(A::Error::custom(format!(
                    "a name of {} bytes; at most {LONGEST} are expected",
                    name.len()
                )));
            }
            if values.len() == MOST {
                return Err(A::Error::custom(format!("more than {MOST} tensors")));
            }
            let value = map.next_value().map_err(|e| A::Error::custom(format!("`{name}`: {e}")))?;
            match values.entry(name) {
                Entry::Occupied(other) => {
                    return Err(A::Error::custom(format!("`{}` is there twice", other.key())));
                }
                Entry::Vacant(place) => place.insert(value),
            };
        }
        Ok(ByName(values))
    }
}
