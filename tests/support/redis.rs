//! Real Redis servers on loopback: one, a cluster of three, or a master and a replica under Sentinel. (Valkey's, where `valkey-server` is installed.)

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a folder of its own. Nothing is saved unless a test asks for it.
pub(crate) struct RedisServer {
    program: &'static str,
    port: u16,
    arguments: Vec<String>,
    folder: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::with("redis-server", &[])
    }

    /// Valkey's, if it is installed.
    pub(crate) fn valkey() -> Option<Self> {
        let installed = Command::new("valkey-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        installed.then(|| Self::with("valkey-server", &[]))
    }

    /// With further settings, as on its command line.
    pub(crate) fn with(program: &'static str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut server = Self { program, port: free_port(), arguments, folder: TempDir::new().expect("a folder"), child: None };
        server.up();
        server
    }

    /// Starts it (again), on the same port and with what it had saved.
    pub(crate) fn up(&mut self) {
        // It ends with the thread that started it, also when that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", self.program]);
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--dir"])
            .arg(self.folder.path());
        command.args(["--enable-debug-command", "local"]);
        if !self.arguments.iter().any(|argument| argument == "--appendonly") {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        // It listens there after it listens at its port: whoever else may listen at the port is not taken for it.
        let socket = self.folder.path().join("socket");
        let _ = std::fs::remove_file(&socket);
        command.arg("--unixsocket").arg(&socket);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", self.program));
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).is_err() {
            let ended = child.try_wait().expect("its state");
            assert!(ended.is_none(), "{} ended at once on port {}: {ended:?}", self.program, self.port);
            assert!(Instant::now() < deadline, "{} does not listen", self.program);
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child = Some(child);
    }

    /// Ends it at once.
    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends it a signal by name: `STOP` and `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(pid).status().is_ok_and(|status| status.success()));
    }

    /// What `redis-cli` prints.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        cli(self.port, arguments)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// For a user of its ACL.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Where it keeps what it saves.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The ids of the connections of this type (`normal`, `pubsub`), without that of `redis-cli`.
    pub(crate) fn connections(&self, kind: &str) -> BTreeSet<String> {
        let list = self.cli(&["client", "list", "type", kind]);
        let others = list.lines().filter(|line| !line.contains(" cmd=client|list "));
        others.filter_map(|line| Some(line.strip_prefix("id=")?.split(' ').next()?.to_owned())).collect()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.down();
    }
}

/// Three masters, each with a third of the slots.
pub(crate) struct RedisCluster(Vec<RedisServer>);

impl RedisCluster {
    pub(crate) fn start() -> Self {
        let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let nodes: Vec<_> = (0..3).map(|_| RedisServer::with("redis-server", &settings)).collect();
        for (node, (first, last)) in nodes.iter().zip([(0, 5460), (5461, 10922), (10923, 16383)]) {
            node.cli(&["cluster", "addslotsrange", &first.to_string(), &last.to_string()]);
            node.cli(&["cluster", "meet", "127.0.0.1", &nodes[0].port.to_string()]);
        }
        let deadline = Instant::now() + PATIENCE;
        while !nodes.iter().all(|node| {
            let info = node.cli(&["cluster", "info"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        }) {
            assert!(Instant::now() < deadline, "the cluster does not form");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self(nodes)
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.0.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }
}

/// The master's name at every [`RedisSentinel`].
const MASTER: &str = "main";

/// A master, a replica, and three sentinels that find a silent master down after half a second.
pub(crate) struct RedisSentinel {
    sentinels: Vec<(u16, Child)>,
    pub(crate) master: RedisServer,
    pub(crate) replica: RedisServer,
    _folder: TempDir,
}

impl RedisSentinel {
    pub(crate) fn start() -> Self {
        let quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];
        let master = RedisServer::with("redis-server", &quick);
        let port = master.port().to_string();
        let replica = RedisServer::with("redis-server", &[&quick[..], &["--replicaof", "127.0.0.1", &port]].concat());
        let folder = TempDir::new().expect("a folder");
        let sentinels = (0..3).map(|_| sentinel(folder.path(), master.port())).collect();
        let all = Self { sentinels, master, replica, _folder: folder };
        let ready = ["num-slaves", "1", "num-other-sentinels", "2"];
        let deadline = Instant::now() + PATIENCE;
        while !all.sentinels.iter().all(|(port, _)| {
            let said = cli(*port, &["sentinel", "master", MASTER]);
            let words: Vec<_> = said.lines().collect();
            ready.chunks(2).all(|pair| words.windows(2).any(|window| window == pair))
        }) || !all.replica.cli(&["info", "replication"]).contains("master_link_status:up")
        {
            assert!(Instant::now() < deadline, "the sentinels do not find each other");
            std::thread::sleep(Duration::from_millis(50));
        }
        all
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }

    /// Makes the replica the master, and the master a replica.
    pub(crate) fn swap(&self) {
        assert_eq!(cli(self.sentinels[0].0, &["sentinel", "failover", MASTER]), "OK");
    }
}

impl Drop for RedisSentinel {
    fn drop(&mut self) {
        for (_, child) in &mut self.sentinels {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn sentinel(folder: &Path, master: u16) -> (u16, Child) {
    let port = free_port();
    let file = folder.join(format!("{port}.conf"));
    let settings = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n",
        folder.display()
    );
    std::fs::write(&file, settings).expect("the sentinel's settings");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "redis-server"]).arg(file).arg("--sentinel");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    (port, command.spawn().expect("a sentinel starts"))
}

/// A private authority, and a key and certificate of it for `localhost` and `127.0.0.1`.
pub(crate) struct Authority(TempDir);

impl Authority {
    pub(crate) fn make() -> Self {
        let authority = Self(TempDir::new().expect("a folder"));
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        authority.openssl(&["req", "-x509", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem"], &key);
        let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
        let of = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE", "-addext", names];
        let server = ["req", "-x509", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.pem"];
        authority.openssl(&[&server[..], &of].concat(), &key);
        authority
    }

    /// What `SSL_CERT_FILE` names.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    /// A server that speaks TLS on a second port, and that port.
    pub(crate) fn server(&self) -> (RedisServer, u16) {
        let port = free_port();
        let file = |name: &str| self.0.path().join(name).display().to_string();
        let (certificate, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        let listen = ["--tls-port", &port.to_string(), "--tls-auth-clients", "no"].map(str::to_owned);
        let settings: Vec<&str> = listen.iter().map(String::as_str).chain(files).collect();
        (RedisServer::with("redis-server", &settings), port)
    }

    fn openssl(&self, what: &[&str], more: &[&str]) {
        let output = Command::new("openssl").args(what).args(more).current_dir(self.0.path()).output().expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What `redis-cli` prints.
fn cli(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    let output = command.args(["-p", &port.to_string()]).args(arguments).output().expect("redis-cli runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A port that nobody else here is given, whose cluster bus port (10000 above) is free too. Both are below those that the system gives
/// to connections, so that a server that was down finds its port free.
fn free_port() -> u16 {
    const PORTS: u32 = 12_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        // Processes that run beside each other begin at different ones.
        let step = std::process::id().wrapping_mul(97).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(step % PORTS).expect("below 12000");
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}
