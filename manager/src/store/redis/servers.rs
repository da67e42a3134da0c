//! Redis servers for tests: real ones on free ports of 127.0.0.1, with folders of their own, that
//! end with the process which started them, however that ends.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Longest that a server, a Cluster or a Sentinel may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// Between two looks at whether it is.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts the program named by the arguments, tells its process id, and kills it when standard
/// input ends. The test process holds the other end, which the kernel closes in every case.
const GUARD: &str =
    r#""$@" </dev/null >/dev/null & pid=$!; echo $pid; read -r _; kill -9 $pid 2>/dev/null"#;

/// A running server.
pub(crate) struct Server {
    pub(crate) port: u16,
    folder: TempDir,
    mode: Mode,
    guard: Guard,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Server,
    Sentinel,
}

struct Guard {
    child: Child,
    pid: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Server {
    /// A server with `settings`, lines of a redis.conf.
    pub(crate) fn start(settings: &str) -> Self {
        Self::start_as(Mode::Server, settings)
    }

    /// A Sentinel with `settings`.
    pub(crate) fn start_sentinel(settings: &str) -> Self {
        Self::start_as(Mode::Sentinel, settings)
    }

    fn start_as(mode: Mode, settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Somebody else may take the port before the server does: another one then.
        for _ in 0..10 {
            let port = free_port();
            let settings = format!(
                "bind 127.0.0.1\nport {port}\ndir {}\nsave \"\"\n{settings}\n",
                folder.path().display()
            );
            let settings = match mode {
                Mode::Server => settings,
                Mode::Sentinel => settings.replace("save \"\"\n", ""),
            };
            std::fs::write(folder.path().join("redis.conf"), settings).expect("written");
            let guard = spawn(mode, folder.path());
            if is_ready(port, &guard.pid) {
                return Self {
                    port,
                    folder,
                    mode,
                    guard,
                };
            }
        }
        panic!("no server started");
    }

    /// Ends the server like a power cut.
    pub(crate) fn kill(&self) {
        let status = Command::new("kill").args(["-9", &self.guard.pid]).status();
        assert!(status.expect("kill").success());
        wait_for("the server's end", || !answers(self.port));
    }

    /// Starts a killed server again, on the same port and files.
    pub(crate) fn restart(&mut self) {
        self.guard = spawn(self.mode, self.folder.path());
        wait_for("the server", || is_ready(self.port, &self.guard.pid));
    }

    /// The answer to a command.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        ask(self.port, command)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// A Cluster of three masters.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    /// A Cluster whose nodes take one another for gone after `node_timeout`.
    pub(crate) fn start(node_timeout: Duration) -> Self {
        let settings = format!(
            "cluster-enabled yes\ncluster-node-timeout {}\nappendonly yes\nappendfsync always\n",
            node_timeout.as_millis()
        );
        // The bus takes port + 10,000 unless told; that one may be taken.
        let bus = || format!("{settings}cluster-port {}\n", free_port());
        let nodes: Vec<Server> = (0..3).map(|_| Server::start(&bus())).collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        create.arg("--cluster-yes").stdin(Stdio::null());
        let output = create.output().expect("redis-cli");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        let is_up = |node: &Server| node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        wait_for("the Cluster", || nodes.iter().all(is_up));
        Self { nodes }
    }

    /// Moves the slot of `key` to another node, with the keys in it; returns that node's place.
    pub(crate) fn move_slot(&self, key: &str) -> usize {
        let slot = number(&self.nodes[0].ask(&["CLUSTER", "KEYSLOT", key]));
        let holds = |node: &Server| {
            !node
                .ask(&["CLUSTER", "COUNTKEYSINSLOT", &slot])
                .starts_with(":0")
        };
        let from = self
            .nodes
            .iter()
            .position(holds)
            .expect("a node with the key");
        let to = (from + 1) % self.nodes.len();
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let id = |node: &Server| {
            node.ask(&["CLUSTER", "MYID"])
                .lines()
                .nth(1)
                .expect("an id")
                .to_owned()
        };
        target.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(source)]);
        source.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(target)]);
        let listed = source.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
        let keys = listed.lines().filter(|line| !line.starts_with(['*', '$']));
        let port = target.port.to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(keys);
        assert_eq!(source.ask(&migrate), "+OK\r\n");
        for node in [target, source].into_iter().chain(&self.nodes) {
            node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(target)]);
        }
        to
    }

    pub(crate) fn url(&self) -> String {
        let hosts = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port));
        format!("redis-cluster://{}", hosts.collect::<Vec<_>>().join(","))
    }
}

/// A master, its replica and three Sentinels that watch them.
pub(crate) struct Watched {
    pub(crate) master: Server,
    pub(crate) replica: Server,
    pub(crate) sentinels: Vec<Server>,
}

impl Watched {
    pub(crate) fn start() -> Self {
        let master = Server::start("");
        let replica = Server::start(&format!(
            "replicaof 127.0.0.1 {}\nrepl-diskless-sync-delay 0",
            master.port
        ));
        let mut settings = format!("sentinel monitor main 127.0.0.1 {} 2\n", master.port);
        settings.push_str(
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
        );
        wait_for("the replica", || {
            replica
                .ask(&["INFO", "replication"])
                .contains("master_link_status:up")
        });
        let sentinels: Vec<Server> = (0..3).map(|_| Server::start_sentinel(&settings)).collect();
        let knows = |sentinel: &Server| {
            let info = sentinel.ask(&["INFO", "sentinel"]);
            info.contains("slaves=1,sentinels=3") && info.contains("status=ok")
        };
        wait_for("the Sentinels", || sentinels.iter().all(knows));
        Self {
            master,
            replica,
            sentinels,
        }
    }

    pub(crate) fn url(&self) -> String {
        let hosts = self
            .sentinels
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port));
        format!(
            "redis-sentinel://{}/main",
            hosts.collect::<Vec<_>>().join(",")
        )
    }
}

/// Waits until something is so; real time passes where another process has to do it.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < READY, "{what} takes too long");
        std::thread::sleep(PAUSE);
    }
}

fn spawn(mode: Mode, folder: &Path) -> Guard {
    let mut guard = Command::new("sh");
    guard
        .args(["-c", GUARD, "guard", "redis-server"])
        .arg(folder.join("redis.conf"));
    if mode == Mode::Sentinel {
        guard.arg("--sentinel");
    }
    guard.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = guard.spawn().expect("sh");
    let mut pid = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut pid).expect("a line");
    let pid = pid.trim().to_owned();
    Guard { child, pid }
}

/// Whether this very server answers at the port, in place of another or none. Waits while it starts.
fn is_ready(port: u16, pid: &str) -> bool {
    let started = Instant::now();
    while started.elapsed() < READY && Path::new("/proc").join(pid).join("fd/0").exists() {
        if answers(port) {
            let info = ask(port, &["INFO", "server"]);
            return info.contains(&format!("process_id:{pid}\r")) || info.contains("NOAUTH");
        }
        std::thread::sleep(PAUSE);
    }
    false
}

fn answers(port: u16) -> bool {
    let answer = try_ask(port, &["PING"]).unwrap_or_default();
    answer.contains("PONG") || answer.contains("NOAUTH")
}

fn ask(port: u16, command: &[&str]) -> String {
    try_ask(port, command).unwrap_or_default()
}

/// Sends one command (RESP, <https://redis.io/docs/latest/develop/reference/protocol-spec/>) and
/// returns the answer as it came.
fn try_ask(port: u16, command: &[&str]) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, READY).ok()?;
    stream.set_read_timeout(Some(READY)).ok()?;
    let mut request = format!("*{}\r\n", command.len());
    for part in command {
        let _ = write!(request, "${}\r\n{part}\r\n", part.len());
    }
    stream.write_all(request.as_bytes()).ok()?;
    // The server closes behind its answer, so that it can be read to its end.
    stream.shutdown(Shutdown::Write).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// The number in an answer.
fn number(answer: &str) -> String {
    answer.trim_start_matches(':').trim_end().to_owned()
}

/// A port that nobody listens on, as yet.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
