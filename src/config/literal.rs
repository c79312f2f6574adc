//! Keys of the provider that were written into the configuration, wherever that is. They are taken out before anything else looks at it.

use serde_json::Value;

use super::problem::Problem;

/// Fewest characters of a key after `sk-` or `ek_`.
const LEAST: usize = 20;
/// What a text that begins so is, however short.
const KNOWN: [&str; 3] = ["sk-proj-", "sk-svcacct-", "sk-admin-"];
const CAUSE: &str = "holds what looks like a literal secret (a key that begins with sk- or ek_); take it out, and replace the key if others \
                     could read it. A permanent key is named in upstreams.NAME.credential.keys: env://NAME, file:///path or in a secret manager";

/// In the place of a key: not empty, so that nothing is said to be missing.
const STAND_IN: &str = "taken-out";

/// Replaces every text that holds a key, removes every name that does, and says where they were.
pub(super) fn take_out(tree: &mut Value) -> Vec<Problem> {
    let mut found = Vec::new();
    take_out_of(tree, "", &mut found);
    found
}

fn take_out_of(value: &mut Value, place: &str, found: &mut Vec<Problem>) {
    match value {
        Value::String(text) if holds_key(text) => {
            STAND_IN.clone_into(text);
            found.push(Problem::new(place, CAUSE));
        }
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                take_out_of(item, &format!("{place}[{i}]"), found);
            }
        }
        Value::Object(fields) => {
            let before = fields.len();
            fields.retain(|name, _| !holds_key(name));
            if fields.len() < before {
                found.push(Problem::new(place, format!("a name in here {CAUSE}")));
            }
            let dot = if place.is_empty() { "" } else { "." };
            for (name, field) in fields {
                take_out_of(field, &format!("{place}{dot}{name}"), found);
            }
        }
        _ => {}
    }
}

/// Whether a text is a key, or has one in it as a word of its own.
fn holds_key(text: &str) -> bool {
    KNOWN.iter().any(|known| text.trim_start().starts_with(known))
        || ["sk-", "ek_"].iter().any(|prefix| text.match_indices(prefix).any(|(at, _)| is_key_at(text, at, prefix.len())))
}

fn is_key_at(text: &str, at: usize, prefix: usize) -> bool {
    let is_of_key = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let (before, after) = text.split_at(at);
    let body: String = after.chars().skip(prefix).take_while(is_of_key).collect();
    let starts_a_word = !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_'));
    // Words with hyphens between them, as in the path of a page, are no key.
    let reads_as_words = body.contains(['-', '_']) && body.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '_'));
    starts_a_word && body.len() >= LEAST && !reads_as_words
}

#[cfg(test)]
mod tests {
    use super::holds_key;

    #[test]
    fn keys_are_told_from_words() {
        for key in [
            "sk-proj-CANARY1",
            " sk-admin-x",
            "sk-svcacct-",
            "sk-abcdefghijklmnopqrstuvwx",
            "sk-ABCDEFGHIJKLMNOPQRST",
            "ek_68af296e8e408191a1120ab6383263c2", // ephemint:allow
            "Bearer sk-0123456789abcdefghij",      // ephemint:allow
            "Your key is \"sk-proj-Ab1_cdefghijkl-mnopqrs\".",
            "https://example.com/?key=sk-0123456789abcdefghij", // ephemint:allow
            "ask ek_0123456789abcdefghij",                      // ephemint:allow
        ] {
            assert!(holds_key(key), "{key}");
        }
        for words in [
            "sk-SK",
            "sk-short",
            "Never read out a key such as sk-proj-… to anybody.",
            "task-0123456789abcdefghijklm",
            "desk-a1b2c3d4e5f6a7b8c9d0e1f2",
            "week_0123456789abcdefghijklm",
            "https://cdn.example.com/sk-translations-of-the-whole-shop",
            "x-sk-0123456789abcdefghijklm",
            "env://OPENAI_API_KEY",
            "file:///run/secrets/ephemint/openai-key",
        ] {
            assert!(!holds_key(words), "{words}");
        }
    }
}
