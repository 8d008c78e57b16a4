//! Published ports of an endpoint without IPv6, asked for over IPv6: what is translated, both ways.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, UdpSocket},
    path::PathBuf,
    time::Duration,
};
use vw_drivers::DriverContext;
use vw_firewall::{
    FamilyPolicy, GatewayMode, HostTable, NetworkPolicy, PortPolicy, TRANSLATED, mapped, network,
    port,
};
use vw_hoststate::{Object, Objects, Plan, Step, Table, diff};
use vw_kernel::{Config, Kernel, LinuxKernel};
use vw_model::{PortKey, PortMapping, Protocol};
use vw_testkit::{Host, Lab, require_root, traffic};

const ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const HOST: &str = "2001:db8::1";

/// A client behind a router, a host, and a container without IPv6.
struct World {
    kernel: LinuxKernel,
    root: PathBuf,
    objects: Objects,
    client: Host,
    router: Host,
    host: Host,
    container: Host,
    _lab: Lab,
}

impl World {
    fn new() -> Self {
        let lab = Lab::new();
        let [client, router, host, container] =
            ["client", "router", "host", "container"].map(|name| lab.host(name));
        lab.link(&client, "eth0", &router, "eth1");
        lab.link(&router, "eth0", &host, "eth0");
        lab.link(&host, "c0", &container, "eth0");
        client.ip("addr add 2001:db8:1::2/64 dev eth0 nodad");
        client.ip("-6 route add default via 2001:db8:1::1");
        router.ip("addr add 2001:db8:1::1/64 dev eth1 nodad");
        router.ip("addr add 2001:db8::2/64 dev eth0 nodad");
        host.ip(&format!("addr add {HOST}/64 dev eth0 nodad"));
        host.ip("-6 route add default via 2001:db8::2");
        host.ip("link add vw-a type bridge");
        host.ip("link set vw-a up");
        host.ip("link set c0 master vw-a");
        host.ip("addr add 10.0.0.1/24 dev vw-a");
        container.ip(&format!("addr add {ENDPOINT}/24 dev eth0"));
        container.ip("route add default via 10.0.0.1");
        let forward = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
        for host in [&router, &host] {
            host.sh(forward).must();
        }
        // Replies come by another link than who asked.
        host.sh("sysctl -qw net.ipv4.conf.all.rp_filter=1").must();
        let root = lab.folder().join("exec");
        let exec_root = root.clone();
        let kernel = host.enter(|| LinuxKernel::open(&Config { exec_root }));
        let kernel = kernel.expect("an executor");
        kernel.translation().expect("this kernel has it");
        let objects = wanted(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
        let steps: Vec<Step> = objects.values().cloned().map(Step::Create).collect();
        kernel.apply(&Plan::ordered(steps)).expect("it can be made");
        Self {
            kernel,
            root,
            objects,
            client,
            router,
            host,
            container,
            _lab: lab,
        }
    }

    /// Publishes the port over these protocols alone.
    fn publish(&mut self, protocols: &[Protocol]) {
        let wanted = wanted(protocols);
        let plan = diff(&self.objects, &wanted);
        self.kernel.apply(&plan).expect("it can be done");
        self.objects = wanted;
    }

    /// Nothing is missing; taken away, nothing is left.
    fn end(self) {
        let observed = self.kernel.observe(&self.objects).expect("it can be read");
        assert_eq!(diff(&observed.objects, &self.objects).steps, []);
        let plan = diff(&self.objects, &Objects::default());
        self.kernel.apply(&plan).expect("it can be removed");
        self.kernel.flush_reaper().expect("links can be deleted");
        let standing = self.kernel.observe(&Objects::default());
        assert_eq!(
            standing.expect("it can be read").objects,
            Objects::default()
        );
        self.kernel.withdraw().expect("nothing is pinned");
        let _ = std::fs::remove_dir_all(&self.root);
        let link = self.host.sh("ip link show vw_translator");
        assert!(!link.success(), "nothing translates any more");
    }

    /// Much is said and echoed.
    #[track_caller]
    fn talks(&self, from: &Host, to: &str) {
        let mut talk = traffic::Conversation::open(from, to).expect("it answers");
        talk.say(&"x".repeat(1_000_000)).expect("it echoes much");
    }
}

/// A network, and the port that its endpoint publishes over these protocols.
fn wanted(protocols: &[Protocol]) -> Objects {
    let cx = DriverContext {
        no_translation: None,
        ..DriverContext::default()
    };
    let nat = FamilyPolicy {
        mode: GatewayMode::Nat,
        masquerade: true,
        snat: None,
    };
    let policy = NetworkPolicy {
        bridge: "vw-a".parse().expect("a name"),
        internal: false,
        icc: true,
        v4: nat,
        v6: FamilyPolicy::default(),
    };
    let mut elements = network(&policy);
    for protocol in protocols.iter().copied() {
        let published = port(&PortPolicy {
            mapping: PortMapping {
                host: "[::]:8080".parse().expect("an address"),
                container: PortKey { port: 80, protocol },
            },
            target: mapped(ENDPOINT).into(),
            mode: GatewayMode::Nat,
            internal: false,
        });
        elements.extend(published.expect("of one family"));
    }
    let table = Object::Table(Table::Host(HostTable::default()));
    let objects = elements.into_iter().map(Object::Element);
    let translator = protocols.first().map(|_| vw_drivers::plan_translator(&cx));
    let objects = objects
        .chain([table])
        .chain(translator.into_iter().flatten());
    objects.map(|object| (object.key(), object)).collect()
}

#[test]
fn who_asks_over_ipv6_is_answered_over_ipv4() {
    require_root!();
    let world = World::new();
    let _tcp = traffic::Server::tcp(&world.container, "web", "0.0.0.0:80");
    let udp = traffic::Server::udp(&world.container, "web", "0.0.0.0:80");
    let _sctp = traffic::sctp::Server::start(&world.container, 80);
    for (from, to) in [
        (&world.client, format!("[{HOST}]:8080")),
        (&world.host, format!("[{HOST}]:8080")),
        (&world.host, "[::1]:8080".to_owned()),
    ] {
        let answer = traffic::tcp(from, &to).unwrap_or_else(|error| {
            panic!(
                "{to} by TCP: {error}\n{}",
                world.host.sh("nft list ruleset").ok()
            )
        });
        assert_eq!(answer.seen.ip(), TRANSLATED, "the host asks");
        world.talks(from, &to);
        traffic::udp(from, &to).unwrap_or_else(|error| panic!("{to} by UDP: {error}"));
        let opens = traffic::sctp::opens(from, &to).expect("it can be asked");
        assert!(opens, "{to} by SCTP");
    }
    drop(udp);
    // The endpoint says that nobody listens.
    let refused = world.client.enter(|| {
        let socket = UdpSocket::bind("[::]:0")?;
        socket.connect((HOST, 8080))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send(b"?")?;
        socket.recv(&mut [0; 8])
    });
    let refused = refused.expect_err("nobody listens").kind();
    assert_eq!(refused, ErrorKind::ConnectionRefused);
    world.end();
}

/// Beyond what both ends know, somewhere on the way less fits.
#[test]
fn what_is_too_large_on_the_way_is_told_across() {
    require_root!();
    let world = World::new();
    let _tcp = traffic::Server::tcp(&world.container, "web", "0.0.0.0:80");
    let to = format!("[{HOST}]:8080");
    for (on, way) in [
        (&world.router, "2001:db8:1::2 dev eth1 mtu lock 1300"),
        (&world.host, "2001:db8:1::2 via 2001:db8::2 mtu lock 1400"),
        (&world.host, "10.0.0.2 dev vw-a mtu lock 1360"),
    ] {
        on.ip(&format!("route add {way}"));
        world.talks(&world.client, &to);
        on.ip(&format!("route del {way}"));
        for host in [&world.client, &world.container] {
            host.sh("ip route flush cache; ip -6 route flush cache")
                .must();
        }
    }
    world.end();
}

/// Others that translate whatever leaves, in a chain that the kernel asks before one of the same priority
/// that was there already.
#[test]
fn others_that_masquerade_take_nothing_from_it() {
    require_root!();
    let world = World::new();
    let _tcp = traffic::Server::tcp(&world.container, "web", "0.0.0.0:80");
    let masquerade = "nft 'table ip6 nat { chain POSTROUTING {
        type nat hook postrouting priority srcnat; masquerade; }; }'";
    world.host.sh(masquerade).must();
    world.talks(&world.client, &format!("[{HOST}]:8080"));
    world.talks(&world.host, "[::1]:8080");
    world.end();
}

/// This host refuses it, as what it does not know; nothing leaves it for where packets were translated.
#[test]
fn what_is_open_ends_with_the_last_port() {
    require_root!();
    let mut world = World::new();
    let _tcp = traffic::Server::tcp(&world.container, "web", "0.0.0.0:80");
    let count = "nft 'table ip6 t { chain c { type filter hook prerouting priority 0;
        iifname eth0 ip6 daddr fd5a:9c3e:41b7::/48 counter; }; }'";
    world.router.sh(count).must();
    let far = format!("[{HOST}]:8080");
    let open = [(&world.client, far.as_str()), (&world.host, "[::1]:8080")];
    let open = open.map(|(from, to)| traffic::Conversation::open(from, to).expect("it answers"));
    world.publish(&[]);
    for mut one in open {
        let ended = one.say("still there?").expect_err("nobody is led");
        assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    }
    world.router.ip("-6 route add fd00::/8 via 2001:db8::1");
    let led = format!("[{}]:80", mapped(ENDPOINT));
    assert!(traffic::tcp(&world.client, &led).is_err());
    let counted = world.router.sh("nft list chain ip6 t c").ok();
    assert!(counted.contains("packets 0 "), "{counted}");
    world.end();
}

/// Has a thread do something that may load no program.
fn without_programs<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let word = |code, jump_false, k| libc::sock_filter {
        code,
        jt: 0,
        jf: jump_false,
        k,
    };
    let mut words = [
        word((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0),
        word(
            (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            1,
            libc::SYS_bpf as u32,
        ),
        word(
            libc::BPF_RET as u16,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        ),
        word(libc::BPF_RET as u16, 0, libc::SECCOMP_RET_ALLOW),
    ];
    std::thread::scope(|scope| {
        let refused = scope.spawn(move || {
            let program = libc::sock_fprog {
                len: words.len() as u16,
                filter: words.as_mut_ptr(),
            };
            // SAFETY: it is of this thread alone, and the program lives as long as the call.
            let set = unsafe {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                    && libc::prctl(
                        libc::PR_SET_SECCOMP,
                        libc::SECCOMP_MODE_FILTER,
                        &raw const program,
                    ) == 0
            };
            assert!(set, "{}", std::io::Error::last_os_error());
            f()
        });
        refused.join().expect("it is done")
    })
}

#[test]
fn where_the_kernel_refuses_the_program_nobody_is_led_until_it_takes_it() {
    require_root!();
    let mut world = World::new();
    let _tcp = traffic::Server::tcp(&world.container, "web", "0.0.0.0:80");
    world.publish(&[]);
    without_programs(|| world.publish(&[Protocol::Tcp]));
    let why = world.kernel.untranslated().expect("it is told");
    assert!(why.contains("not permitted"), "{why}");
    let to = format!("[{HOST}]:8080");
    let refused = traffic::tcp(&world.client, &to).expect_err("nobody is led");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let observed = world
        .kernel
        .observe(&world.objects)
        .expect("it can be read");
    let plan = diff(&observed.objects, &world.objects);
    world.kernel.apply(&plan).expect("it is tried again");
    assert_eq!(world.kernel.untranslated(), None);
    world.talks(&world.client, &to);
    world.end();
}

/// Nobody is led by the link who was not led there by a published port.
#[test]
fn nothing_else_is_translated() {
    require_root!();
    let world = World::new();
    let _tcp = traffic::Server::tcp(&world.container, "web", "0.0.0.0:80");
    let _here = traffic::Server::tcp(&world.host, "host", "0.0.0.0:81");
    let led = mapped(ENDPOINT);
    world.router.ip("-6 route add fd00::/8 via 2001:db8::1");
    for to in [
        format!("[{led}]:80"),
        format!("[{}]:8080", mapped(TRANSLATED)),
        format!("[{}]:81", mapped(Ipv4Addr::new(10, 0, 0, 1))),
    ] {
        assert!(traffic::tcp(&world.client, &to).is_err(), "{to}");
    }
    world.end();
}
