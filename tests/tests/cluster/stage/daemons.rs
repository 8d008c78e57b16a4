//! The daemons of a stage, killed, ended, started anew and otherwise.

use super::{Member, SOON, Stage};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};
use vw_testkit::{Daemon, Host, poll};

/// The disk of a host.
pub(crate) struct Disk {
    host: Host,
    /// What fills it.
    at: String,
}

impl Disk {
    /// Leaves no room there.
    pub(crate) fn fill(&self) {
        let line = format!("dd if=/dev/zero of={} bs=4k 2>/dev/null || true", self.at);
        self.host.sh(&line).must();
    }

    /// Makes room.
    pub(crate) fn clear(&self) {
        self.host.sh(&format!("rm {}", self.at)).must();
    }
}

impl Stage {
    /// Kills a daemon.
    pub(crate) fn kill(&mut self, host: &str) {
        self.members.get_mut(host).expect("a member").daemon.kill9();
    }

    /// Ends a daemon in order.
    #[track_caller]
    pub(crate) fn stop(&mut self, host: &str) {
        self.members.get_mut(host).expect("a member").daemon.stop();
    }

    /// Stops a daemon where it is (SIGSTOP): its connections stay, and nothing answers.
    pub(crate) fn stand_still(&self, host: &str) {
        self.signal(host, Signal::STOP);
    }

    /// Has it go on.
    pub(crate) fn go_on(&self, host: &str) {
        self.signal(host, Signal::CONT);
    }

    fn signal(&self, host: &str, signal: Signal) {
        let pid = Pid::from_raw(self.daemon(host).pid() as i32).expect("it runs");
        kill_process(pid, signal).expect("it is ours");
    }

    /// Starts a daemon again from a copy of its program, and tells where that lies.
    #[track_caller]
    pub(crate) fn copy_program(&mut self, host: &str) -> PathBuf {
        let copy = self.lab.folder().join("vethwork");
        let daemon = &mut self.members.get_mut(host).expect("a member").daemon;
        std::fs::copy(daemon.program(), &copy).expect("there is room");
        daemon.set_program(&copy);
        daemon.restart();
        copy
    }

    /// Starts a daemon again as one that took the place of a former one, which was to go on with this, an
    /// address and its link; meanwhile something else is done by what it logs.
    #[track_caller]
    pub(crate) fn begin_anew(
        &mut self,
        host: &str,
        with: &str,
        meanwhile: impl FnOnce(&dyn Fn() -> String) + Send,
    ) {
        let daemon = &mut self.members.get_mut(host).expect("a member").daemon;
        let (program, log) = (daemon.program().to_owned(), daemon.log_file());
        let shim = self.lab.folder().join("anew");
        let text = format!(
            "#!/bin/sh\nVETHWORK_BEGUN_ANEW=\"$$ {with}\" exec {} \"$@\"\n",
            program.display()
        );
        std::fs::write(&shim, text).expect("there is room");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&shim, mode).expect("it is ours");
        daemon.set_program(&shim);
        std::thread::scope(|scope| {
            scope.spawn(|| meanwhile(&|| std::fs::read_to_string(&log).unwrap_or_default()));
            daemon.restart();
        });
        daemon.set_program(&program);
    }

    /// Starts a daemon again with a variable set, or unset.
    #[track_caller]
    pub(crate) fn set_env(&mut self, host: &str, name: &str, value: Option<&str>) {
        let daemon = &mut self.members.get_mut(host).expect("a member").daemon;
        daemon.set_env(name, value);
        daemon.restart();
    }

    /// Starts a daemon again with flags besides those that it was made with.
    #[track_caller]
    pub(crate) fn restart_with(&mut self, host: &str, flags: &[&str]) {
        let member = self.members.get_mut(host).expect("a member");
        let own = member.flags.iter().map(String::as_str);
        let flags: Vec<&str> = own.chain(flags.iter().copied()).collect();
        member.daemon.restart_with(&flags);
    }

    /// Starts a daemon again that tells the others another address.
    #[track_caller]
    pub(crate) fn readvertise(&mut self, host: &str, addr: &str) {
        let member = self.members.get_mut(host).expect("a member");
        let mut flags = member.flags.iter();
        let name = flags.position(|flag| flag == "--cluster-advertise");
        member.flags[name.expect("it advertises") + 1] = addr.to_owned();
        self.restart_with(host, &[]);
    }

    /// Has a daemon die at a point of what our own command line asks of it, and starts it again.
    #[track_caller]
    pub(crate) fn die_at(&mut self, host: &str, point: &str, line: &str) {
        self.set_env(host, "VETHWORK_CRASH_AT", Some(point));
        // What comes before it has reached the store is refused.
        let died = poll(SOON, || {
            let output = self.daemon(host).cli(line.split_whitespace());
            assert!(!output.success(), "{line} did not reach {point}");
            (!self.daemon(host).answers()).then_some(())
        });
        assert!(died.is_some(), "{line} is refused before {point}");
        let daemon = &mut self.members.get_mut(host).expect("a member").daemon;
        daemon.wait_for_end(SOON);
        daemon.set_env("VETHWORK_CRASH_AT", None);
        daemon.restart();
    }

    /// A daemon dies at a named point of what it hears from another host, on which this is done, and is
    /// started again.
    #[track_caller]
    pub(crate) fn die_hearing(&mut self, host: &str, point: &str, on: &str, line: &str) {
        self.set_env(host, "VETHWORK_CRASH_AT", Some(point));
        self.docker(on, line);
        let daemon = &mut self.members.get_mut(host).expect("a member").daemon;
        daemon.wait_for_end(SOON);
        daemon.set_env("VETHWORK_CRASH_AT", None);
        daemon.restart();
    }

    /// Kills a daemon, starts it again, and fails the test when there was anything to repair.
    #[track_caller]
    pub(crate) fn forget(&mut self, host: &str) {
        self.settle(host);
        let daemon = &mut self.members.get_mut(host).expect("a member").daemon;
        let known = daemon.log().len();
        daemon.restart();
        let log = daemon.log().split_off(known);
        let repairs: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("repairing"))
            .collect();
        assert!(repairs.is_empty(), "{host}: {}", repairs.join("\n"));
    }

    /// Waits until a host has stayed as it is for a moment: another's change may be on its way, and
    /// a daemon that is killed in the midst of one has the rest to do.
    fn settle(&self, host: &str) {
        const MOMENT: Duration = Duration::from_millis(500);
        let Member { daemon, host, .. } = &self.members[host];
        let netns = daemon.exec_root().join("netns");
        let look = format!(
            "ls {0}; nft list tables; ip route show proto 86; for net in {0}/net-*; do nsenter --net=$net bridge fdb | grep -E 'self|static'; done",
            netns.display()
        );
        let look = || host.sh(&look).stdout;
        let mut since = (Instant::now(), look());
        poll(SOON, || {
            let now = look();
            if now != since.1 {
                since = (Instant::now(), now);
            }
            (since.0.elapsed() >= MOMENT).then_some(())
        });
    }

    /// Gives a host's daemon, which starts again, a disk of its own that is soon full.
    #[track_caller]
    pub(crate) fn on_a_small_disk(&mut self, host: &str) -> Disk {
        self.stop(host);
        let at = self.daemon(host).data_root().display().to_string();
        let lines = format!(
            "mv {at} {at}.old; mkdir {at}; mount -t tmpfs -o size=16m tmpfs {at}; \
             cp -a {at}.old/. {at}"
        );
        self.host(host).sh(&lines).must();
        self.start_inside(host);
        let (host, at) = (self.host(host).clone(), format!("{at}/filler"));
        Disk { host, at }
    }

    /// Kills a daemon and starts it with other flags than the cluster's; tells how it failed.
    pub(crate) fn start_outside(&mut self, host: &str, flags: &[&str]) -> Result<(), String> {
        let daemon = &mut self.members.get_mut(host).expect("a member").daemon;
        daemon.try_restart_with(flags)
    }

    /// Kills a daemon and starts it in the cluster, as at first.
    #[track_caller]
    pub(crate) fn start_inside(&mut self, host: &str) {
        let member = self.members.get_mut(host).expect("a member");
        let words: Vec<&str> = member.flags.iter().map(String::as_str).collect();
        member.daemon.restart_with(&words);
    }

    /// Kills a daemon and starts it in another cluster, of which nobody else is a member.
    #[track_caller]
    pub(crate) fn start_in_another(&mut self, host: &str) {
        let member = self.members.get_mut(host).expect("a member");
        let mut flags = member.flags.clone();
        let store = flags.iter().position(|flag| flag == "--cluster-store");
        flags[store.expect("it has one") + 1].push_str("/another");
        let words: Vec<&str> = flags.iter().map(String::as_str).collect();
        member.daemon.restart_with(&words);
    }

    /// Ends a host's containers and empties its disk; its daemon starts as a new one's.
    #[track_caller]
    pub(crate) fn empty(&mut self, host: &str) {
        // Nobody is told of their end.
        self.cut(host);
        self.remove_all(host);
        let mut member = self.members.remove(host).expect("a member");
        member.daemon.kill9();
        // A host that starts anew has none of its former namespaces.
        let namespaces = std::fs::read_dir(member.daemon.exec_root().join("netns"));
        for entry in namespaces.expect("it has some").flatten() {
            let mut unmount = std::process::Command::new("umount");
            let unmounted = unmount.arg("-l").arg(entry.path()).status();
            assert!(unmounted.expect("umount runs").success());
        }
        let ports = || {
            let seen = std::fs::read_to_string("/proc/thread-self/net/udp");
            seen.expect("it is readable")
        };
        // 4789: the tunnels' sockets go with the devices.
        vw_testkit::eventually("its tunnels are gone", SOON, || {
            !member.host.enter(ports).contains(":12B5 ")
        });
        drop(member.daemon);
        member.host.ip("link set wire up");
        let words: Vec<&str> = member.flags.iter().map(String::as_str).collect();
        let daemon = Daemon::start_with(&self.lab, &member.host, &words);
        self.members
            .insert(host.to_owned(), Member { daemon, ..member });
    }
}
