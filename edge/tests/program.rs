//! The program itself: its exit codes, its environment and its signals.

#[allow(unused_macros)]
mod support;

use std::{
    fs,
    path::Path,
    process::{Command, ExitStatus, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use support::{
    manager::{ENROLMENT_KEY, TestManager},
    pop::TestPop,
};
use titan_proto::mux::CloseCause;

#[test]
fn bad_configuration_is_exit_64_and_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("edge.toml");
    fs::write(
        &file,
        "manager_url = 'http://127.0.0.1:1'\ndata_dir = '/d'\ncolour = 'red'\n",
    )
    .unwrap();
    let outputs = [
        program().arg("--config").arg(&file).output().unwrap(),
        program()
            .arg("--config")
            .arg(directory.path().join("missing.toml"))
            .output()
            .unwrap(),
        program().output().unwrap(),
        program()
            .env("TITAN_EDGE_MANGER", "http://127.0.0.1:1")
            .output()
            .unwrap(),
        program()
            .args([
                "--manager-url",
                "http://h",
                "--data",
                "/d",
                "--log-level",
                "==",
            ])
            .output()
            .unwrap(),
    ];
    for output in outputs {
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with("titan-edge: "), "{text}");
    }
    assert_eq!(
        program().arg("--nonsense").output().unwrap().status.code(),
        Some(64)
    );
}

#[test]
fn help_is_no_error() {
    let output: Output = program().arg("--help").output().unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("--enrolment-key-file")
    );
}

#[tokio::test]
async fn the_environment_configures_and_sigterm_stops() {
    let manager = TestManager::start().await;
    let pop = TestPop::bind().await;
    manager.add_pop("pop-1", &pop.url());
    let data = tempfile::tempdir().unwrap();
    let mut edge = configured(&manager, data.path()).spawn().unwrap();
    let tunnel = pop.accept().await;
    kill_process(Pid::from_child(&edge), Signal::TERM).unwrap();
    assert!(matches!(tunnel.closed().await, CloseCause::Peer { .. }));
    let status: ExitStatus = tokio::task::spawn_blocking(move || edge.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(data.path().join("identity.pem").exists());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let manager = TestManager::start().await;
    let pop = TestPop::bind().await;
    manager.add_pop("pop-1", &pop.url());
    let data = tempfile::tempdir().unwrap();
    let mut edge = configured(&manager, data.path())
        .env("TITAN_EDGE_ALLOW_PRIVATE", "true")
        .env("TITAN_EDGE_DRAIN_S", "3600")
        .spawn()
        .unwrap();
    let tunnel = pop.accept().await;
    let (listener, address) = support::target().await;
    let session = tunnel.open(address);
    let _held = listener.accept().await.unwrap();
    session.opened().await.unwrap();
    kill_process(Pid::from_child(&edge), Signal::INT).unwrap();
    tunnel.going_away().await;
    kill_process(Pid::from_child(&edge), Signal::INT).unwrap();
    let status = tokio::task::spawn_blocking(move || edge.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(130));
}

fn configured(manager: &TestManager, data: &Path) -> Command {
    let key = data.join("enrolment-key");
    fs::write(&key, format!("{ENROLMENT_KEY}\n")).unwrap();
    let mut command = program();
    command
        .env("TITAN_EDGE_MANAGER_URL", manager.url())
        .env("TITAN_EDGE_DATA_DIR", data)
        .env("TITAN_EDGE_ENROLMENT_KEY_FILE", key)
        .arg("--log-format=json")
        .stderr(Stdio::null());
    command
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_titan-edge"));
    command.env_clear();
    command
}
