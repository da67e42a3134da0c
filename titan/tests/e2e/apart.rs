//! Manager, PoP and edge as three processes with configuration files, and what happens when one of
//! them dies.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    client,
    harness::{PATIENCE, Process, binary, curl, free_addr, run, wait_for},
    origin,
};

/// The longest a session may outlive its edge.
const FAILS_WITHIN: Duration = Duration::from_secs(2);

/// Three processes that find each other through their configuration files.
pub(crate) struct Network {
    manager: Process,
    pub(crate) pop: Process,
    pub(crate) edge: Process,
    pub(crate) at: Addresses,
    dir: TempDir,
}

pub(crate) struct Addresses {
    manager: SocketAddr,
    pub(crate) proxy: SocketAddr,
    tunnel: SocketAddr,
    pub(crate) admin: SocketAddr,
}

pub(crate) const USER: &str = "carol";
pub(crate) const PASSWORD: &str = "correct horse battery";

impl Network {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let [manager, proxy, tunnel, admin] = std::array::from_fn(|_| free_addr());
        let at = Addresses {
            manager,
            proxy,
            tunnel,
            admin,
        };
        let manager = start_manager(&at, dir.path());
        let command = |args: &[&str]| titan(&at, dir.path(), args);
        command(&["user", "add", USER, "--password", PASSWORD]);
        let credential = text(&command(&["pop", "add", "lab"]), "credential");
        let key = text(&command(&["node", "key"]), "secret");
        fs::write(dir.path().join("credential"), credential).expect("a file");
        fs::write(dir.path().join("enrolment-key"), key).expect("a file");
        let pop = start_pop(&at, dir.path());
        let edge = start_edge(&at, dir.path());
        let network = Self {
            manager,
            pop,
            edge,
            at,
            dir,
        };
        network.wait_until_served();
        network
    }

    /// Waits until a session can be opened through the whole path.
    pub(crate) fn wait_until_served(&self) {
        let echo = origin::echo();
        wait_for("the path to serve", || {
            let mut client = self.open(echo)?;
            client.write_all(b"?").ok()?;
            client.read_exact(&mut [0]).ok()
        });
    }

    /// Opens a session in `confirmed` mode; `None` while there is no way to the target.
    pub(crate) fn open(&self, target: SocketAddr) -> Option<std::net::TcpStream> {
        let user = format!("{USER}-confirm");
        // The PoP may be down just now, or on its way.
        let asked = client::try_socks5(self.at.proxy, &user, PASSWORD, target).ok()?;
        (asked.reply == 0).then_some(asked.stream)
    }
}

fn start_manager(at: &Addresses, dir: &Path) -> Process {
    let config = format!(
        "listen = \"{}\"\nstore = \"embedded:{}\"\nadmin_token_file = \"{}\"\n",
        at.manager,
        dir.join("manager.redb").display(),
        dir.join("admin-token").display(),
    );
    let process = start("titan-manager", &config, dir);
    let url = format!("http://{}/healthz", at.manager);
    wait_for("the manager", || {
        curl(&["--fail", "-o", "/dev/null", &url])
            .status()
            .ok()
            .filter(|s| s.success())
    });
    process
}

fn start_pop(at: &Addresses, dir: &Path) -> Process {
    let config = format!(
        "manager_url = \"http://{}\"\ncredential_file = \"{}\"\nproxy_listen = \"{}\"\n\
         tunnel_listen = \"{}\"\nadmin_listen = \"{}\"\nshards = 2\n",
        at.manager,
        dir.join("credential").display(),
        at.proxy,
        at.tunnel,
        at.admin,
    );
    start("titan-pop", &config, dir)
}

fn start_edge(at: &Addresses, dir: &Path) -> Process {
    let config = format!(
        "manager_url = \"http://{}\"\nenrolment_key_file = \"{}\"\ndata_dir = \"{}\"\n\
         allow_private = true\n",
        at.manager,
        dir.join("enrolment-key").display(),
        dir.join("edge").display(),
    );
    start("titan-edge", &config, dir)
}

fn start(program: &str, config: &str, dir: &Path) -> Process {
    let file = dir.join(format!("{program}.toml"));
    fs::write(&file, config).expect("a configuration file");
    Process::start(program, &["--config", file.to_str().expect("UTF-8")], dir)
}

fn titan(at: &Addresses, dir: &Path, args: &[&str]) -> Value {
    let mut command = Command::new(binary("titan"));
    command
        .args(args)
        .args(["--json", "--manager", &format!("http://{}", at.manager)]);
    let output = run(command.arg("--token-file").arg(dir.join("admin-token")));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().expect("a text").to_owned()
}

#[test]
fn a_killed_edge_fails_its_sessions_and_comes_back() {
    let mut network = Network::start();
    let mut download = network.open(origin::endless()).expect("served");
    let mut buffer = vec![0; 64 * 1024];
    download.read_exact(&mut buffer).expect("it runs");
    let killed = Instant::now();
    network.edge.kill();
    let error = loop {
        match download.read(&mut buffer) {
            Ok(0) => panic!("a clean end in the middle of a transfer"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(killed.elapsed() < FAILS_WITHIN, "{:?}", killed.elapsed());
    network.edge = start_edge(&network.at, network.dir.path());
    network.wait_until_served();
}

#[test]
fn a_killed_program_cuts_its_connections_and_never_ends_them_cleanly() {
    let (target, ends) = origin::watching();
    let mut network = Network::start();
    let mut client = network.open(target).expect("served");
    client
        .write_all(b"the first half of an upload")
        .expect("the proxy reads");
    network.edge.kill();
    let end = ends.recv_timeout(PATIENCE).expect("the connection ends");
    assert_eq!(
        end.expect_err("not cleanly").kind(),
        ErrorKind::ConnectionReset
    );

    network.edge = start_edge(&network.at, network.dir.path());
    network.wait_until_served();
    let mut client = network.open(target).expect("served");
    network.pop.kill();
    let error = client.read(&mut [0]).expect_err("not cleanly");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn edges_return_to_a_restarted_pop_by_themselves() {
    let mut network = Network::start();
    network.pop.kill();
    network.pop = start_pop(&network.at, network.dir.path());
    network.wait_until_served();
    // The same by SIGTERM, which drains first.
    assert_eq!(network.pop.terminate(), Some(0));
    network.pop = start_pop(&network.at, network.dir.path());
    network.wait_until_served();
}

#[test]
fn known_users_are_served_while_the_manager_is_away() {
    let mut network = Network::start();
    assert_eq!(network.manager.terminate(), Some(0));
    network.wait_until_served();
    let nobody = client::socks5_password_status(network.at.proxy, USER, "wrong password");
    assert_eq!(nobody, 1, "a wrong password stays wrong");
    network.manager = start_manager(&network.at, network.dir.path());
    titan(&network.at, network.dir.path(), &["user", "show", USER]);
}

#[test]
fn every_program_stops_cleanly_when_asked() {
    let mut network = Network::start();
    for process in [&mut network.edge, &mut network.pop, &mut network.manager] {
        assert_eq!(process.terminate(), Some(0), "{}", process.logged());
    }
}

#[test]
fn a_bad_configuration_is_one_clear_line_and_exit_64() {
    let dir = TempDir::new().expect("a temporary directory");
    for program in ["titan-manager", "titan-pop", "titan-edge"] {
        let file = dir.path().join("bad.toml");
        fs::write(&file, "no_such_key = 1\n").expect("a file");
        let output = Command::new(binary(program))
            .arg("--config")
            .arg(&file)
            .output();
        let output = output.expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{program}: {said}");
        assert!(said.contains("no_such_key"), "{program}: {said}");
        assert_eq!(said.lines().count(), 1, "{program}: {said}");
    }
}
