//! A controller over a fake kernel and stores in memory, served on a socket, and a client that
//! shows what comes over the wire.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::sync::oneshot;
use vw_controller::{BridgeConfig, Config, Controller, Parts};
use vw_drivers::DriverContext;
use vw_engine_api::{ApiConfig, Listener, serve};
use vw_ipam::DefaultPools;
use vw_kernel::fake::FakeKernel;
use vw_store::Memory;

/// How many clients are served at once.
pub(crate) const MOST_CLIENTS: usize = 16;

/// A served API. Stops and removes its folder when dropped.
pub(crate) struct Api {
    dir: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    server: Option<thread::JoinHandle<()>>,
}

impl Api {
    pub(crate) fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("vw-api-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let controller = Controller::open(config(&dir), parts(&dir)).unwrap();
        let socket = dir.join("api.sock");
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let server = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::bind(&socket).unwrap();
                ready.send(()).unwrap();
                let listeners = vec![Listener::Unix(listener)];
                let config = ApiConfig {
                    version: "0.1.0".to_owned(),
                    most_clients: Some(MOST_CLIENTS),
                    ..ApiConfig::default()
                };
                let shutdown = async {
                    let _ = stopped.await;
                };
                serve(Arc::new(controller), listeners, config, shutdown)
                    .await
                    .unwrap();
            });
        });
        is_ready.recv().unwrap();
        Self {
            dir,
            stop: Some(stop),
            server: Some(server),
        }
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.join("api.sock")).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    /// Sends a request (`GET /path`) and shows its status and body.
    pub(crate) fn ask(&self, line: &str, body: &str) -> String {
        let answer = self.raw(line, "Content-Type: application/json\r\n", body);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        let chunked = head.contains("transfer-encoding: chunked");
        let body = if chunked {
            joined(body)
        } else {
            body.to_owned()
        };
        format!("{status} {}", anonymous(&body))
    }

    /// Sends a request with headers of its own and gives the whole answer.
    pub(crate) fn raw(&self, line: &str, headers: &str, body: &str) -> String {
        let mut stream = self.connect();
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n{headers}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.server.take().unwrap().join().unwrap();
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

fn config(dir: &std::path::Path) -> Config {
    Config {
        data_root: dir.join("data"),
        exec_root: dir.join("exec"),
        pools: DefaultPools::new(&[], "fd00:1::/48".parse().unwrap()).unwrap(),
        bridge: Some(BridgeConfig::default()),
        network_options: Default::default(),
        drivers: DriverContext::default(),
        ip_forward: false,
        owns_bridge_netfilter: false,
        dns: Default::default(),
        host_gateway: Vec::new(),
        accept_mark: 0,
        adjust_foreign: false,
        resolv_conf: dir.join("resolv.conf"),
        hears_out: Duration::ZERO,
        labels: Default::default(),
        debug: false,
    }
}

fn parts(dir: &std::path::Path) -> Parts {
    let runtime = vw_runtime::Runtime::open(vw_runtime::Settings {
        data_root: dir.join("data"),
        exec_root: dir.join("exec"),
        runtimes: vec!["runc".to_owned()],
        patience: Duration::from_secs(60),
        conmon: "conmon".to_owned(),
    });
    let sockets = Arc::new(vw_dns_server::HostSockets);
    let dns = vw_dns_server::DnsServer::start(Default::default(), sockets);
    Parts {
        kernel: Arc::new(FakeKernel::new()),
        data: Arc::new(Memory::new()),
        run: Arc::new(Memory::new()),
        runtime: Arc::new(runtime.unwrap()),
        dns: Arc::new(dns.unwrap()),
        random,
        cluster: None,
    }
}

/// Bits that differ from call to call, seeded by the standard library.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    bytes
}

/// A chunked body without its chunks.
fn joined(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, tail)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        body.push_str(&tail[..length]);
        rest = tail[length..].strip_prefix("\r\n").unwrap();
        if length == 0 {
            break;
        }
    }
    body
}

/// Ids and moments differ from run to run: shown as `<id>` and `<time>`.
fn anonymous(text: &str) -> String {
    let ids = regex_lite::Regex::new("[0-9a-f]{64}")
        .unwrap()
        .replace_all(text, "<id>");
    let moments = regex_lite::Regex::new(r"20\d\d-[0-9:T.-]+Z").unwrap();
    moments.replace_all(&ids, "<time>").into_owned()
}
