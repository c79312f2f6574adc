//! Which file is read, and files that cannot be.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::run::{FILE, Run, ephemint, good, serve};

/// `config print` in a directory with a `./ephemint.toml` and two other files; each sets its own port.
fn three_files(arguments: &[&str]) -> Run {
    let run = ephemint(arguments);
    let text = |port: &str| good().set("server.listen", &format!("\"127.0.0.1:{port}\"")).toml(run.path());
    let (here, flag, variable) = (text("1111"), text("2222"), text("3333"));
    run.file(FILE, here).file("flag.toml", flag).file("variable.toml", variable)
}

#[track_caller]
fn listens_on(run: Run, port: &str) {
    let outcome = run.done();
    outcome.expect(0);
    assert!(outcome.stdout.contains(&format!("listen = \"127.0.0.1:{port}\"")), "{port}: {outcome}");
}

#[test]
fn the_flag_comes_before_the_variable_and_the_variable_before_the_file_in_the_directory() {
    let plain = &["config", "print"];
    let flagged = &["config", "print", "--config", "flag.toml"];
    listens_on(three_files(plain), "1111");
    listens_on(three_files(plain).env("EPHEMINT_CONFIG", "variable.toml"), "3333");
    listens_on(three_files(plain).env("EPHEMINT_CONFIG", ""), "1111");
    listens_on(three_files(flagged), "2222");
    listens_on(three_files(flagged).env("EPHEMINT_CONFIG", "variable.toml"), "2222");
    listens_on(three_files(flagged).env("EPHEMINT__SERVER__LISTEN", "127.0.0.1:4444"), "4444");
}

#[test]
fn the_file_of_the_machine_comes_last() {
    let Some(unshare) = super::full_disk::unshare() else {
        eprintln!("not shown: an /etc of one's own needs the right to mount");
        return;
    };
    let folder = tempfile::TempDir::new().expect("a temporary directory");
    let text = |port: &str| good().set("server.listen", &format!("\"127.0.0.1:{port}\"")).toml(folder.path());
    std::fs::write(folder.path().join("machine.toml"), text("5555")).expect("a file");
    let print = |prepare: &str| {
        let etc = "mount -t tmpfs tmpfs /etc && mkdir /etc/ephemint && cp machine.toml /etc/ephemint/ephemint.toml";
        let script = format!("{unshare} sh -c '{etc} && {prepare} exec {} config print'", env!("CARGO_BIN_EXE_ephemint"));
        let output = Command::new("/bin/sh").arg("-c").arg(script).current_dir(folder.path()).output().expect("a shell");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(print("").contains("listen = \"127.0.0.1:5555\""), "{}", print(""));
    std::fs::write(folder.path().join("here.toml"), text("1111")).expect("a file");
    assert!(print("cp here.toml ephemint.toml &&").contains("listen = \"127.0.0.1:1111\""));
}

#[test]
fn serve_reads_the_same_file_with_and_without_its_name() {
    let broken = good().set("server.workers", "999");
    for arguments in [&["serve"][..], &[]] {
        ephemint(arguments).configured(&broken).done().expect_problem_of("./ephemint.toml", "server.workers", "256");
    }
}

#[test]
fn a_file_that_is_named_and_missing_is_not_replaced_by_another() {
    for run in [
        ephemint(&["serve", "--config", "missing.toml"]),
        ephemint(&["--config", "missing.toml"]),
        ephemint(&["config", "print", "--config", "missing.toml"]),
        ephemint(&["serve"]).env("EPHEMINT_CONFIG", "missing.toml"),
    ] {
        let outcome = run.configured(&good()).done();
        let problems = outcome.expect_refused();
        assert_eq!(problems.len(), 1, "{outcome}");
        assert!(problems[0].starts_with("missing.toml: ") && problems[0].contains("No such file"), "{outcome}");
    }
}

#[test]
fn a_folder_in_place_of_a_file_is_refused() {
    let folder = |name: &str, arguments: &[&str]| {
        let run = ephemint(arguments);
        std::fs::create_dir(run.path().join(name)).expect("a folder");
        run.done()
    };
    for outcome in [folder("folder", &["serve", "--config", "folder"]), folder(FILE, &["serve"])] {
        let problems = outcome.expect_refused();
        assert!(problems.len() == 1 && problems[0].contains("cannot be read"), "{outcome}");
    }
}

#[test]
fn a_file_that_is_not_utf_8_is_refused() {
    let outcome = ephemint(&["serve", "--config", FILE]).file(FILE, b"# caf\xe9 canary-literal\n").done();
    let problems = outcome.expect_refused();
    assert!(problems.len() == 1 && problems[0].contains("UTF-8"), "{outcome}");
}

#[test]
fn a_file_that_may_not_be_read_is_refused() {
    let run = serve(&good());
    let file = run.path().join(FILE);
    std::fs::set_permissions(&file, Permissions::from_mode(0o000)).expect("permissions");
    let root_reads_it = std::fs::read(&file).is_ok();
    // For root no file is out of reach, but reading this one fails all the same.
    let run = if root_reads_it { ephemint(&["serve", "--config", "/proc/self/mem"]) } else { run };
    let outcome = run.done();
    let problems = outcome.expect_refused();
    assert!(problems.len() == 1 && problems[0].contains("cannot be read"), "{outcome}");
}

#[test]
fn a_file_with_a_byte_order_mark_or_dos_line_ends_is_read() {
    for change in [|text: String| format!("\u{feff}{text}"), |text: String| text.replace('\n', "\r\n")] {
        let run = ephemint(&["config", "print", "--config", FILE]).configured(&good());
        let text = std::fs::read_to_string(run.path().join(FILE)).expect("the file");
        run.file(FILE, change(text)).done().expect(0);
    }
}
