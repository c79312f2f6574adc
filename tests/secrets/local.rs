//! What this machine shows of secrets: the environment, `.env`, the process.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::process::Output;

use tempfile::TempDir;

use crate::support::{Config, Issuer, Service, Upstream, World, eventually, secrets};
use crate::{KeyFile, key, used};

/// Starts the service in a folder with this `.env`, which must not work out. What it says.
fn refused(config: &Config, dotenv: &str) -> Output {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(".env"), dotenv).unwrap();
    std::fs::write(folder.path().join("ephemint.toml"), config.toml(folder.path())).unwrap();
    let output = Service::command(config).arg("serve").current_dir(folder.path()).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("canary"), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[tokio::test]
async fn in_development_the_key_may_be_in_a_dotenv_file() {
    let folder = TempDir::new().unwrap();
    let dotenv = format!("# a comment\nexport DOTENV_KEY='{}'\nTEST_ADMIN_TOKEN=not-this-one\n", secrets::FALLBACK_KEY);
    std::fs::write(folder.path().join(".env"), dotenv).unwrap();
    let world = World::with(|config| config.keys(&["DOTENV_KEY"]).shell(&format!("cd {}", folder.path().display())));
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    assert_eq!(world.upstream.last().bearer(), secrets::FALLBACK_KEY);
    // What the environment says wins.
    world.service.admin(reqwest::Method::GET, "/metrics").send().await.expect(200);
}

#[test]
fn elsewhere_a_dotenv_file_is_not_read_and_the_message_says_so() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    for environment in ["staging", "prod"] {
        let config = Config::new(&issuer, &upstream).keys(&["DOTENV_KEY"]).set("environment", &format!("{environment:?}"));
        let output = refused(&config, &format!("DOTENV_KEY={}\n", secrets::FALLBACK_KEY));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(
            said.contains("env://DOTENV_KEY: the environment variable is not set; ./.env has it, which is read in dev only"),
            "{said}"
        );
    }
}

#[test]
fn a_dotenv_file_that_cannot_be_read_is_not_quoted() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let output = refused(&Config::new(&issuer, &upstream), "canary-line without an equals sign\n");
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("./.env cannot be read"));
}

#[test]
fn a_dotenv_file_cannot_turn_development_into_something_else() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let output = refused(&Config::new(&issuer, &upstream), "EPHEMINT__ENVIRONMENT=staging\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("./.env sets another environment than dev"), "{said}");
}

#[tokio::test]
async fn elsewhere_a_dotenv_file_of_somebody_else_does_no_harm() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(".env"), "not a line of NAME=value at all, 'or\n").unwrap();
    let shell = format!("cd {}", folder.path().display());
    let world = World::with(|config| config.set("environment", r#""staging""#).shell(&shell));
    world.service.mint(&world.bearer("alice")).await.expect_minted();
}

#[tokio::test]
async fn the_process_dumps_no_core_and_names_no_secret_on_its_command_line() {
    let world = World::start();
    let of_process = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", world.service.pid())).unwrap();
    let limits = of_process("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    assert!(!of_process("cmdline").contains("canary"));
    // What nobody but root may look into belongs to root, whoever runs it.
    let attached =
        std::process::Command::new("stat").args(["-c", "%u", &format!("/proc/{}/environ", world.service.pid())]).output();
    assert_eq!(String::from_utf8_lossy(&attached.unwrap().stdout).trim(), "0");
}

/// How often a process's memory holds this text. `None` where the system lets nobody look.
fn in_memory(pid: u32, needle: &str) -> Option<usize> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).expect("an address"));
        let mut bytes = vec![0; usize::try_from(end - start).expect("a size")];
        // Some ranges are the kernel's.
        if memory.seek(SeekFrom::Start(start)).is_ok() && memory.read_exact(&mut bytes).is_ok() {
            count += String::from_utf8_lossy(&bytes).matches(needle).count();
        }
    }
    Some(count)
}

#[tokio::test]
async fn a_key_that_was_replaced_is_wiped_from_memory() {
    let file = KeyFile::holding(&key(40));
    let world = file.world(|config| config.set("server.workers", "1"));
    world.upstream.accept(&key(40));
    let token = world.bearer("alice");
    used(&world, &token, &key(40)).await;
    let before = in_memory(world.service.pid(), &key(40));
    world.upstream.accept(&key(41));
    file.write(&key(41));
    used(&world, &token, &key(41)).await;
    if before.is_none() {
        return assert_eq!(
            File::open(format!("/proc/{}/mem", world.service.pid())).unwrap_err().kind(),
            ErrorKind::PermissionDenied
        );
    }
    assert!(before > Some(0), "the search finds a key that is in use");
    let is_wiped = async || {
        // Buffers of connections go on with the next requests.
        world.service.mint(&token).await.expect_minted();
        (in_memory(world.service.pid(), &key(40)) == Some(0)).then_some(())
    };
    eventually("no copy is left", 90, is_wiped).await;
}
