//! With io_uring switched off in the kernel the product runs on epoll and says so.
//!
//! A test binary of its own: the switch is the whole machine's, and test binaries run one after
//! another.

#[path = "e2e/harness.rs"]
#[allow(dead_code)]
mod harness;

use std::{fs, process::Command};

use harness::{Up, binary, curl, run};

const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";

/// Sets the switch back to what it was.
struct Restore(String);

impl Drop for Restore {
    fn drop(&mut self) {
        fs::write(SWITCH, &self.0).expect("it could be written before");
    }
}

/// Switches io_uring off; `None` where this process may not, or the kernel has no such switch.
fn switch_off() -> Option<Restore> {
    let before = fs::read_to_string(SWITCH).ok()?;
    fs::write(SWITCH, "2").ok()?;
    Some(Restore(before))
}

#[test]
fn auto_falls_back_to_epoll_and_uring_refuses_to_start() {
    let Some(_restore) = switch_off() else {
        eprintln!("skipped: {SWITCH} cannot be written here");
        return;
    };
    let up = Up::start(&[]);
    run(&mut curl(&[
        "--fail",
        "-x",
        &up.socks5("demo"),
        "http://whoami.titan.internal/",
    ]));
    assert!(
        up.process.logged().contains("epoll"),
        "{}",
        up.process.logged()
    );

    let data = up.dir.path().join("other");
    let mut command = Command::new(binary("titan"));
    command
        .args(["up", "--io", "uring", "--proxy", "127.0.0.1:0", "--data"])
        .arg(data);
    let output = command.output().expect("it starts");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("io_uring"), "{said}");
}
