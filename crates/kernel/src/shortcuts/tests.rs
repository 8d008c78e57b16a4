//! The table and the program as the kernel has them.

use super::*;
use crate::bpf::{Assembler, Register};

/// A socket in a namespace of this thread's own, whose loopback is looked at; or why there is none.
fn socket() -> io::Result<Socket> {
    // SAFETY: this thread alone leaves its namespace, and nothing else runs on it.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .expect("a namespace of our own");
    let mut socket = Socket::open()?;
    let mut batch = Batch::default();
    tc::bind(&mut batch, LOOPBACK);
    carry_out(&mut socket, &mut batch)?;
    Ok(socket)
}

#[test]
fn a_former_form_gives_way_and_what_is_put_is_what_is_seen() {
    vw_testkit::require_root!();
    let socket = socket();
    vw_testkit::require!(
        socket.is_ok(),
        "the kernel has no shortcuts: {}",
        socket
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    );
    let mut socket = socket.expect("it was asked");
    let mut former = Assembler::default();
    former.set(Register::R0, -1);
    former.exit();
    let former = bpf::load(SHORT, &former.finish()).expect("a program");
    let mut batch = Batch::default();
    tc::attach(&mut batch, "vethwork shortcuts 2", former.as_fd());
    carry_out(&mut socket, &mut batch).expect("it is attached");
    let seen = look(&mut socket);
    assert_eq!((seen.any, seen.entries), (true, None));

    install(&mut socket).expect("it takes the place");
    let programs = tc::programs(&mut socket).expect("they are told");
    let names: Vec<&str> = programs.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, [NAME]);
    assert_eq!(look(&mut socket).entries, Some(Vec::new()));
    let mac = MacAddr([0x02, 0x42, 10, 5, 0, 10]);
    let mut entry = Entry {
        mac,
        station: Station::Here,
        index: 7,
    };
    let table = Table::find(&mut socket).expect("it is told");
    let table = table.expect("it is there");
    table.put(&entry);
    assert_eq!(look(&mut socket).entries, Some(vec![entry]));
    table.remove(mac, Station::Here);
    entry.station = Station::Elsewhere;
    entry.index = crate::netlink::link::TUNNEL_INDEX | 4_711;
    table.put(&entry);
    assert_eq!(look(&mut socket).entries, Some(vec![entry]));
}
