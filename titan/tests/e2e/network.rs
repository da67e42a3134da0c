//! Manager, PoP and edges as processes of their own that find each other through their configuration
//! files.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    client,
    harness::{Process, binary, curl, free_addr, metric, run, wait_for},
    origin,
};

/// Three processes and their addresses.
pub(crate) struct Network {
    pub(crate) manager: Process,
    pub(crate) pop: Process,
    pub(crate) edge: Process,
    pub(crate) at: Addresses,
    settings: Settings,
    dir: TempDir,
}

/// A PoP beside that of a [`Network`].
pub(crate) struct SecondPop {
    pub(crate) process: Process,
    pub(crate) at: Addresses,
}

/// Where the programs listen.
pub(crate) struct Addresses {
    pub(crate) manager: SocketAddr,
    pub(crate) proxy: SocketAddr,
    pub(crate) tunnel: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// Lines of configuration beyond the ones that every test needs.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) pop: String,
    pub(crate) edge: String,
}

pub(crate) const USER: &str = "carol";
pub(crate) const PASSWORD: &str = "correct horse battery";

impl Network {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| Settings::default())
    }

    /// Starts everything with further settings and waits until it serves.
    pub(crate) fn start_with(settings: impl FnOnce(&Addresses) -> Settings) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let [manager, proxy, tunnel, admin] = std::array::from_fn(|_| free_addr());
        let at = Addresses {
            manager,
            proxy,
            tunnel,
            admin,
        };
        let settings = settings(&at);
        let manager = start_manager(&at, dir.path());
        let command = |args: &[&str]| titan(&at, dir.path(), args);
        command(&["user", "add", USER, "--password", PASSWORD]);
        let credential = text(&command(&["pop", "add", "lab"]), "credential");
        let key = text(&command(&["node", "key"]), "secret");
        fs::write(dir.path().join("pop-credential"), credential).expect("a file");
        fs::write(dir.path().join("enrolment-key"), key).expect("a file");
        let pop = start_pop(&at, dir.path(), "pop", &settings.pop);
        let edge = start_edge(&at, dir.path(), "edge", &settings.edge);
        let network = Self {
            manager,
            pop,
            edge,
            at,
            settings,
            dir,
        };
        network.wait_until_served();
        network
    }

    pub(crate) fn start_manager(&self) -> Process {
        start_manager(&self.at, self.dir.path())
    }

    pub(crate) fn start_pop(&self) -> Process {
        start_pop(&self.at, self.dir.path(), "pop", &self.settings.pop)
    }

    /// Registers a second PoP and starts it.
    pub(crate) fn add_pop(&self) -> SecondPop {
        let credential = text(&self.titan(&["pop", "add", "second"]), "credential");
        fs::write(self.dir.path().join("second-credential"), credential).expect("a file");
        let [proxy, tunnel, admin] = std::array::from_fn(|_| free_addr());
        let at = Addresses {
            manager: self.at.manager,
            proxy,
            tunnel,
            admin,
        };
        let process = self.start_second_pop(&at);
        SecondPop { process, at }
    }

    /// Starts the second PoP, the same as the last time.
    pub(crate) fn start_second_pop(&self, at: &Addresses) -> Process {
        let process = start_pop(at, self.dir.path(), "second", &self.settings.pop);
        // An edge that asks before the manager has heard of it goes elsewhere, and stays there.
        wait_for("the second PoP's first heartbeat", || {
            let pops = self.titan(&["pop", "list"]);
            let mut pops = pops.as_array()?.iter();
            pops.any(|pop| pop["id"] == "second" && pop["online"] == true)
                .then_some(())
        });
        process
    }

    /// Starts the edge of that name, the same node as the last time.
    pub(crate) fn start_edge(&self, name: &str) -> Process {
        start_edge(&self.at, self.dir.path(), name, &self.settings.edge)
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
    pub(crate) fn open(&self, target: SocketAddr) -> Option<TcpStream> {
        let user = format!("{USER}-confirm");
        // The PoP may be down just now, or on its way.
        let asked = client::try_socks5(self.at.proxy, &user, PASSWORD, target).ok()?;
        (asked.reply == 0).then_some(asked.stream)
    }

    /// The PoP's tunnels as it lists them.
    pub(crate) fn tunnels(&self) -> Vec<Value> {
        let url = format!("http://{}/debug/tunnels", self.at.admin);
        let output = run(&mut curl(&[&url]));
        serde_json::from_slice(&output.stdout).expect("a list")
    }

    /// Waits until the PoP lists that many tunnels.
    pub(crate) fn wait_for_tunnels(&self, count: usize) {
        wait_for("the tunnels", || {
            (self.tunnels().len() == count).then_some(())
        });
    }

    /// The value of one of the PoP's metrics that has no labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        metric(self.at.admin, name)
    }

    /// Runs an operator's command and gives the text it prints.
    pub(crate) fn titan_text(&self, args: &[&str]) -> String {
        let mut command = Command::new(binary("titan"));
        let url = format!("http://{}", self.at.manager);
        command.args(args).args(["--manager", &url, "--token-file"]);
        let output = run(command.arg(self.dir.path().join("admin-token")));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs an operator's command that has nothing to say.
    pub(crate) fn order(&self, args: &[&str]) {
        titan_output(&self.at, self.dir.path(), args);
    }

    /// Runs an operator's command and gives what it prints.
    pub(crate) fn titan(&self, args: &[&str]) -> Value {
        titan(&self.at, self.dir.path(), args)
    }
}

fn start_manager(at: &Addresses, dir: &Path) -> Process {
    let config = format!(
        "listen = \"{}\"\nstore = \"embedded:{}\"\nadmin_token_file = \"{}\"\n",
        at.manager,
        dir.join("manager.redb").display(),
        dir.join("admin-token").display(),
    );
    let process = start("titan-manager", "manager", &config, dir);
    let url = format!("http://{}/healthz", at.manager);
    wait_for("the manager", || {
        curl(&["--fail", "-o", "/dev/null", &url])
            .status()
            .ok()
            .filter(|s| s.success())
    });
    process
}

fn start_pop(at: &Addresses, dir: &Path, name: &str, settings: &str) -> Process {
    let config = format!(
        "manager_url = \"http://{}\"\ncredential_file = \"{}\"\ndata_dir = \"{}\"\n\
         proxy_listen = \"{}\"\ntunnel_listen = \"{}\"\nadmin_listen = \"{}\"\nshards = 2\n{settings}",
        at.manager,
        dir.join(format!("{name}-credential")).display(),
        dir.join(format!("{name}-data")).display(),
        at.proxy,
        at.tunnel,
        at.admin,
    );
    start("titan-pop", name, &config, dir)
}

fn start_edge(at: &Addresses, dir: &Path, name: &str, settings: &str) -> Process {
    let config = format!(
        "manager_url = \"http://{}\"\nenrolment_key_file = \"{}\"\ndata_dir = \"{}\"\n\
         allow_private = true\n{settings}",
        at.manager,
        dir.join("enrolment-key").display(),
        dir.join(name).display(),
    );
    start("titan-edge", name, &config, dir)
}

fn start(program: &str, name: &str, config: &str, dir: &Path) -> Process {
    let file = dir.join(format!("{name}.toml"));
    fs::write(&file, config).expect("a configuration file");
    Process::start(program, &["--config", file.to_str().expect("UTF-8")], dir)
}

fn titan(at: &Addresses, dir: &Path, args: &[&str]) -> Value {
    serde_json::from_slice(&titan_output(at, dir, args)).expect("JSON")
}

fn titan_output(at: &Addresses, dir: &Path, args: &[&str]) -> Vec<u8> {
    let mut command = Command::new(binary("titan"));
    command
        .args(args)
        .args(["--json", "--manager", &format!("http://{}", at.manager)]);
    run(command.arg("--token-file").arg(dir.join("admin-token"))).stdout
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().expect("a text").to_owned()
}
