//! The client against the docker CLI: the same line on both asks the daemon the same and prints
//! the same.
//!
//! A recording server takes the daemon's place and gives both the same canned answers.

use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, LazyLock, Mutex},
    thread,
    time::UNIX_EPOCH,
};

/// What was asked: method, path without the version, query, body.
type Asked = (String, String, BTreeMap<String, String>, Value);

/// How a program did.
#[derive(Debug, PartialEq)]
struct Outcome {
    asked: Vec<Asked>,
    stdout: Vec<String>,
    status: Option<i32>,
}

struct Recorder {
    folder: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Recorder {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("vethwork-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let listener = UnixListener::bind(folder.join("s")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let record = record.clone();
                thread::spawn(move || serve(&stream, &record));
            }
        });
        Self { folder, asked }
    }

    fn run(&self, program: &Path, line: &[&str]) -> Outcome {
        let socket = format!("unix://{}", self.folder.join("s").display());
        let output = Command::new(program)
            .args(["-H", &socket])
            .args(line)
            .env("DOCKER_CONFIG", &self.folder)
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.sort_by_key(|(method, path, ..)| (path.clone(), method.clone()));
        Outcome {
            asked,
            stdout: String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(canonical)
                .collect(),
            status: output.status.code(),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Answers requests of one connection until it ends.
fn serve(stream: &UnixStream, record: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some((asked, upgrade)) = read_request(&mut reader) {
        let (status, answer) = answer(&asked.0, &asked.1);
        let silent = asked.0 == "HEAD" || status == 204;
        let answer = if silent {
            String::new()
        } else {
            answer.to_string()
        };
        if matters(&asked.0, &asked.1) {
            record.lock().unwrap().push(asked);
        }
        if upgrade {
            let head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
            let _ = writer.write_all(head.as_bytes());
            let _ = writer.write_all(b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x04err\n");
            return;
        }
        let head = format!(
            "HTTP/1.1 {status} X\r\nApi-Version: 1.51\r\nContent-Type: application/json\r\n\
             Ostype: linux\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        if writer
            .write_all(format!("{head}{answer}").as_bytes())
            .is_err()
        {
            return;
        }
    }
}

/// The next request, and whether it takes the connection over.
fn read_request(reader: &mut impl BufRead) -> Option<(Asked, bool)> {
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .ok()
        .filter(|count| *count > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let body = read_body(reader, &headers);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let versioned = path.starts_with("/v1");
    let path = path
        .splitn(3, '/')
        .nth(2)
        .filter(|_| versioned)
        .unwrap_or(path);
    let query = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decode(key), decode(value)));
    let body = serde_json::from_slice(&body).unwrap_or(json!(body.len()));
    let asked = (
        method.to_owned(),
        path.to_owned(),
        query.collect(),
        spoken(body),
    );
    Some((asked, headers.contains_key("upgrade")))
}

fn read_body(reader: &mut impl BufRead, headers: &BTreeMap<String, String>) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length") {
        body.resize(length.parse().unwrap(), 0);
        reader.read_exact(&mut body).unwrap();
    } else if headers.contains_key("transfer-encoding") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut piece = vec![0; size + 2];
            reader.read_exact(&mut piece).unwrap();
            body.extend_from_slice(&piece[..size]);
            if size == 0 {
                break;
            }
        }
    }
    body
}

/// Leaves out what the two ask beforehand, each in its own way.
fn matters(method: &str, path: &str) -> bool {
    let lists = ["containers/json", "images/json", "networks"];
    path != "/_ping" && (method != "GET" || lists.contains(&path) || path.ends_with("/logs"))
}

/// Lists whose order means something.
const ORDERED: [&str; 3] = ["Cmd", "Entrypoint", "Dns"];

/// A document without what says nothing: the docker CLI writes Go's zero values, we leave them out.
fn spoken(value: Value) -> Value {
    let silent = |value: &Value| {
        *value == json!(null)
            || *value == json!("")
            || *value == json!(0)
            || *value == json!(-1)
            || *value == json!(false)
            || *value == json!([])
            || *value == json!([0, 0])
            || *value == json!({})
    };
    match value {
        Value::Object(map) => {
            let one = |(key, value): (String, Value)| {
                let value = match spoken(value) {
                    // docker keeps most lists in Go maps: their order is chance.
                    Value::Array(mut list) if !ORDERED.contains(&key.as_str()) => {
                        list.sort_by_key(ToString::to_string);
                        list.into()
                    }
                    value => value,
                };
                (key, value)
            };
            let keep = map.into_iter().map(one);
            keep.filter(|(_, value)| !silent(value))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(list) => list.into_iter().map(spoken).collect(),
        other => other,
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}

/// A moment before the test began: the same for both, however long one takes.
fn ago(seconds: u64) -> u64 {
    static BEGAN: LazyLock<u64> = LazyLock::new(|| UNIX_EPOCH.elapsed().unwrap().as_secs());
    *BEGAN - seconds
}

fn answer(method: &str, path: &str) -> (u16, Value) {
    let id = |digit: &str| digit.repeat(64);
    let segments: Vec<&str> = path.split('/').collect();
    match (method, segments.as_slice()) {
        (_, ["containers" | "networks", "create"]) => (201, json!({ "Id": id("a") })),
        (_, ["containers", "absent", ..] | ["networks", "absent"]) => {
            (404, json!({ "message": "No such object: absent" }))
        }
        ("POST", ["containers", _, "wait"]) => (200, json!({ "StatusCode": 3 })),
        ("POST", ["containers", _, "exec"]) => (201, json!({ "Id": id("e") })),
        ("GET", ["exec", ..]) => (200, json!({ "ExitCode": 4 })),
        ("POST", ["networks", "prune"]) => (200, json!({ "NetworksDeleted": ["n1", "n2"] })),
        ("GET", ["networks"]) => (200, networks()),
        ("GET", ["networks", name]) => (200, json!({ "Name": name, "Id": id("b"), "Options": {} })),
        ("GET", ["images", "json"]) => (200, images()),
        ("DELETE", ["images", ..]) => (
            200,
            json!([{ "Untagged": "a:1" }, { "Deleted": "sha256:b" }]),
        ),
        ("GET", ["containers", "json"]) => (200, containers()),
        ("GET", ["containers", _, "json"]) => (
            200,
            json!({
                "Id": id("a"), "Name": "/c1", "State": { "Running": true }, "Config": {},
                "HostConfig": {}, "NetworkSettings": { "Ports": {
                    "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "80" }, { "HostIp": "::", "HostPort": "80" }],
                    "9/udp": null, "100/tcp": [{ "HostIp": "1.2.3.4", "HostPort": "7" }],
                } },
            }),
        ),
        _ => (204, json!({})),
    }
}

fn networks() -> Value {
    let network = |name: &str, digit: &str| {
        json!({
            "Name": name, "Id": digit.repeat(64), "Driver": "bridge", "Scope": "local",
            "Created": "2024-01-02T03:04:05.123456789Z", "EnableIPv4": true, "EnableIPv6": false,
            "Internal": true, "Labels": { "c.d-e": "f" },
        })
    };
    json!([
        network("net10", "1"),
        network("a-rather-long-name", "2"),
        network("net2", "3")
    ])
}

fn images() -> Value {
    json!([
        { "Id": format!("sha256:{}", "c".repeat(64)), "RepoTags": ["host:5000/web:2"],
          "Created": ago(100_800), "Size": 1_234_567 },
        { "Id": format!("sha256:{}", "d".repeat(64)), "RepoTags": ["b:latest"],
          "Created": ago(1_040_000), "Size": 12 },
    ])
}

fn containers() -> Value {
    json!([
        { "Id": "a".repeat(64), "Names": ["/web", "/other/link"], "Image": "web:1",
          "ImageID": "sha256:c", "Command": "/bin/sh -c 'echo a long line'", "Created": ago(7_230),
          "State": "running", "Status": "Up 2 hours", "Labels": { "a": "b" },
          "Ports": [
              { "IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp" },
              { "IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp" },
              { "IP": "0.0.0.0", "PrivatePort": 90, "PublicPort": 90, "Type": "tcp" },
              { "IP": "0.0.0.0", "PrivatePort": 91, "PublicPort": 91, "Type": "tcp" },
              { "PrivatePort": 53, "Type": "udp" },
          ],
          "Mounts": [{ "Type": "bind", "Source": "/a/rather/long/folder", "Destination": "/x" }],
          "NetworkSettings": { "Networks": { "n1": {} } },
          "SizeRw": 2_000, "SizeRootFs": 5_000_000 },
        { "Id": "b".repeat(64), "Names": ["/idle"], "Image": "", "Command": "true",
          "Created": ago(90), "State": "exited", "Status": "Exited (0) 3 seconds ago", "Ports": [] },
    ])
}

/// A line that is a JSON object is compared as one: Go writes `<` and `>` in texts as escapes.
fn canonical(line: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(object @ Value::Object(_)) => spoken(object).to_string(),
        _ => line.to_owned(),
    }
}

/// Both programs, or nothing where there is no docker CLI.
fn compare(name: &str, lines: &[&[&str]]) {
    let docker = Path::new("/usr/local/bin/docker");
    let docker = if docker.exists() {
        docker
    } else {
        Path::new("/usr/bin/docker")
    };
    if !docker.exists() {
        println!("SKIP {name}: there is no docker CLI on this machine");
        return;
    }
    let recorder = Recorder::start(name);
    let mut differ = 0;
    for line in lines {
        let theirs = recorder.run(docker, line);
        let ours = recorder.run(Path::new(env!("CARGO_BIN_EXE_vethwork")), line);
        if ours != theirs {
            println!("{line:?}\nours:   {ours:?}\ntheirs: {theirs:?}\n");
            differ += 1;
        }
    }
    assert_eq!(differ, 0, "lines on which the two differ");
}

fn split(lines: &'static [&'static str]) -> Vec<Vec<&'static str>> {
    lines
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

fn compare_lines(name: &str, lines: &'static [&'static str]) {
    let lines = split(lines);
    compare(name, &lines.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

#[test]
fn networks_are_asked_for_alike() {
    compare_lines(
        "network",
        &[
            "network create n1",
            "network create -d bridge --subnet 10.0.0.0/24 --subnet fd00::/64 --ip-range 10.0.0.128/25 \
             --gateway 10.0.0.1 --gateway fd00::1 --aux-address a=10.0.0.5 --aux-address b=fd00::5 \
             --ipv6 --ipv4=false --internal --attachable -o k=v --label a=b --label c \
             --ipam-driver default --ipam-opt x=y --scope local n2",
            "network create --config-only --config-from foo --ingress n3",
            "network create --subnet 10.0.0.0/24 --gateway 10.1.0.1 n4",
            "network connect n1 c1",
            "network connect --ip 10.0.0.9 --ip6 fd00::9 --alias a --alias b --link x:y \
             --link-local-ip 169.254.1.1 --driver-opt k=v --gw-priority 3 n1 c1",
            "network disconnect -f n1 c1",
            "network rm n1",
            "network rm -f absent",
            "network rm absent",
            "network prune -f --filter until=1h --filter label=x --filter label=y",
            "network ls",
            "network ls --filter driver=bridge --no-trunc",
            "network ls -q",
            "network ls --format json",
            "network inspect n1 n2",
            "network inspect -f {{.Name}}/{{.Id}} n1",
        ],
    );
}

#[test]
fn containers_are_asked_for_alike() {
    compare_lines(
        "create",
        &[
            "create host",
            "create -i -t --rm -p 8080:80 -p 127.0.0.1:53:53/udp -p 127.0.0.1::81 \
             -p 9000-9002:9000-9002/sctp -p [::1]:99:99 -p 8000-8010:90 -P --expose 1000-1001 -e A=b \
             -e HOME --env-file /dev/null -v /a:/b:ro -v /anon --tmpfs /t:size=1m --mount \
             type=bind,source=/x,target=/y,readonly,bind-propagation=rshared --mount \
             type=tmpfs,dst=/z,tmpfs-size=1m,tmpfs-mode=1770 -h hn --domainname dn -u 1:2 -w /w \
             --entrypoint /bin/sh --dns 1.1.1.1 --dns-search x.org --dns-option ndots:1 --add-host \
             a:1.2.3.4 --add-host b=host-gateway --label a=b --label c --cap-add NET_ADMIN --cap-drop \
             ALL --privileged --read-only --init --sysctl net.ipv4.ip_forward=1 --ulimit nofile=10:20 \
             --ulimit core=5 -m 64m --cpus 1.5 --cpu-shares 10 --pids-limit 100 --stop-signal TERM \
             --stop-timeout 3 --group-add 5 --security-opt no-new-privileges --shm-size 10m host \
             sh -c -x",
            "create --restart on-failure:3 -p 80 -p ::1:5:6 -p 1.2.3.4:6-7:8-9 host",
            "create --network host host",
            "create --network container:x host",
            "create --mac-address 02:00:00:00:00:02 --network-alias z --network n9 --network name=n8 host",
            "create --network \
             name=n1,alias=a,alias=b,ip=10.0.0.9,mac-address=02:00:00:00:00:01,driver-opt=k=v,gw-priority=2,ip6=fd00::3,link-local-ip=169.254.1.1 \
             host",
            "run --name c1 --network n1 --network-alias a --ip 10.0.0.9 --link x:y host sleep 1",
            "run host true",
            "run --rm -i host cat",
            "exec -i -e A=b -w /w -u me --privileged c1 sh -c x",
            "exec -d c1 sh",
            "exec -i --detach-keys ctrl-x c1 sh",
            "run --detach-keys ctrl-a,b host true",
        ],
    );
}

#[test]
fn an_empty_entrypoint_is_asked_for_alike() {
    compare(
        "entrypoint",
        &[&["create", "--entrypoint", "", "host", "sh", "-c", "a b"]],
    );
}

#[test]
fn lives_of_containers_are_asked_for_alike() {
    compare_lines(
        "lifecycle",
        &[
            "start c1",
            "start -a c1",
            "stop -t 3 -s TERM c1",
            "restart --timeout 4 c1",
            "kill -s HUP c1",
            "kill c1",
            "rm -f -v c1",
            "rm absent",
            "rename a b",
            "wait c1",
            "port c1",
            "port c1 80",
            "port c1 9/udp",
            "logs --tail 5 --until 2024-01-02T03:04:05Z -t c1",
            "inspect --type container c1",
            "inspect -f {{.ID}}{{.Name}} c1",
            "rmi -f a",
        ],
    );
}

#[test]
fn lists_are_printed_alike() {
    compare_lines(
        "lists",
        &[
            "ps",
            "ps -a --no-trunc",
            "ps -s -n 3",
            "ps -lq",
            "ps --filter name=x --format json",
            "images",
            "images --no-trunc",
            "images -q",
        ],
    );
    compare(
        "formats",
        &[
            &[
                "ps",
                "--format",
                r#"table {{.Names}}\t{{.Label "a"}}\t{{upper .State}}\t{{.Mounts}}"#,
            ],
            &[
                "ps",
                "--format",
                "{{.CreatedAt}} {{.RunningFor}} {{.Networks}} {{.Image}}",
            ],
            &[
                "network",
                "ls",
                "--format",
                r#"table {{.Name}}\t{{.Label "c.d-e"}}\t{{json .Labels}}"#,
            ],
            &[
                "images",
                "--format",
                "{{.Repository}} {{.Tag}} {{.CreatedSince}} {{.Size}}",
            ],
        ],
    );
}
