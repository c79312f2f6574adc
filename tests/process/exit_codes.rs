//! 0 for what was asked for, 64 for a command line that makes no sense. 78 and 1 have files of their own.

use super::run::{LITERAL, ephemint};

/// Every command, as the help lists them: the names after `ephemint`.
fn commands() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut next = 0;
    while let Some(command) = found.get(next).cloned() {
        next += 1;
        for name in subcommands(&help_of(&command)) {
            found.push([command.clone(), vec![name]].concat());
        }
    }
    found
}

fn help_of(command: &[String]) -> String {
    let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
    let outcome = ephemint(&arguments).done();
    outcome.expect(0);
    assert!(outcome.stdout.contains("Usage: ephemint") && outcome.stderr.is_empty(), "{outcome}");
    outcome.stdout
}

fn subcommands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_help_and_every_flag_is_explained() {
    let commands = commands();
    for name in ["serve", "dev", "check", "config", "key"] {
        assert!(commands.iter().any(|command| command == &[name]), "{name} in {commands:?}");
    }
    for command in &commands {
        let help = help_of(command);
        let options: Vec<_> = help.lines().filter(|line| line.trim_start().starts_with('-')).collect();
        assert!(!options.is_empty(), "{help}");
        for option in options {
            let explained = option.trim().split_once("  ").is_some_and(|(_, text)| text.trim().len() > 5);
            assert!(explained, "{command:?}: {option}");
        }
    }
}

#[test]
fn help_and_version_are_what_was_asked_for() {
    for arguments in [&["--help"][..], &["-h"], &["help"], &["help", "serve"], &["help", "config", "print"]] {
        let outcome = ephemint(arguments).done();
        outcome.expect(0);
        assert!(outcome.stdout.contains("Usage: ephemint") && outcome.stderr.is_empty(), "{outcome}");
    }
    for arguments in [["--version"], ["-V"]] {
        let outcome = ephemint(&arguments).done();
        outcome.expect(0);
        assert_eq!(outcome.stdout, concat!("ephemint ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_64() {
    for arguments in [
        &["--bogus"][..],
        &["-x"],
        &["bogus"],
        &["serve", "--bogus"],
        &["serve", "now"],
        &["serve", "--config"],
        &["serve", "--config", "a.toml", "--config", "b.toml"],
        &["--config", "a.toml", "serve"],
        &["dev", "--bogus"],
        &["dev", "--port"],
        &["dev", "--port", "http"],
        &["dev", "--port", "65536"],
        &["dev", "--port", "-1"],
        &["dev", "--port", "80", "--port", "81"],
        &["dev", "--admin-port", "99999"],
        &["dev", "--config", "a.toml"],
        &["config"],
        &["check", "--bogus"],
        &["check", "now"],
        &["check", "--against"],
        &["config", "bogus"],
        &["config", "print", "extra"],
        &["config", "schema", "--config", "a.toml"],
        &["key"],
        &["key", "bogus"],
        &["key", "hash", "epk_in-the-history-of-the-shell"],
        &["key", "new", "--id"],
        &["help", "bogus"],
        &[""],
    ] {
        let outcome = ephemint(arguments).done();
        outcome.expect(64);
        assert!(outcome.stdout.is_empty() && outcome.stderr.lines().count() > 1, "{arguments:?}: {outcome}");
    }
}

#[test]
fn a_setting_that_is_no_flag_is_not_taken_from_the_command_line() {
    // The message may repeat the flag's name, not its value: `done` looks for that.
    ephemint(&["serve", &format!("--openai-api-key={LITERAL}")]).done().expect(64);
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() {
    let script = format!("(sleep 0.1; {} config schema) | true", env!("CARGO_BIN_EXE_ephemint"));
    let output = std::process::Command::new("/bin/sh").arg("-c").arg(&script).output().expect("a shell");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
}
