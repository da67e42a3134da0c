//! The program `titan-manager`: its flags, its exit codes and its signals.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// A folder with a configuration for a manager on any free port.
fn configured() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nstore = \"embedded:{data}/manager.redb\"\n\
         admin_token_file = \"{data}/admin-token\"\nlog_format = \"json\"\n",
        data = data.display()
    );
    std::fs::write(folder.path().join("manager.toml"), text).expect("written");
    folder
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_titan-manager"));
    command
        .arg("--config")
        .arg(folder.join("manager.toml"))
        .env_clear();
    command
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("the program");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

/// Starts the manager and reads its log until it names its address.
fn start(folder: &Path) -> (Child, String) {
    let mut child = program(folder)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let stderr = child.stderr.take().expect("piped");
    for line in BufReader::new(stderr).lines() {
        let line: serde_json::Value =
            serde_json::from_str(&line.expect("a line")).expect("one JSON object per line");
        if let Some(address) = line["fields"]["address"].as_str() {
            return (child, address.to_owned());
        }
    }
    panic!("it ended: {:?}", child.wait());
}

fn stop(mut child: Child, with: Signal) {
    let pid = Pid::from_child(&child);
    kill_process(pid, with).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

fn status_of(address: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!(
        "GET /api/v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
        .split_whitespace()
        .nth(1)
        .expect("a status")
        .to_owned()
}

#[test]
fn it_serves_until_a_signal_and_makes_one_admin_token() {
    let folder = configured();
    let file = folder.path().join("data/admin-token");
    let (child, address) = start(folder.path());
    let token = std::fs::read_to_string(&file).expect("the token");
    let mode = std::fs::metadata(&file)
        .expect("the token")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(status_of(&address, token.trim()), "200");
    stop(child, Signal::TERM);

    std::fs::remove_file(&file).expect("moved to a safer place");
    let (child, address) = start(folder.path());
    assert!(!file.exists(), "the first start was another");
    assert_eq!(status_of(&address, token.trim()), "200");
    stop(child, Signal::INT);

    let (code, log) = run(program(folder.path()).arg("--new-admin-token"));
    assert_eq!(code, Some(0), "{log}");
    let renewed = std::fs::read_to_string(&file).expect("the token");
    let (child, address) = start(folder.path());
    assert_eq!(status_of(&address, renewed.trim()), "200");
    assert_eq!(status_of(&address, token.trim()), "401");
    stop(child, Signal::TERM);
}

#[test]
fn a_bad_configuration_is_64_and_one_line() {
    let folder = configured();
    let file = folder.path().join("manager.toml");
    let expect = |command: &mut Command, text: &str| {
        let (code, log) = run(command);
        assert_eq!(code, Some(64), "{log}");
        assert!(log.contains(text), "{log}");
        log
    };
    let one_line = |log: String| assert_eq!(log.trim().lines().count(), 1, "{log}");
    one_line(expect(
        program(folder.path()).env("TITAN_MANAGER_LOG_LEVEL", "a=loud"),
        "log_level",
    ));
    std::fs::write(&file, "listen = \"127.0.0.1:0\"\nlisten_to = 1\n").expect("written");
    one_line(expect(
        &mut program(folder.path()),
        "manager.toml:2: unknown field `listen_to`",
    ));
    std::fs::write(&file, "listen = \"somewhere\"\n").expect("written");
    one_line(expect(&mut program(folder.path()), "manager.toml:1"));
    std::fs::remove_file(&file).expect("removed");
    one_line(expect(&mut program(folder.path()), "manager.toml"));
    expect(program(folder.path()).arg("--port=1"), "--port");
    expect(
        program(folder.path()).env("TITAN_MANAGER_STORE", "floppy:"),
        "embedded:PATH",
    );
}

#[test]
fn the_environment_wins_over_the_file_and_a_flag_over_both() {
    let folder = configured();
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = occupied.local_addr().expect("an address").to_string();
    let (code, log) = run(program(folder.path()).env("TITAN_MANAGER_LISTEN", &address));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains(&format!("cannot listen on {address}")),
        "{log}"
    );
    let mut both = program(folder.path());
    both.env("TITAN_MANAGER_LISTEN", "127.0.0.1:0")
        .arg("--listen")
        .arg(&address);
    let (code, log) = run(&mut both);
    assert!(code == Some(1) && log.contains(&address), "{log}");
}
