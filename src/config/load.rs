//! Layers of configuration: file, then environment. What cannot be read into its type is a problem; the rest is read all the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{ConfigError, FileFormat, Map as Table, Source, Value as Setting, ValueKind};
use serde_json::{Value, json};

use super::problem::{Origins, Problem};
use super::raw::RawConfig;

const PREFIX: &str = "EPHEMINT__";

/// The process's environment, handed in.
pub(crate) type Environ = BTreeMap<String, String>;

/// A configuration as far as it could be read.
pub(crate) struct Loaded {
    pub(crate) raw: RawConfig,
    pub(crate) origins: Origins,
    pub(crate) problems: Vec<Problem>,
}

/// Reads the file (`flag`, else `EPHEMINT_CONFIG`, else `./ephemint.toml`, else `/etc/ephemint/ephemint.toml`) and the environment.
pub(crate) fn load(flag: Option<&Path>, environ: &Environ) -> Loaded {
    match find(flag, environ) {
        Some(path) => match std::fs::read_to_string(&path) {
            Ok(text) => layers(&text, path.display().to_string(), environ),
            Err(e) => unreadable(&path, &e),
        },
        None => layers(&without_file(environ), "built-in defaults (there is no configuration file)".into(), environ),
    }
}

/// The same for a text that is not in a file. `name` stands for it in messages.
pub(crate) fn from_text(text: &str, name: &str, environ: &Environ) -> Loaded {
    layers(text, name.to_owned(), environ)
}

fn find(flag: Option<&Path>, environ: &Environ) -> Option<PathBuf> {
    let named =
        flag.map(Path::to_path_buf).or_else(|| environ.get("EPHEMINT_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
    named.or_else(|| {
        ["./ephemint.toml", "/etc/ephemint/ephemint.toml"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.symlink_metadata().is_ok())
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Loaded {
    let origins = Origins { file: path.display().to_string(), ..Origins::default() };
    Loaded { raw: RawConfig::default(), origins, problems: vec![Problem::new("", format!("cannot be read: {error}"))] }
}

/// What `serve` uses when there is no file: `OpenAI` with the variables that its own tools read, and one plain profile.
fn without_file(environ: &Environ) -> String {
    let mut upstream = toml::Table::new();
    for (key, variable) in [("organization", "OPENAI_ORG_ID"), ("project", "OPENAI_PROJECT_ID")] {
        if let Some(value) = environ.get(variable).filter(|value| !value.is_empty()) {
            upstream.insert(key.into(), value.clone().into());
        }
    }
    let tables = toml::toml! {
        [upstreams.openai.credential]
        kind = "api_key"
        keys = ["env://OPENAI_API_KEY"]
        [profiles.default]
        upstream = "openai"
        session = { type = "realtime", model = "gpt-realtime-2.1" }
    };
    format!("{tables}\n[upstreams.openai]\n{upstream}")
}

fn layers(text: &str, file: String, environ: &Environ) -> Loaded {
    let environment = EnvironmentLayer::read(environ);
    let origins = Origins { file, environment: environment.keys() };
    if let Err(e) = text.parse::<toml::Table>() {
        return Loaded { raw: RawConfig::default(), origins, problems: vec![Problem::new("", syntax(text, &e))] };
    }
    let built =
        config::Config::builder().add_source(config::File::from_str(text, FileFormat::Toml)).add_source(environment).build();
    match built.and_then(config::Config::try_deserialize::<Value>) {
        Ok(tree) => {
            let (raw, problems) = read(tree);
            Loaded { raw, origins, problems }
        }
        Err(_) => Loaded {
            raw: RawConfig::default(),
            origins,
            problems: vec![Problem::new("", "cannot be merged with the environment")],
        },
    }
}

/// Where a syntax error is. The parser's own text quotes the line, which may hold a secret.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = &text.as_bytes()[..at];
    let line = before.split(|&b| b == b'\n').count();
    let column = before.iter().rev().take_while(|&&b| b != b'\n').count() + 1;
    format!("line {line}, column {column}: not valid TOML: {}", without_value(error.message()))
}

/// Reads the tree into its type. What does not fit is taken out and reported, until the rest fits.
fn read(mut tree: Value) -> (RawConfig, Vec<Problem>) {
    let mut problems = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, RawConfig>(&tree) {
            Ok(raw) => return (raw, problems),
            Err(error) => error,
        };
        let path: Vec<String> = error.path().iter().map(ToString::to_string).filter(|s| s != "?").collect();
        let message = error.inner().to_string();
        problems.push(Problem::new(error.path().to_string(), friendly(&message)));
        if !remove(&mut tree, &path) {
            return (RawConfig::default(), problems);
        }
    }
}

fn remove(tree: &mut Value, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let mut at = tree;
    for step in parents {
        let next = match at {
            Value::Object(fields) => fields.get_mut(step),
            Value::Array(items) => step.trim_matches(['[', ']']).parse().ok().and_then(|i: usize| items.get_mut(i)),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    match at {
        Value::Object(fields) => fields.remove(last).is_some(),
        Value::Array(items) => {
            let Some(index) = last.trim_matches(['[', ']']).parse().ok().filter(|&i: &usize| i < items.len()) else {
                return false;
            };
            // An empty text holds the place, so that the items after it keep their numbers; where not even that fits, the item goes.
            if items[index] == "" {
                items.remove(index);
            } else {
                items[index] = "".into();
            }
            true
        }
        _ => false,
    }
}

fn friendly(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let expected = rest.split_once(", ").map_or("", |(_, expected)| expected);
        return format!(
            "there is no such key; {}",
            expected
                .replace("expected", "known here:")
                .replace("known here: one of", "known here:")
                .replace("there are no fields", "nothing is known here")
        );
    }
    if message.contains("did not match any variant") {
        return "write a JSON pointer such as \"/audio/output/voice\", or { pointer = \"…\", one_of = [ … ] }".into();
    }
    without_value(message)
}

/// serde and toml quote the value they stumble over; it may be a secret in the wrong place.
fn without_value(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    for (open, close) in [
        ("string \"", "\", expected"),
        ("unknown variant `", "`, expected"),
        ("character `", "`"),
        ("integer `", "`"),
        ("floating point `", "`"),
    ] {
        let quoted =
            rest.split_once(open).and_then(|(before, after)| Some((before, after.rfind(close).map(|end| &after[end + 1..])?)));
        if let Some((before, after)) = quoted {
            out.push_str(before);
            out.push_str(open.trim_end_matches(['"', '`', ' ']));
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// `EPHEMINT__SECTION__KEY=value`. The value is read as TOML where it is a number, a boolean, an array or an inline table, else as text.
#[derive(Clone, Debug)]
struct EnvironmentLayer(Vec<(Vec<String>, Setting)>);

impl EnvironmentLayer {
    fn read(environ: &Environ) -> Self {
        let named = environ.iter().filter_map(|(name, value)| {
            let path: Vec<String> = name.strip_prefix(PREFIX)?.split("__").map(str::to_lowercase).collect();
            Some((path, Self::setting(value)))
        });
        Self(named.collect())
    }

    fn setting(text: &str) -> Setting {
        let looks_like_toml = text.starts_with(['[', '{', '"', '\'', '-', '+'])
            || text.starts_with(|c: char| c.is_ascii_digit())
            || text == "true"
            || text == "false";
        let parsed = looks_like_toml.then(|| format!("value = {text}").parse::<toml::Table>().ok()).flatten();
        let value =
            parsed.and_then(|mut table| table.remove("value")).filter(|value| !value.is_str() || text.starts_with(['"', '\'']));
        value.map_or_else(|| text.into(), |value| setting(&value))
    }

    fn keys(&self) -> std::collections::BTreeSet<String> {
        self.0.iter().map(|(path, _)| path.join(".")).collect()
    }
}

fn setting(value: &toml::Value) -> Setting {
    let kind = match value {
        toml::Value::Boolean(b) => ValueKind::Boolean(*b),
        toml::Value::Integer(n) => ValueKind::I64(*n),
        toml::Value::Float(n) => ValueKind::Float(*n),
        toml::Value::String(s) => ValueKind::String(s.clone()),
        // As the file's own layer has it.
        toml::Value::Datetime(moment) => ValueKind::String(moment.to_string()),
        toml::Value::Array(items) => ValueKind::Array(items.iter().map(setting).collect()),
        toml::Value::Table(fields) => ValueKind::Table(fields.iter().map(|(key, value)| (key.clone(), setting(value))).collect()),
    };
    Setting::new(None, kind)
}

impl Source for EnvironmentLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Table<String, Setting>, ConfigError> {
        let mut root = Table::new();
        for (path, value) in &self.0 {
            insert(&mut root, path, value.clone());
        }
        Ok(root)
    }
}

fn insert(table: &mut Table<String, Setting>, path: &[String], value: Setting) {
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = table.entry(first.clone()).or_insert_with(|| Setting::new(None, ValueKind::Table(Table::new())));
            if !matches!(inner.kind, ValueKind::Table(_)) {
                *inner = Setting::new(None, ValueKind::Table(Table::new()));
            }
            if let ValueKind::Table(inner) = &mut inner.kind {
                insert(inner, rest, value);
            }
        }
    }
}

/// The JSON schema (draft 2020-12) of the file.
pub(crate) fn schema() -> Value {
    serde_json::to_value(schemars::schema_for!(RawConfig)).unwrap_or_else(|_| json!({}))
}

#[cfg(test)]
mod tests {
    use super::{Environ, layers};

    fn causes(text: &str, environ: &[(&str, &str)]) -> Vec<String> {
        let environ: Environ = environ.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        layers(text, "f.toml".into(), &environ).problems.iter().map(|p| format!("{}: {}", p.key, p.cause)).collect()
    }

    #[test]
    fn every_key_that_does_not_fit_is_reported_at_once() {
        let text = "colour = 1\n[server]\nlisten = 8080\nworkers = \"many\"\nspeed = 2\n[profiles.a]\nttl_seconds = 1.5\nclient_may_set = [\"/a\", 7]\n";
        let causes = causes(text, &[("EPHEMINT__ADMIN__OPEN_METRICS", "maybe")]);
        for key in [
            "colour: there is no such key",
            "server.listen: ",
            "server.workers: ",
            "server.speed: there is no such key",
            "profiles.a.ttl_seconds: ",
            "profiles.a.client_may_set[1]: ",
            "admin.open_metrics: ",
        ] {
            assert!(causes.iter().any(|c| c.starts_with(key)), "{key} in {causes:#?}");
        }
        assert_eq!(causes.len(), 7, "{causes:#?}");
    }

    #[test]
    fn values_are_never_quoted() {
        let secret = "sk-canary";
        for text in [
            format!("environment = \"{secret}\""),
            format!("[server]\nworkers = \"{secret}\""),
            format!("[server]\nlisten = [\"{secret}\"]\nmax_in_flight = \"{secret}\", expected\""),
            format!("[upstreams.o]\ncredential = \"{secret}\""),
            format!("[upstreams.o.credential]\nkeys = \"{secret}\"\nkind = \"{secret}\""),
            format!("[upstreams.o]\ncredential = {{ keys = [\"{secret}"),
            secret.to_owned(),
            format!("[profiles.p]\nclient_may_set = [{{ pointer = \"{secret}\" }}]"),
        ] {
            let causes = causes(&text, &[]).join("\n");
            assert!(!causes.is_empty() && !causes.contains("canary"), "{text} gave {causes}");
        }
    }

    #[test]
    fn the_environment_wins_and_may_hold_arrays_and_tables() {
        let environ: Environ = [
            ("EPHEMINT__SERVER__LISTEN", "127.0.0.1:1"),
            ("EPHEMINT__SERVER__WORKERS", "3"),
            ("EPHEMINT__SERVER__ALLOWED_ORIGINS", r#"["https://a.example", "https://b.example"]"#),
            ("EPHEMINT__UPSTREAMS__OPENAI__PROJECT", "proj_1"),
            ("EPHEMINT__PROFILES__DEFAULT__ALLOW", r#"{ groups = ["a"] }"#),
            ("EPHEMINT__IDENTITY__API_KEYS__B__KEYS", r#"[{ id = "k", sha256 = "", expires = 2027-01-01T00:00:00Z }]"#),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        let loaded = layers(
            "[server]\nlisten = \"127.0.0.1:2\"\n[upstreams.openai]\nproject = \"x\"\norganization = \"org\"\n",
            "f.toml".into(),
            &environ,
        );
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        assert_eq!((loaded.raw.server.listen.as_str(), loaded.raw.server.workers), ("127.0.0.1:1", 3));
        assert_eq!(loaded.raw.server.allowed_origins.len(), 2);
        let upstream = &loaded.raw.upstreams["openai"];
        assert_eq!((upstream.project.as_deref(), upstream.organization.as_deref()), (Some("proj_1"), Some("org")));
        assert_eq!(loaded.raw.identity.api_keys["b"].keys[0].expires.as_deref(), Some("2027-01-01T00:00:00Z"));
        assert_eq!(loaded.raw.profiles["default"].allow.as_ref().unwrap().groups, ["a"]);
    }
}
