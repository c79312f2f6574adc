//! What JSON may be sent: shapes of parameters, checked with the error codes, sentences and parameter paths of the real API.

use std::cmp::Ordering;

use serde_json::{Map, Value};

/// What one value may be.
pub(super) enum Shape {
    Anything,
    Null,
    Flag,
    /// At most so many characters.
    Text(usize),
    /// From, to.
    Integer(u64, u64),
    /// From, to.
    Decimal(f64, f64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// An object with any members.
    Map,
    Record(&'static Record),
    /// Objects that are told apart by `type`.
    Tagged(&'static [(&'static str, &'static Record)]),
    /// At most so many of one shape.
    List(&'static Shape, usize),
    /// The first one whose kind of JSON fits.
    Either(&'static [Shape]),
}

/// An object whose members are all known. `type` need not be listed in what [`Shape::Tagged`] names.
pub(super) struct Record {
    pub(super) required: &'static [&'static str],
    pub(super) fields: &'static [(&'static str, Shape)],
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) param: Option<String>,
}

impl Fault {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None }
    }

    pub(super) fn about(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(super) fn unknown(param: &str) -> Self {
        Self::new("unknown_parameter", format!("Unknown parameter: '{param}'.")).about(param)
    }

    pub(super) fn missing(param: &str) -> Self {
        Self::new("missing_required_parameter", format!("Missing required parameter: '{param}'.")).about(param)
    }

    fn kind(param: &str, expected: &str, value: &Value) -> Self {
        let message = format!("Invalid type for '{param}': expected {expected}, but got {} instead.", kind_of(value));
        Self::new("invalid_type", message).about(param)
    }

    /// `value` is a word that is not among `known`. What was sent is quoted in part only.
    pub(super) fn word<'a>(param: &str, value: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<_> = known.map(|word| format!("'{word}'")).collect();
        let shown: String = value.chars().take(64).collect();
        let message = format!("Invalid value: '{shown}'. Supported values are: {}.", known.join(", "));
        Self::new("invalid_value", message).about(param)
    }
}

impl Shape {
    /// Checks `value`, which is called `param`.
    pub(super) fn check(&self, value: &Value, param: &str) -> Result<(), Fault> {
        match (self, value) {
            (Self::Anything, _) | (Self::Null, Value::Null) | (Self::Flag, Value::Bool(_)) | (Self::Map, Value::Object(_)) => {
                Ok(())
            }
            (Self::Text(most), Value::String(text)) => length(text, *most, param),
            (Self::Integer(least, most), Value::Number(number)) => integer(number, *least, *most, param),
            (Self::Decimal(least, most), Value::Number(number)) => decimal(number.as_f64(), *least, *most, param),
            (Self::Word(known), Value::String(word)) if !known.contains(&word.as_str()) => {
                Err(Fault::word(param, word, known.iter().copied()))
            }
            (Self::Word(_), Value::String(_)) => Ok(()),
            (Self::Record(record), Value::Object(fields)) => record.check(fields, param),
            (Self::Tagged(known), Value::Object(fields)) => tagged(known, fields, param),
            (Self::List(of, most), Value::Array(values)) => list(of, *most, values, param),
            (Self::Either(shapes), _) => either(shapes, value, param),
            _ => Err(Fault::kind(param, self.name(), value)),
        }
    }

    /// Whether the kind of JSON fits.
    fn takes(&self, value: &Value) -> bool {
        match self {
            Self::Anything => true,
            Self::Null => value.is_null(),
            Self::Flag => value.is_boolean(),
            Self::Text(_) | Self::Word(_) => value.is_string(),
            Self::Integer(..) | Self::Decimal(..) => value.is_number(),
            Self::Map | Self::Record(_) | Self::Tagged(_) => value.is_object(),
            Self::List(..) => value.is_array(),
            Self::Either(shapes) => shapes.iter().any(|shape| shape.takes(value)),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Anything | Self::Either(_) => "a value",
            Self::Null => "null",
            Self::Flag => "a boolean",
            Self::Text(_) | Self::Word(_) => "a string",
            Self::Integer(..) => "an integer",
            Self::Decimal(..) => "a decimal",
            Self::Map | Self::Record(_) | Self::Tagged(_) => "an object",
            Self::List(..) => "an array",
        }
    }
}

impl Record {
    pub(super) fn check(&self, fields: &Map<String, Value>, param: &str) -> Result<(), Fault> {
        for (name, value) in fields.iter().filter(|(name, _)| *name != "type") {
            let param = join(param, name);
            let (_, shape) = self.fields.iter().find(|(known, _)| known == name).ok_or_else(|| Fault::unknown(&param))?;
            shape.check(value, &param)?;
        }
        match self.required.iter().find(|name| !fields.contains_key(**name)) {
            Some(name) => Err(Fault::missing(&join(param, name))),
            None => Ok(()),
        }
    }
}

fn either(shapes: &[Shape], value: &Value, param: &str) -> Result<(), Fault> {
    let Some(shape) = shapes.iter().find(|shape| shape.takes(value)) else {
        let names: Vec<_> = shapes.iter().map(Shape::name).collect();
        return Err(Fault::kind(param, &format!("one of {}", names.join(", ")), value));
    };
    shape.check(value, param)
}

fn tagged(known: &[(&str, &Record)], fields: &Map<String, Value>, param: &str) -> Result<(), Fault> {
    let path = join(param, "type");
    let tag = fields.get("type").ok_or_else(|| Fault::missing(&path))?;
    let tag = tag.as_str().ok_or_else(|| Fault::kind(&path, "a string", tag))?;
    match known.iter().find(|(name, _)| *name == tag) {
        Some((_, record)) => record.check(fields, param),
        None => Err(Fault::word(&path, tag, known.iter().map(|(name, _)| *name))),
    }
}

fn list(of: &Shape, most: usize, values: &[Value], param: &str) -> Result<(), Fault> {
    if values.len() > most {
        let message = format!(
            "Invalid '{param}': array too long. Expected an array with maximum length {most}, but got an array with length {} instead.",
            values.len()
        );
        return Err(Fault::new("array_above_max_length", message).about(param));
    }
    values.iter().enumerate().try_for_each(|(index, value)| of.check(value, &format!("{param}[{index}]")))
}

fn length(text: &str, most: usize, param: &str) -> Result<(), Fault> {
    let length = text.chars().count();
    if length <= most {
        return Ok(());
    }
    let message = format!(
        "Invalid '{param}': string too long. Expected a string with maximum length {most}, but got a string with length {length} instead."
    );
    Err(Fault::new("string_above_max_length", message).about(param))
}

fn integer(number: &serde_json::Number, least: u64, most: u64, param: &str) -> Result<(), Fault> {
    if number.as_u64().is_none() && number.as_i64().is_none() {
        return Err(Fault::kind(param, "an integer", &Value::Number(number.clone())));
    }
    match number.as_u64() {
        Some(value) if value > most => Err(bound("integer_above_max_value", "integer above maximum", "<=", most, number, param)),
        Some(value) if value >= least => Ok(()),
        _ => Err(bound("integer_below_min_value", "integer below minimum", ">=", least, number, param)),
    }
}

fn decimal(number: Option<f64>, least: f64, most: f64, param: &str) -> Result<(), Fault> {
    let number = number.unwrap_or(f64::NAN);
    if number.partial_cmp(&most) == Some(Ordering::Greater) {
        return Err(bound("decimal_above_max_value", "decimal above maximum", "<=", most, number, param));
    }
    if number >= least {
        return Ok(());
    }
    Err(bound("decimal_below_min_value", "decimal below minimum", ">=", least, number, param))
}

fn bound(
    code: &'static str,
    what: &str,
    relation: &str,
    limit: impl std::fmt::Display,
    got: impl std::fmt::Display,
    param: &str,
) -> Fault {
    let message = format!("Invalid '{param}': {what} value. Expected a value {relation} {limit}, but got {got} instead.");
    Fault::new(code, message).about(param)
}

fn join(param: &str, name: &str) -> String {
    // A name that nobody knows is the caller's own text: quoted in part only.
    let name: String = name.chars().take(64).collect();
    if param.is_empty() { name } else { format!("{param}.{name}") }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
