//! Azure Arc: whoever answers at the agent's address does not choose which file is sent to it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::{EntraKind, FIRST, ManualClock, NOW, Scripted, identity, server};
use crate::config::secrets::Entra;
use crate::entra::arc::KeyFolder;
use crate::entra::{Identity, Trouble};

const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const QUESTION: &str =
    "GET /metadata/identity/oauth2/token?api-version=2020-06-01&resource=https%3A%2F%2Fcognitiveservices.azure.com HTTP/1.1";
const NOT_THE_AGENT_S: &str = "the agent of Azure Arc (ARC) names a file that is not the agent's; it is not read";
const NO_NAME: &str = "the agent of Azure Arc (ARC) does not name the file that proves who asks";

fn agent(origin: &str, folder: &Path) -> Identity {
    let endpoint = format!("{origin}/metadata/identity/oauth2/token");
    let environ = [("IDENTITY_ENDPOINT", endpoint.as_str()), ("IMDS_ENDPOINT", "http://127.0.0.1:40342")];
    let settings = Entra { kind: EntraKind::ManagedIdentity, ..Entra::default() };
    let mut identity = identity(&settings, &environ, ManualClock::at(NOW));
    identity.arc = KeyFolder::new(folder);
    identity
}

fn challenge(value: &str) -> Scripted {
    (401, format!("WWW-Authenticate: {value}\r\n"), String::new())
}

fn token() -> Scripted {
    (FIRST.0, String::new(), FIRST.1.to_owned())
}

/// What is said where the agent answers so, and what the agent was sent beside the first question.
async fn complaint(folder: &Path, answers: Vec<Scripted>) -> (String, Vec<String>) {
    let (origin, asked) = server(answers).await;
    let Err(Trouble::Wrong(sentence)) = agent(&origin, folder).ask(SCOPE).await else { panic!("no complaint") };
    let more = asked.lock().unwrap().split_off(1);
    (sentence.replace(origin.trim_start_matches("http://"), "ARC"), more)
}

#[tokio::test]
async fn each_token_is_asked_for_with_the_file_that_the_agent_names() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (folder.path().join("1.key"), folder.path().join("2.key"));
    fs::write(&first, "text-of-one").unwrap();
    fs::write(&second, "text-of-two\n").unwrap();
    let named = [format!("Basic realm={}", first.display()), format!("basic realm=\"{}\"", second.display())];
    let (origin, asked) = server(vec![challenge(&named[0]), token(), challenge(&named[1]), token()]).await;
    let identity = agent(&origin, folder.path());
    for _ in 0..2 {
        assert_eq!(identity.ask(SCOPE).await.unwrap().token().reveal(), "first");
    }
    let asked = asked.lock().unwrap().clone();
    let lines: Vec<Vec<&str>> = asked.iter().map(|request| request.lines().collect()).collect();
    assert!(lines.iter().all(|lines| lines[0] == QUESTION && lines.contains(&"metadata: true")), "{lines:?}");
    let shown = lines.iter().map(|lines| lines.iter().find_map(|line| line.strip_prefix("authorization: ")));
    assert_eq!(shown.collect::<Vec<_>>(), [None, Some("Basic text-of-one"), None, Some("Basic text-of-two")]);
}

#[tokio::test]
async fn no_file_but_the_agent_s_is_sent() {
    let (outside, root) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let folder = root.path().join("tokens");
    fs::create_dir_all(folder.join("deeper")).unwrap();
    for path in [outside.path().join("1.key"), root.path().join("1.key"), folder.join("deeper/1.key"), folder.join("1.txt")] {
        fs::write(path, "not to be sent").unwrap();
    }
    fs::write(folder.join(".key"), "not to be sent").unwrap();
    let inside = folder.display();
    for path in [
        outside.path().join("1.key").display().to_string(),
        "/etc/passwd".into(),
        "1.key".into(),
        format!("{inside}/../1.key"),
        format!("{inside}/deeper/../../1.key"),
        format!("{inside}/deeper/1.key"),
        format!("{inside}/1.txt"),
        format!("{inside}/.key"),
        format!("{inside}/1.key/.."),
        format!("{inside}/"),
        format!("{inside}s/1.key"),
        String::new(),
    ] {
        let (said, more) = complaint(&folder, vec![challenge(&format!("Basic realm={path}")), token()]).await;
        assert_eq!((said.as_str(), more), (NOT_THE_AGENT_S, vec![]), "{path}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_as_the_agent_writes_it_is_not_sent() {
    let (outside, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = |name: &str| folder.path().join(name);
    fs::write(outside.path().join("secret"), "not to be sent").unwrap();
    symlink(outside.path().join("secret"), file("link.key")).unwrap();
    fs::create_dir(file("folder.key")).unwrap();
    fs::write(file("large.key"), [b'x'; 4097]).unwrap();
    fs::write(file("lines.key"), "one\r\nX-Evil: two").unwrap();
    for (name, cause) in [
        ("link.key", "cannot be read: Too many levels of symbolic links (os error 40)"),
        ("folder.key", "is not a file"),
        ("large.key", "is larger than 4096 bytes"),
        ("lines.key", "does not fit into a header"),
        ("absent.key", "cannot be read: No such file or directory (os error 2)"),
    ] {
        let path = file(name).display().to_string();
        let (said, more) = complaint(folder.path(), vec![challenge(&format!("Basic realm={path}")), token()]).await;
        assert_eq!((said, more), (format!("{path} {cause}"), vec![]));
    }
    fs::write(file("whole.key"), [b'x'; 4096]).unwrap();
    let (origin, _) = server(vec![challenge(&format!("Basic realm={}", file("whole.key").display())), token()]).await;
    assert!(agent(&origin, folder.path()).ask(SCOPE).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_is_not_the_agent_s_challenge_is_told() {
    let folder = TempDir::new().unwrap();
    for answer in [
        (401, String::new(), String::new()),
        challenge("Basic"),
        challenge("Basic realm"),
        challenge("Negotiate realm=/var/opt/azcmagent/tokens/1.key"),
        challenge("Basic realm\u{e9}=/x"),
    ] {
        let (said, more) = complaint(folder.path(), vec![answer, token()]).await;
        assert_eq!((said.as_str(), more), (NO_NAME, vec![]));
    }
    let (said, _) = complaint(folder.path(), vec![token()]).await;
    assert_eq!(said, "the agent of Azure Arc (ARC) gives tokens to whoever asks; it is not the agent of Azure Arc");
    fs::write(folder.path().join("1.key"), "text").unwrap();
    let named = || challenge(&format!("Basic realm={}", folder.path().join("1.key").display()));
    let (said, more) = complaint(folder.path(), vec![named(), named()]).await;
    assert_eq!((said.as_str(), more.len()), ("the agent of Azure Arc (ARC) answers with status 401", 1));
}

#[tokio::test]
async fn an_agent_that_is_busy_is_asked_again() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("1.key"), "text").unwrap();
    let named = || challenge(&format!("Basic realm={}", folder.path().join("1.key").display()));
    let busy = || (429, String::new(), String::new());
    let (origin, asked) = server(vec![busy(), named(), busy(), named(), token()]).await;
    assert_eq!(agent(&origin, folder.path()).ask(SCOPE).await.unwrap().token().reveal(), "first");
    assert_eq!(asked.lock().unwrap().len(), 5);
}
