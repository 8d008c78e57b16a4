//! Input and output of containers and of `exec`: attached, with a terminal, from the log.

use crate::support::{Fixture, PATIENCE, eventually, random_id, request, shell};
use vw_model::{ContainerSpec, Id};
use vw_runtime::{
    ATTACH_MESSAGE, AttachStream, CreateRequest, Error, ExecSpec, LogOptions, Stream, WindowSize,
};

fn read_all(stream: &AttachStream) -> (String, String) {
    let mut buffer = vec![0; ATTACH_MESSAGE];
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some((from, count)) = stream.recv(&mut buffer).unwrap() {
        match from {
            Stream::Stdout => out.extend(&buffer[..count]),
            Stream::Stderr => err.extend(&buffer[..count]),
        }
    }
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(out), text(err))
}

fn exec_id() -> Id {
    random_id().0
}

#[test]
fn attach_with_input_and_half_close() {
    let Some(fixture) = Fixture::new("attach") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    let spec = ContainerSpec {
        open_stdin: true,
        stdin_once: true,
        ..shell("cat; echo done >&2")
    };
    let id = fixture.create(&spec).unwrap();
    let stream = fixture.runtime.attach(id).unwrap();
    fixture.runtime.start(id).unwrap();
    let input = "x".repeat(100_000);
    let sender = stream.clone();
    let sent = input.clone();
    let sending = std::thread::spawn(move || {
        sender.send(sent.as_bytes()).unwrap();
        sender.close_stdin();
    });
    let (out, err) = read_all(&stream);
    sending.join().unwrap();
    assert_eq!((out == input, err.as_str()), (true, "done\n"));
    assert_eq!(watcher.events().recv_timeout(PATIENCE).unwrap().code, 0);
    eventually("conmon goes", || {
        matches!(fixture.runtime.attach(id), Err(Error::NotRunning(_)))
    });
    fixture.runtime.delete(id).unwrap();
    fixture.assert_nothing_left();
}

#[test]
fn terminal_and_its_size() {
    let Some(fixture) = Fixture::new("tty") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    let spec = ContainerSpec {
        tty: true,
        open_stdin: true,
        ..shell("stty size; read line; stty size; echo $TERM; exit 3")
    };
    let id = fixture.prepare();
    let sized = CreateRequest {
        console: Some(WindowSize {
            rows: 30,
            cols: 100,
        }),
        ..request(&spec)
    };
    fixture.runtime.create(id, &sized).unwrap();
    let stream = fixture.runtime.attach(id).unwrap();
    fixture.runtime.start(id).unwrap();
    let mut buffer = vec![0; ATTACH_MESSAGE];
    let mut seen = String::new();
    while !seen.contains("30 100") {
        let (_, count) = stream.recv(&mut buffer).unwrap().unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    fixture
        .runtime
        .resize(
            id,
            WindowSize {
                rows: 40,
                cols: 120,
            },
        )
        .unwrap();
    stream.send(b"\n").unwrap();
    let (out, _) = read_all(&stream);
    assert!(out.contains("xterm\r\n"), "{out:?}");
    assert_eq!(watcher.events().recv_timeout(PATIENCE).unwrap().code, 3);
    eventually("conmon goes", || {
        let resized = fixture.runtime.resize(id, WindowSize { rows: 1, cols: 1 });
        matches!(resized, Err(Error::NotRunning(_)))
    });
    fixture.runtime.delete(id).unwrap();
    fixture.assert_nothing_left();
}

#[test]
fn exec_in_a_running_container() {
    let Some(fixture) = Fixture::new("exec") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    let runtime = &fixture.runtime;
    let id = fixture.create(&shell("exec sleep 1000")).unwrap();
    let words = |script: &str| ["sh", "-c", script].map(str::to_owned).to_vec();
    let plain = ExecSpec {
        cmd: words("id -u; pwd; echo $B; echo err >&2; exit 5"),
        env: vec!["B=2".to_owned()],
        user: "web".to_owned(),
        working_dir: "/tmp".to_owned(),
        ..ExecSpec::default()
    };
    assert!(matches!(
        runtime.exec(id, exec_id(), &plain, true, None),
        Err(Error::NotRunning(_))
    ));
    runtime.start(id).unwrap();
    let session = runtime.exec(id, exec_id(), &plain, true, None).unwrap();
    let (out, err) = read_all(session.attach().unwrap());
    assert_eq!((out.as_str(), err.as_str()), ("33\n/tmp\n2\n", "err\n"));
    assert_eq!(session.wait().unwrap(), 5);

    let input = ExecSpec {
        cmd: words("cat"),
        stdin: true,
        ..ExecSpec::default()
    };
    let session = runtime.exec(id, exec_id(), &input, true, None).unwrap();
    session.attach().unwrap().send(b"hello").unwrap();
    session.attach().unwrap().close_stdin();
    assert_eq!(read_all(session.attach().unwrap()).0, "hello");
    assert_eq!(session.wait().unwrap(), 0);

    let tty = ExecSpec {
        cmd: words("stty size"),
        tty: true,
        ..ExecSpec::default()
    };
    let size = WindowSize { rows: 11, cols: 22 };
    let session = runtime.exec(id, exec_id(), &tty, true, Some(size)).unwrap();
    assert_eq!(read_all(session.attach().unwrap()).0, "11 22\r\n");
    assert_eq!(session.wait().unwrap(), 0);
    fixture.runtime.delete(id).unwrap();
    drop(watcher);
    fixture.assert_nothing_left();
}

#[test]
fn exec_that_cannot_start_and_exec_that_is_cut_off() {
    let Some(fixture) = Fixture::new("exec-end") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    let runtime = &fixture.runtime;
    let id = fixture.create(&shell("exec sleep 1000")).unwrap();
    runtime.start(id).unwrap();
    let missing = ExecSpec {
        cmd: vec!["foo".to_owned()],
        ..ExecSpec::default()
    };
    for attach in [false, true] {
        let error = runtime
            .exec(id, exec_id(), &missing, attach, None)
            .unwrap_err();
        assert_eq!(error.exit_code(), 127);
        assert!(
            error
                .to_string()
                .contains("exec: \"foo\": executable file not found in $PATH"),
            "{error}"
        );
    }
    let detached = ExecSpec {
        cmd: ["sleep", "1000"].map(str::to_owned).to_vec(),
        ..ExecSpec::default()
    };
    let session = runtime.exec(id, exec_id(), &detached, false, None).unwrap();
    runtime.delete(id).unwrap();
    assert_eq!(session.wait().unwrap(), 137);
    assert!(
        watcher.events().try_recv().is_err(),
        "a removed container reports nothing"
    );
    fixture.assert_nothing_left();
}

#[test]
fn logs_follow_to_the_end_and_can_be_cancelled() {
    let Some(fixture) = Fixture::new("logs") else {
        return;
    };
    let spec = ContainerSpec {
        open_stdin: true,
        ..shell("while read line; do echo $line; test $line = end && exit; done")
    };
    let id = fixture.create(&spec).unwrap();
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let mut log = fixture.runtime.logs(id, &follow).unwrap();
    let cancelled = fixture.runtime.logs(id, &follow).unwrap();
    let cancel = cancelled.canceller().unwrap();
    let waiting = std::thread::spawn(move || cancelled.count());
    cancel.cancel();
    assert_eq!(waiting.join().unwrap(), 0);
    fixture.runtime.start(id).unwrap();
    let stream = fixture.runtime.attach(id).unwrap();
    for line in ["one", "two", "end"] {
        stream.send(format!("{line}\n").as_bytes()).unwrap();
        assert_eq!(
            log.next().unwrap().unwrap().data,
            format!("{line}\n").into_bytes()
        );
    }
    assert!(log.next().is_none());
    let tail = LogOptions {
        tail: Some(2),
        ..LogOptions::default()
    };
    let last: Vec<_> = fixture
        .runtime
        .logs(id, &tail)
        .unwrap()
        .map(|entry| entry.unwrap().data)
        .collect();
    assert_eq!(last, [b"two\n", b"end\n"]);
    fixture.runtime.delete(id).unwrap();
    assert!(matches!(
        fixture.runtime.logs(id, &tail),
        Err(Error::NoSuchContainer(_))
    ));
}
