//! Calls of the session's functions: which one, and arguments that fit its JSON schema.

use serde_json::{Map, Value, json};

/// Deepest part of a schema that is followed.
const DEPTH: usize = 6;

/// The function to call after the user has said `text`: one whose name shares a word with it, or else the first.
pub(super) fn chosen<'a>(tools: &'a [Value], text: &str) -> Option<&'a Value> {
    let mut functions = tools.iter().filter(|tool| tool["type"] == "function");
    functions.clone().find(|tool| is_named(tool, text)).or_else(|| functions.next())
}

/// Whether a word of the function's name is in `text`.
pub(super) fn is_named(tool: &Value, text: &str) -> bool {
    let text = text.to_lowercase();
    let name = tool["name"].as_str().unwrap_or_default().to_lowercase();
    let mut words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 3);
    words.any(|word| text.contains(word))
}

/// Arguments that have every property that the schema requires.
pub(super) fn arguments(tool: &Value) -> Value {
    let schema = &tool["parameters"];
    if schema.is_object() { example(schema, "value", DEPTH) } else { json!({}) }
}

/// A value that fits `schema`, of the property `name`.
fn example(schema: &Value, name: &str, depth: usize) -> Value {
    for stated in ["const", "default"] {
        if let Some(value) = schema.get(stated) {
            return value.clone();
        }
    }
    for stated in ["enum", "examples"] {
        if let Some(value) = schema[stated].as_array().and_then(|values| values.first()) {
            return value.clone();
        }
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[choice].as_array().and_then(|schemas| schemas.first())
            && depth > 0
        {
            return example(first, name, depth - 1);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind.unwrap_or(if schema["properties"].is_object() { "object" } else { "string" }) {
        "object" if depth > 0 => object(schema, depth - 1),
        "object" => json!({}),
        "array" => array(schema, name, depth),
        "integer" => json!(schema["minimum"].as_i64().unwrap_or(1)),
        "number" => json!(schema["minimum"].as_f64().unwrap_or(1.0)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => string(schema, name),
    }
}

fn object(schema: &Value, depth: usize) -> Value {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let properties = required.map(|name| (name.to_owned(), example(&schema["properties"][name], name, depth)));
    Value::Object(properties.collect::<Map<_, _>>())
}

fn array(schema: &Value, name: &str, depth: usize) -> Value {
    // A schema is what a client sent: it decides the kind of the elements, and only up to a bound their number.
    let least = schema["minItems"].as_u64().unwrap_or(0).min(8);
    (0..least).map(|_| example(&schema["items"], name, depth.saturating_sub(1))).collect()
}

fn string(schema: &Value, name: &str) -> Value {
    json!(match schema["format"].as_str() {
        Some("date") => "2030-01-01".to_owned(),
        Some("date-time") => "2030-01-01T12:00:00Z".to_owned(),
        Some("time") => "12:00:00Z".to_owned(),
        Some("email") => "caller@example.com".to_owned(),
        Some("uri") => "https://example.com/".to_owned(),
        Some("uuid") => "00000000-0000-4000-8000-000000000000".to_owned(),
        _ => {
            let least = schema["minLength"].as_u64().and_then(|least| usize::try_from(least).ok()).unwrap_or(0).min(1024);
            let most = schema["maxLength"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
            let text: String = format!("example {name}").chars().take(most).collect();
            format!("{text:-<least$}")
        }
    })
}
