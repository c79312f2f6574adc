//! Real Redis servers on loopback: one, or a cluster of three. (Valkey's, where `valkey-server` is installed.)

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
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
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--dir"]).arg(self.folder.path());
        command.args(["--enable-debug-command", "local"]);
        if !self.arguments.iter().any(|argument| argument == "--appendonly") {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", self.program)));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address()).is_err() {
            assert!(Instant::now() < deadline, "{} does not listen", self.program);
            std::thread::sleep(Duration::from_millis(10));
        }
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
        let mut command = Command::new("redis-cli");
        let output = command.args(["-p", &self.port.to_string()]).args(arguments).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
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

/// A port whose cluster bus port (10000 above) exists too.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("a free port").port();
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}
