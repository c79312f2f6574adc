//! What holds for any claims and any token.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::authenticate::claims::{Reading, names_audience};
use crate::authenticate::fuzz::{keys, takes_apart};
use crate::authenticate::{Principal, Unauthenticated};
use crate::config::{ClaimMapping, ClaimPath, ClaimRule};
use crate::domain::ids::{Pseudonymizer, is_name};
use crate::domain::secret::Secret;
use crate::fuzz;

const ISSUER: &str = "https://login.example.com/";

fn names() -> Pseudonymizer {
    Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned()))
}

fn path(text: &str) -> ClaimPath {
    ClaimPath::parse(text).unwrap()
}

fn mapping() -> ClaimMapping {
    ClaimMapping {
        user: path("sub"),
        tenant: Some(path("/org/id")),
        groups: vec![path("groups"), path("/realm_access/roles")],
        required_scopes: vec!["mint".into()],
        required_claims: vec![ClaimRule { claim: path("level"), one_of: vec![json!(1), json!("high")] }],
    }
}

fn read(claims: &Map<String, Value>) -> Result<Principal, Unauthenticated> {
    let (mapping, names, identity) = (mapping(), names(), Arc::from("jwt.main"));
    Reading { mapping: &mapping, identity: &identity, issuer: ISSUER, asked: &[path("plan")], names: &names }.principal(claims)
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[a-z/~]{1,4}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Claims that no rule of [`mapping`] looks at.
fn unrelated() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("x[a-z]{0,6}", json_value(), 0..6).prop_map(|claims| claims.into_iter().collect())
}

fn good(subject: &str, tenant: &str) -> Map<String, Value> {
    let claims = json!({
        "sub": subject, "org": {"id": tenant}, "level": "high", "scope": "openid mint", "groups": ["a"],
        "realm_access": {"roles": ["b"]}, "plan": "gold",
    });
    claims.as_object().unwrap().clone()
}

fn name() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{1,40}".prop_filter("a name", |text| is_name(text))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_user_is_tenant_issuer_and_subject_and_nothing_else(subject in name(), tenant in name(), more in unrelated()) {
        let mut claims = good(&subject, &tenant);
        claims.extend(more);
        let principal = read(&claims).unwrap();
        prop_assert_eq!(principal.user, names().pseudonym(&tenant, ISSUER, &subject));
        prop_assert_eq!(&*principal.tenant, tenant.as_str());
        prop_assert_eq!(&principal.groups, &["a", "b"]);
        prop_assert_eq!(principal.claims.len(), 1);
    }

    #[test]
    fn two_users_never_share_a_pseudonym(a in (".{0,6}", ".{0,6}", ".{0,6}"), b in (".{0,6}", ".{0,6}", ".{0,6}")) {
        let of = |(tenant, issuer, subject): &(String, String, String)| names().pseudonym(tenant, issuer, subject);
        prop_assert_eq!(of(&a) == of(&b), a == b);
    }

    #[test]
    fn a_claim_that_is_asked_for_is_never_done_without(
        subject in name(), which in prop::sample::select(vec!["sub", "org", "level", "scope"]), other in json_value(),
    ) {
        let mut claims = good(&subject, "t");
        claims.remove(which);
        prop_assert!(read(&claims).is_err());
        // Nor does any other value do, unless it says the same.
        claims.insert(which.into(), other.clone());
        let says_the_same = match which {
            "sub" => other.as_str().is_some_and(is_name),
            "org" => other.get("id").and_then(Value::as_str).is_some_and(is_name),
            "level" => [json!(1), json!("high")].iter().any(|level| level == &other || other.as_array().is_some_and(|all| all.contains(level))),
            _ => other.to_string().contains("mint"),
        };
        prop_assert!(says_the_same || read(&claims).is_err(), "{}", other);
    }

    #[test]
    fn a_nested_claim_is_where_its_pointer_points(claims in json_value(), tokens in prop::collection::vec("[a-z/~]{1,4}", 1..4)) {
        let Value::Object(fields) = &claims else { return Ok(()) };
        let pointer: String = tokens.iter().flat_map(|token| ["/".to_owned(), token.replace('~', "~0").replace('/', "~1")]).collect();
        prop_assert_eq!(path(&pointer).find(fields), claims.pointer(&pointer));
        // Without a slash in front it is one name.
        if !tokens[0].starts_with('/') {
            prop_assert_eq!(path(&tokens[0]).find(fields), fields.get(&tokens[0]));
        }
    }

    #[test]
    fn an_audience_is_ours_only_by_naming_us(audience in json_value()) {
        let named = audience == "voice" || audience.as_array().is_some_and(|all| all.contains(&json!("voice")));
        prop_assert!(!names_audience(Some(&audience), &["voice".into()]) || named);
        prop_assert!(!names_audience(None, &["voice".into()]));
    }

    #[test]
    fn no_header_is_read_in_two_ways(value in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::authorization(&value);
        fuzz::authorization(&[b"Bearer ", value.as_slice()].concat());
    }

    #[test]
    fn no_text_is_taken_for_a_token_unless_its_parts_are_objects(a in ".{0,40}", b in ".{0,40}", c in ".{0,40}") {
        let token = format!("{a}.{b}.{c}");
        prop_assert!(!takes_apart(&token));
    }

    #[test]
    fn no_key_set_is_too_strange_to_be_read(set in json_value(), noise in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(keys(json!({"keys": [set]}).to_string().as_bytes()), 0);
        fuzz::key_set(&noise);
    }
}
