//! `config schema`: a JSON schema that accepts what the service accepts.

use serde_json::{Value, json};

use super::run::{FILE, ephemint, good, print};
use super::samples::REFERENCE;

fn schema() -> Value {
    let outcome = ephemint(&["config", "schema"]).done();
    outcome.expect(0);
    assert!(outcome.stderr.is_empty(), "{outcome}");
    serde_json::from_str(&outcome.stdout).expect("the schema is JSON")
}

/// The names of all properties.
pub(crate) fn keys(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                found.extend(properties.keys().cloned());
            }
            members.values().for_each(|member| keys(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

/// The keywords of the schema that this file knows how to check, and those that assert nothing.
const KNOWN: [&str; 17] = [
    "$defs",
    "$ref",
    "$schema",
    "additionalProperties",
    "anyOf",
    "const",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "minimum",
    "oneOf",
    "properties",
    "required",
    "title",
    "type",
];

/// What is wrong with `value`, each with its place. A small part of the specification: what the schema uses.
fn faults(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let Some(members) = schema.as_object() else {
        return if *schema == json!(false) { vec![format!("{place}: nothing is allowed here")] } else { Vec::new() };
    };
    let mut found = Vec::new();
    for (keyword, rule) in members {
        match keyword.as_str() {
            "$ref" => {
                let target =
                    rule.as_str().and_then(|to| root.pointer(to.trim_start_matches('#'))).expect("a $ref that leads somewhere");
                found.extend(faults(root, target, value, place));
            }
            "type" if !types(rule).any(|kind| is(kind, value)) => found.push(format!("{place}: not {rule}")),
            "enum" if !rule.as_array().is_some_and(|all| all.contains(value)) => {
                found.push(format!("{place}: not one of {rule}"));
            }
            "const" if rule != value => found.push(format!("{place}: not {rule}")),
            "minimum" if value.as_f64() < rule.as_f64() => found.push(format!("{place}: below {rule}")),
            "anyOf" | "oneOf" => {
                let mut ways = rule.as_array().into_iter().flatten();
                if !ways.any(|way| faults(root, way, value, place).is_empty()) {
                    found.push(format!("{place}: fits nothing of {keyword}"));
                }
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(root, rule, item, &format!("{place}/{i}")));
                }
            }
            "required" => {
                let missing = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
                let missing = missing.filter(|key| value.is_object() && value.get(key).is_none());
                found.extend(missing.map(|key| format!("{place}: without {key}")));
            }
            "properties" | "additionalProperties" => {}
            known => assert!(KNOWN.contains(&known), "{place}: the keyword {known} is new to this test"),
        }
    }
    for (key, member) in value.as_object().into_iter().flatten() {
        let open = json!(true);
        let named = schema["properties"].get(key);
        let rule = named.or_else(|| schema.get("additionalProperties")).unwrap_or(&open);
        found.extend(faults(root, rule, member, &format!("{place}/{key}")));
    }
    found
}

fn types(rule: &Value) -> impl Iterator<Item = &str> {
    rule.as_array().map_or_else(|| std::slice::from_ref(rule), Vec::as_slice).iter().filter_map(Value::as_str)
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[track_caller]
fn accepts(text: &str) {
    let (schema, value) = (schema(), json(&toml::from_str(text).expect("TOML")));
    let faults = faults(&schema, &schema, &value, "");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn it_is_a_json_schema_of_draft_2020_12() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["additionalProperties"], false, "unknown keys are refused");
    for key in ["environment", "server", "admin", "privacy", "identity", "upstreams", "profiles", "audit", "telemetry"] {
        assert!(schema["properties"][key]["description"].is_string(), "{key}: {:#}", schema["properties"][key]);
    }
}

#[test]
fn every_key_is_explained() {
    fn walk(schema: &Value, place: &str, silent: &mut Vec<String>) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.{key}");
            if property["description"].as_str().is_none_or(|text| text.len() < 4) {
                silent.push(place);
            }
        }
        for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
            walk(definition, name, silent);
        }
    }
    let mut silent = Vec::new();
    walk(&schema(), "", &mut silent);
    assert!(silent.is_empty(), "{silent:?}");
}

/// A moment is text in JSON, and the service takes it either way.
fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(items) => items.iter().map(json).collect(),
        toml::Value::Table(fields) => fields.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
        plain => serde_json::to_value(plain).expect("a plain value"),
    }
}

#[test]
fn it_accepts_a_good_configuration_and_what_print_makes_of_it() {
    accepts(&good().toml(std::path::Path::new("/var/log")));
    let printed = print(&good()).done();
    printed.expect(0);
    accepts(&printed.stdout);
}

#[test]
fn it_accepts_the_reference() {
    match std::fs::read_to_string(REFERENCE) {
        Ok(text) => accepts(&text),
        Err(error) => panic!("deploy/config.reference.toml: {error}"),
    }
}

#[test]
fn it_refuses_what_the_service_cannot_read() {
    let schema = schema();
    for (text, place) in [
        ("colour = 1", "/colour"),
        ("environment = \"production\"", "/environment"),
        ("[server]\nlisten = 8080", "/server/listen"),
        ("[server]\nworkers = -1", "/server/workers"),
        ("[server]\nspeed = 1", "/server/speed"),
        ("[profiles.a]\nclient_may_set = [7]", "/profiles/a/client_may_set/0"),
        ("[upstreams.a.credential]\nkind = \"password\"", "/upstreams/a/credential/kind"),
    ] {
        let value = toml::from_str(text).expect("TOML");
        let faults = faults(&schema, &schema, &value, "");
        assert!(faults.iter().any(|fault| fault.starts_with(place)), "{place}: {faults:?}");
        ephemint(&["serve", "--config", FILE]).file(FILE, text).done().expect_refused();
    }
}
