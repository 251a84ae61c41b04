//! A value that crosses as the MessagePack bytes of one item. It is transcoded into and from both of Dynamo's wire
//! codecs, so no value tree is built.

use std::cell::Cell;
use std::fmt;

use bytes::Bytes;
use rmp::encode::{self as mp, ValueWriteError};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(pub Bytes);

impl Packed {
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut source = rmp_serde::Deserializer::from_read_ref(&self.0[..]);
        (&mut source).deserialize_any(Forward(serializer)).map_err(ser::Error::custom)?
    }
}

/// Passes each visited value to a serializer. The inner result has the serializer's own error.
struct Forward<S>(S);

macro_rules! forward {
    ($($visit:ident $serialize:ident $type:ty),* $(,)?) => {
        $(fn $visit<E: de::Error>(self, value: $type) -> Result<Self::Value, E> { Ok(self.0.$serialize(value)) })*
    };
}

impl<'de, S: Serializer> Visitor<'de> for Forward<S> {
    type Value = Result<S::Ok, S::Error>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a MessagePack value")
    }

    forward! {
        visit_bool serialize_bool bool,
        visit_i64 serialize_i64 i64,
        visit_u64 serialize_u64 u64,
        visit_f32 serialize_f32 f32,
        visit_f64 serialize_f64 f64,
        visit_str serialize_str &str,
        visit_bytes serialize_bytes &[u8],
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(self.0.serialize_unit())
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(self.0.serialize_unit())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut out = match self.0.serialize_seq(items.size_hint()) {
            Ok(out) => out,
            Err(error) => return Ok(Err(error)),
        };
        while items.next_element_seed(IntoSeq(&mut out))?.is_some() {}
        Ok(out.end())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut out = match self.0.serialize_map(entries.size_hint()) {
            Ok(out) => out,
            Err(error) => return Ok(Err(error)),
        };
        while entries.next_key_seed(IntoKey(&mut out))?.is_some() {
            entries.next_value_seed(IntoValue(&mut out))?;
        }
        Ok(out.end())
    }
}

/// A nested value between a deserializer and a serializer. The serializer takes it by shared reference, hence the cell.
struct Nested<D>(Cell<Option<D>>);

impl<'de, D: Deserializer<'de>> Serialize for Nested<D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let source = self.0.take().ok_or_else(|| ser::Error::custom("a nested value was serialized twice"))?;
        source.deserialize_any(Forward(serializer)).map_err(ser::Error::custom)?
    }
}

macro_rules! into {
    ($($name:ident $bound:ident $put:ident),*) => {
        $(
            struct $name<'a, S>(&'a mut S);

            impl<'de, S: $bound> de::DeserializeSeed<'de> for $name<'_, S> {
                type Value = ();

                fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                    self.0.$put(&Nested(Cell::new(Some(deserializer)))).map_err(de::Error::custom)
                }
            }
        )*
    };
}

into! {
    IntoSeq SerializeSeq serialize_element,
    IntoKey SerializeMap serialize_key,
    IntoValue SerializeMap serialize_value
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut out = Vec::new();
        deserializer.deserialize_any(Pack(&mut out))?;
        Ok(Self(out.into()))
    }
}

/// Writes each visited value to a buffer as MessagePack.
struct Pack<'a>(&'a mut Vec<u8>);

impl<'de> de::DeserializeSeed<'de> for Pack<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn written<E: de::Error>(result: Result<(), ValueWriteError>) -> Result<(), E> {
    result.map_err(E::custom)
}

impl<'de> Visitor<'de> for Pack<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        mp::write_bool(self.0, value).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        written(mp::write_sint(self.0, value).map(drop))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        written(mp::write_uint(self.0, value).map(drop))
    }

    fn visit_f32<E: de::Error>(self, value: f32) -> Result<(), E> {
        written(mp::write_f32(self.0, value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        written(mp::write_f64(self.0, value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        written(mp::write_str(self.0, value))
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<(), E> {
        written(mp::write_bin(self.0, value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        mp::write_nil(self.0).map_err(E::custom)
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if let Some(length) = items.size_hint() {
            written(mp::write_array_len(self.0, length as u32).map(drop))?;
            while items.next_element_seed(Pack(self.0))?.is_some() {}
            return Ok(());
        }
        let (mut body, mut length) = (Vec::new(), 0);
        while items.next_element_seed(Pack(&mut body))?.is_some() {
            length += 1;
        }
        written(mp::write_array_len(self.0, length).map(drop))?;
        self.0.extend_from_slice(&body);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        if let Some(length) = entries.size_hint() {
            written(mp::write_map_len(self.0, length as u32).map(drop))?;
            while entries.next_key_seed(Pack(self.0))?.is_some() {
                entries.next_value_seed(Pack(self.0))?;
            }
            return Ok(());
        }
        let (mut body, mut length) = (Vec::new(), 0);
        while entries.next_key_seed(Pack(&mut body))?.is_some() {
            entries.next_value_seed(Pack(&mut body))?;
            length += 1;
        }
        written(mp::write_map_len(self.0, length).map(drop))?;
        self.0.extend_from_slice(&body);
        Ok(())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[cfg(test)]
mod tests;
