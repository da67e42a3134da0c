//! Starts the programs under test, waits for what they say, and ends them by their pid.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde::Deserialize;
use tempfile::TempDir;

/// How long anything that is waited for may take, debug builds on two busy cores included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What `--io` may demand: every byte has to go by both.
pub(crate) const DRIVERS: [&str; 2] = ["uring", "epoll"];

/// A program that is killed when its handle is dropped. What it logs is shown when a test fails.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` of this workspace; its standard error goes to a file in `dir`.
    pub(crate) fn start(program: &str, args: &[&str], dir: &Path) -> Self {
        Self::spawn(Command::new(binary(program)).args(args), program, dir)
    }

    /// Starts any command; its standard error goes to a file in `dir`.
    pub(crate) fn spawn(command: &mut Command, name: &str, dir: &Path) -> Self {
        let log = dir.join(format!("{name}-{}.log", unique()));
        let stderr = File::create(&log).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { child, log }
    }

    /// The first line of its standard output.
    pub(crate) fn first_line(&mut self) -> String {
        let stdout = self.child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("text");
        assert!(
            !line.is_empty(),
            "nothing printed; it logged:\n{}",
            self.logged()
        );
        line
    }

    /// What it has logged.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lets it have so many descriptors more than it has now, and no others.
    pub(crate) fn spare_descriptors(&self, spare: usize) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
        let open: BTreeSet<u64> = open
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        // New descriptors get the lowest numbers that are free, below the limit.
        let last = (0..).filter(|number| !open.contains(number)).nth(spare);
        let limit = rustix::process::Rlimit {
            current: last,
            maximum: last,
        };
        rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit)
            .expect("it is ours");
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started");
    }

    /// Asks it to stop with SIGTERM and gives its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        wait_for("the program to exit", || {
            self.child
                .try_wait()
                .expect("it was started")
                .map(|status| status.code())
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.logged());
        }
    }
}

/// What `titan up --json` prints when it is ready.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Info {
    pub(crate) proxy: SocketAddr,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) curl_socks5: String,
    pub(crate) curl_http: String,
    pub(crate) manager: String,
    pub(crate) admin_token_file: PathBuf,
    pub(crate) pop_admin: SocketAddr,
    pub(crate) nodes: Vec<String>,
}

/// A running `titan up` with data of its own.
pub(crate) struct Up {
    pub(crate) process: Process,
    pub(crate) info: Info,
    pub(crate) dir: TempDir,
}

impl Up {
    /// Starts `titan up` on free ports with `args` and waits until it is ready.
    pub(crate) fn start(args: &[&str]) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        Self::start_in(dir, args)
    }

    /// The same with the data that lies in `dir`.
    pub(crate) fn start_in(dir: TempDir, args: &[&str]) -> Self {
        let data = dir.path().join("data");
        let data = data.to_str().expect("UTF-8");
        let mut all = vec!["up", "--json", "--data", data];
        for listener in [
            "--proxy",
            "--manager-listen",
            "--tunnel-listen",
            "--admin-listen",
        ] {
            if !args.contains(&listener) {
                all.extend([listener, "127.0.0.1:0"]);
            }
        }
        all.extend(args);
        let mut process = Process::start("titan", &all, dir.path());
        let line = process.first_line();
        let info = serde_json::from_str(&line).expect("one JSON object");
        Self { process, info, dir }
    }

    /// The value of one of the PoP's metrics; the name holds the labels, if it has any.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        metric(self.info.pop_admin, name)
    }

    /// `curl` through the proxy by SOCKS5, the name resolved by the edge.
    pub(crate) fn socks5(&self, user: &str) -> String {
        format!(
            "socks5h://{user}:{}@{}",
            self.info.password, self.info.proxy
        )
    }

    /// `curl` through the proxy by HTTP.
    pub(crate) fn http(&self, user: &str) -> String {
        format!("http://{user}:{}@{}", self.info.password, self.info.proxy)
    }
}

/// The value of one of a PoP's metrics, by its name and labels as they are printed.
pub(crate) fn metric(admin: SocketAddr, name: &str) -> u64 {
    let url = format!("http://{admin}/metrics");
    let text = String::from_utf8(run(&mut curl(&[&url])).stdout).expect("text");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no metric {name}"));
    value.parse().expect("a number")
}

/// A real nginx that serves the files of a folder and takes uploads into it.
pub(crate) struct Nginx {
    _process: Process,
    pub(crate) dir: TempDir,
    pub(crate) addr: SocketAddr,
}

impl Nginx {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let addr = free_addr();
        let root = dir.path().display();
        let config = format!(
            "daemon off; master_process off; pid {root}/pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_max_body_size 0;\n\
               client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
               fastcgi_temp_path {root}/fcgi; uwsgi_temp_path {root}/uwsgi;\n\
               scgi_temp_path {root}/scgi;\n\
               server {{ listen {addr}; location / {{ root {root}; dav_methods PUT; }} }} }}\n"
        );
        let file = dir.path().join("nginx.conf");
        fs::write(&file, config).expect("a configuration file");
        let mut command = Command::new("nginx");
        // Debian keeps it where an ordinary user's PATH does not look.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        command
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(dir.path())
            .args(["-e", "stderr"]);
        let process = Process::spawn(&mut command, "nginx", dir.path());
        wait_for("nginx", || TcpStream::connect(addr).ok());
        Self {
            _process: process,
            dir,
            addr,
        }
    }

    /// Makes a file of `len` bytes that do not repeat, and gives its SHA-256.
    pub(crate) fn make_file(&self, name: &str, len: usize) -> String {
        let path = self.dir.path().join(name);
        make_file(&path, len);
        sha256(&path)
    }
}

/// Writes `len` bytes that do not repeat.
pub(crate) fn make_file(path: &Path, len: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut words = std::iter::from_fn(|| {
        // xorshift64: 2^64 - 1 words before it repeats.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state)
    });
    let mut file = std::io::BufWriter::with_capacity(1 << 20, File::create(path).expect("a file"));
    let mut left = len;
    while left > 0 {
        let word = words.next().expect("endless").to_le_bytes();
        let part = left.min(word.len());
        std::io::Write::write_all(&mut file, &word[..part]).expect("room on the disk");
        left -= part;
    }
}

/// A file's SHA-256, as `sha256sum` says.
pub(crate) fn sha256(path: &Path) -> String {
    let output = run(Command::new("sha256sum").arg(path));
    first_word(&output.stdout)
}

/// The SHA-256 of what `curl` downloads with these arguments.
pub(crate) fn sha256_of_download(args: &[&str]) -> String {
    let mut curl = curl(args).stdout(Stdio::piped()).spawn().expect("curl");
    let body = curl.stdout.take().expect("piped");
    let output = run(Command::new("sha256sum").stdin(body));
    let status = curl.wait().expect("it was started");
    assert!(status.success(), "curl {args:?}: {status}");
    first_word(&output.stdout)
}

fn first_word(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.split_whitespace().next().expect("a word").to_owned()
}

/// A curl that says what went wrong and knows no proxy but the one in `args`.
pub(crate) fn curl(args: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "120"])
        .args(args);
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "NO_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end and wants it to succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stderr}",
        output.status
    );
    output
}

/// Asks again until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An address on loopback that nobody listens on.
pub(crate) fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound")
}

/// A program of this workspace, which lies beside `titan`.
pub(crate) fn binary(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_titan")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace`",
        path.display()
    );
    path
}

fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
