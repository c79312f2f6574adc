//! JSON from strangers: no duplicate keys at any depth, nested at most 16 deep.
//!
//! `serde_json::Value` keeps the last of two equal keys in silence; two parsers that disagree on such a text can be played against
//! each other, so it is refused here.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep objects and arrays may be nested.
pub(crate) const MAX_DEPTH: u8 = 16;

/// Why a text was refused. Quotes keys and positions, never values.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(String);

/// Parses a whole text.
pub(crate) fn parse_strict(text: &[u8]) -> Result<Value, Malformed> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth: 0 }.deserialize(&mut reader).map_err(|e| Malformed(describe(&e)))?;
    reader.end().map_err(|e| Malformed(describe(&e)))?;
    Ok(value)
}

fn describe(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Eof => format!("The text ends before the JSON value does (line {line} column {column})."),
        serde_json::error::Category::Data => {
            let full = error.to_string();
            let message = full.rsplit_once(" at line ").map_or(full.as_str(), |(message, _)| message);
            format!("{message} (line {line} column {column}).")
        }
        _ => format!("Not valid JSON at line {line} column {column}."),
    }
}

/// Splits a JSON pointer (RFC 6901) into unescaped reference tokens. `None` when it is not one, or points at the whole document.
pub(crate) fn pointer_tokens(pointer: &str) -> Option<Vec<String>> {
    let escapes = pointer.replace("~0", "").replace("~1", "");
    let valid = pointer.starts_with('/') && pointer.len() > 1 && !escapes.contains('~');
    valid.then(|| pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect())
}

/// Equality of JSON values in which 1 and 1.0 are the same number.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("Objects and arrays may be nested at most {MAX_DEPTH} deep")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("A number is out of range"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format_args!("The key {key:?} appears twice in one object")));
            }
            let value = map.next_value_seed(inner)?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{MAX_DEPTH, parse_strict, pointer_tokens, same};

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"y":{"a":1,"\u0061":2}}]}"#] {
            assert!(parse_strict(text.as_bytes()).unwrap_err().to_string().contains("twice"), "{text}");
        }
    }

    #[test]
    fn sixteen_levels_are_the_limit() {
        assert!(parse_strict(nested(usize::from(MAX_DEPTH)).as_bytes()).is_ok());
        assert!(parse_strict(nested(usize::from(MAX_DEPTH) + 1).as_bytes()).is_err());
        assert!(parse_strict(nested(10_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        for text in ["", "{", "{} {}", "\u{feff}{}", "{'a':1}", "[1,]", "NaN", "1e999", r#""\ud800""#, "01"] {
            assert!(parse_strict(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn equal_numbers_are_equal_however_written() {
        assert!(same(&json!({"speed": 1}), &parse_strict(br#"{"speed":1.0}"#).unwrap()));
        assert!(!same(&json!([1, 2]), &json!([2, 1])));
        assert!(!same(&json!(1), &json!("1")));
        assert!(!same(&Value::Null, &json!(false)));
    }

    #[test]
    fn a_pointer_names_a_place_inside() {
        assert_eq!(pointer_tokens("/audio/output/a~1b~0c").unwrap(), ["audio", "output", "a/b~c"]);
        for bad in ["", "/", "audio", "/a~2", "/a~"] {
            assert_eq!(pointer_tokens(bad), None, "{bad}");
        }
    }
}
