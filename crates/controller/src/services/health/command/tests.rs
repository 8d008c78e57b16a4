//! What is said of an endpoint by a command that could not run.

use super::judge;
use rustix::io::Errno;
use std::time::Duration;
use vw_runtime::Error;

#[test]
fn what_this_host_lacks_says_nothing_of_an_endpoint() {
    let failed = |errno: Errno| {
        let checked = Err(Error::Io {
            what: "start runc".to_owned(),
            source: errno.into(),
        });
        judge(checked, Duration::from_secs(1))
    };
    for errno in [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM] {
        failed(errno).expect_err("nobody was asked");
    }
    assert!(!failed(Errno::NOENT).expect("it counts").is_well());
    let gone = judge(
        Err(Error::NotRunning("box".to_owned())),
        Duration::from_secs(1),
    );
    assert!(!gone.expect("it counts").is_well());
}
