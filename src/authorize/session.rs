//! What a client may change of a profile's session.

use std::collections::BTreeMap;

use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::Forbidden;
use crate::config::MaySet;
use crate::domain::ask::pointer;
use crate::domain::json::same;

/// The places that a client may write, as a tree of reference tokens.
#[derive(Debug, Default)]
pub(super) struct Rules {
    here: Option<Values>,
    below: BTreeMap<String, Rules>,
}

#[derive(Debug)]
enum Values {
    Any,
    OneOf(Vec<Value>),
}

impl Values {
    fn hold(&self, asked: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(allowed) => allowed.iter().any(|value| same(value, asked)),
        }
    }
}

/// The session that goes upstream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shaped {
    /// Word for word the profile's.
    AsProfile,
    /// The profile's with the client's permitted changes, as JSON text.
    Changed(String),
}

impl Rules {
    pub(super) fn new(places: Vec<MaySet>) -> Self {
        let mut root = Self::default();
        for place in places {
            let mut at = &mut root;
            for token in place.path {
                at = at.below.entry(token).or_default();
            }
            at.here = Some(place.one_of.map_or(Values::Any, Values::OneOf));
        }
        root
    }

    /// Accepts a field that equals the profile's own or that a rule lets the client set; refuses the first other one by name.
    pub(super) fn shape(&self, profile: &Map<String, Value>, asked: &Map<String, Value>) -> Result<Shaped, Forbidden> {
        let mut changed = false;
        for (key, value) in asked {
            changed |= self.judge(key, profile.get(key), value, &mut vec![""])?;
        }
        if !changed {
            return Ok(Shaped::AsProfile);
        }
        let text = serde_json::to_string(&Merged { rules: Some(self), base: Some(profile), asked }).map_err(|_| unwritable())?;
        Ok(Shaped::Changed(text))
    }

    /// What is asked for, without what the profile says itself and the client may not set: that is not asked for elsewhere.
    pub(super) fn changes(&self, profile: &Map<String, Value>, asked: &Map<String, Value>) -> Map<String, Value> {
        let (nothing, mut changes) = (Self::default(), Map::new());
        for (key, asked) in asked {
            let (own, rules) = (profile.get(key), self.below.get(key).unwrap_or(&nothing));
            let change = match (own, asked) {
                _ if rules.here.as_ref().is_some_and(|values| values.hold(asked)) => asked.clone(),
                (Some(Value::Object(own)), Value::Object(inside)) => rules.changes(own, inside).into(),
                (Some(own), asked) if same(own, asked) => continue,
                _ => asked.clone(),
            };
            changes.insert(key.clone(), change);
        }
        changes
    }

    /// Whether the field, called `key` below the place `path`, differs from the profile's.
    fn judge<'a>(&self, key: &'a str, own: Option<&Value>, asked: &'a Value, path: &mut Vec<&'a str>) -> Result<bool, Forbidden> {
        path.push(key);
        let rule = self.below.get(key);
        if own.is_some_and(|own| same(own, asked)) {
            path.pop();
            return Ok(false);
        }
        let verdict = match (rule.and_then(|rule| rule.here.as_ref()), asked) {
            (Some(values), _) if values.hold(asked) => Ok(true),
            (Some(_), _) => Err(Forbidden::Field { pointer: pointer(path), other_value_allowed: true }),
            (None, Value::Object(fields)) if own.is_none_or(Value::is_object) && (own.is_some() || rule.is_some()) => {
                let nothing = Self::default();
                let mut changed = false;
                for (key, value) in fields {
                    changed |= rule.unwrap_or(&nothing).judge(key, own.and_then(|own| own.get(key)), value, path)?;
                }
                Ok(changed)
            }
            (None, _) => Err(Forbidden::Field { pointer: pointer(path), other_value_allowed: false }),
        };
        path.pop();
        verdict
    }
}

/// Values that were parsed from JSON can always be written; were one not, the request is refused rather than widened.
pub(super) fn unwritable() -> Forbidden {
    Forbidden::Field { pointer: String::new(), other_value_allowed: false }
}

/// Writes the profile's fields with the client's laid over them, without a copy of either. Only containers on the way to what a rule
/// lets the client set are merged: the value itself is written exactly as it was asked for.
struct Merged<'a> {
    rules: Option<&'a Rules>,
    base: Option<&'a Map<String, Value>>,
    asked: &'a Map<String, Value>,
}

impl Serialize for Merged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, own) in self.base.into_iter().flatten() {
            let rules = self.rules.and_then(|rules| rules.below.get(key));
            match (own, self.asked.get(key)) {
                (own, None) => map.serialize_entry(key, own)?,
                (Value::Object(own), Some(Value::Object(asked))) if rules.is_none_or(|rules| rules.here.is_none()) => {
                    map.serialize_entry(key, &Merged { rules, base: Some(own), asked })?;
                }
                (_, Some(asked)) => map.serialize_entry(key, asked)?,
            }
        }
        for (key, asked) in self.asked {
            if self.base.is_none_or(|base| !base.contains_key(key)) {
                map.serialize_entry(key, asked).map_err(S::Error::custom)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Forbidden, Rules, Shaped};
    use crate::config::MaySet;
    use crate::domain::json::pointer_tokens;

    fn shape(may_set: &[(&str, Option<Value>)], asked: &Value) -> Result<Option<Value>, String> {
        let profile = json!({"type": "realtime", "model": "m", "instructions": "be kind", "audio": {"output": {"voice": "marin", "speed": 1.0}}, "tools": [{"type": "function", "name": "f"}]});
        let rule = |(pointer, one_of): &(&str, Option<Value>)| MaySet {
            path: pointer_tokens(pointer).unwrap(),
            one_of: one_of.as_ref().map(|v| v.as_array().unwrap().clone()),
        };
        let rules = Rules::new(may_set.iter().map(rule).collect());
        match rules.shape(profile.as_object().unwrap(), asked.as_object().unwrap()) {
            Ok(Shaped::AsProfile) => Ok(None),
            Ok(Shaped::Changed(text)) => Ok(Some(serde_json::from_str(&text).unwrap())),
            Err(Forbidden::Field { pointer, .. }) => Err(pointer),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn what_equals_the_profile_changes_nothing() {
        for asked in [
            json!({}),
            json!({"model": "m"}),
            json!({"audio": {"output": {"speed": 1}}}),
            json!({"audio": {}}),
            json!({"tools": [{"name": "f", "type": "function"}]}),
        ] {
            assert_eq!(shape(&[], &asked), Ok(None), "{asked}");
        }
    }

    #[test]
    fn what_differs_is_refused_by_name() {
        for (asked, pointer) in [
            (json!({"model": "other"}), "/model"),
            (json!({"instructions": null}), "/instructions"),
            (json!({"audio": {"output": {"voice": "marin", "speed": 2}}}), "/audio/output/speed"),
            (json!({"audio": null}), "/audio"),
            (json!({"audio": []}), "/audio"),
            (json!({"audio": {"input": {}}}), "/audio/input"),
            (json!({"tools": []}), "/tools"),
            (json!({"tracing": "auto"}), "/tracing"),
            (json!({"prompt": {"id": "x"}}), "/prompt"),
            (json!({"a/b": 1}), "/a~1b"),
            (json!({"instructions": {"text": "be kind"}}), "/instructions"),
        ] {
            assert_eq!(shape(&[("/audio/output/voice", None)], &asked), Err(pointer.to_owned()), "{asked}");
        }
    }

    #[test]
    fn what_a_rule_allows_is_laid_over_the_profile() {
        let merged = shape(
            &[("/audio/output/voice", None), ("/audio/input/transcription", None)],
            &json!({"audio": {"output": {"voice": "cedar"}, "input": {"transcription": {"language": "de"}}}}),
        )
        .unwrap()
        .unwrap();
        assert_eq!(
            merged["audio"],
            json!({"output": {"voice": "cedar", "speed": 1.0}, "input": {"transcription": {"language": "de"}}})
        );
        assert_eq!(merged["instructions"], "be kind");
    }

    #[test]
    fn what_a_rule_allows_replaces_the_profiles_value_as_a_whole() {
        let output = json!({"voice": "cedar", "format": {"type": "audio/pcmu"}});
        for rules in [
            vec![("/audio/output", None)],
            vec![("/audio/output", Some(json!([{"voice": "other"}, output])))],
            vec![("/audio/output", None), ("/audio/output/speed", None)],
        ] {
            let merged = shape(&rules, &json!({"audio": {"output": output}})).unwrap().unwrap();
            assert_eq!(merged["audio"]["output"], output, "{rules:?}");
            assert_eq!(merged["instructions"], "be kind");
        }
        let merged = shape(&[("/audio", None)], &json!({"audio": {}})).unwrap().unwrap();
        assert_eq!(merged["audio"], json!({}));
    }

    #[test]
    fn what_equals_the_profile_is_no_change() {
        let profile = json!({"model": "m", "audio": {"output": {"voice": "marin", "speed": 1.0}}});
        let asked = json!({"model": "m", "audio": {"output": {"voice": "cedar", "speed": 1}}, "instructions": "be brief"});
        for (pointer, change) in [
            ("/audio/output/voice", json!({"audio": {"output": {"voice": "cedar"}}, "instructions": "be brief"})),
            // A value that is replaced as a whole stays whole.
            ("/audio/output", json!({"audio": {"output": {"voice": "cedar", "speed": 1}}, "instructions": "be brief"})),
        ] {
            let rules = Rules::new(vec![MaySet { path: pointer_tokens(pointer).unwrap(), one_of: None }]);
            assert_eq!(
                Value::Object(rules.changes(profile.as_object().unwrap(), asked.as_object().unwrap())),
                change,
                "{pointer}"
            );
        }
    }

    #[test]
    fn a_rule_with_values_allows_only_those() {
        let rules = [("/audio/output/speed", Some(json!([1.0, 1.25])))];
        assert_eq!(
            shape(&rules, &json!({"audio": {"output": {"speed": 1.25}}})).unwrap().unwrap()["audio"]["output"]["speed"],
            1.25
        );
        assert_eq!(shape(&rules, &json!({"audio": {"output": {"speed": 1.5}}})), Err("/audio/output/speed".into()));
        assert_eq!(shape(&rules, &json!({"audio": {"output": {"speed": [1.25]}}})), Err("/audio/output/speed".into()));
    }
}
