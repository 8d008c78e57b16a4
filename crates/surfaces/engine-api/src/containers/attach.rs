//! `POST /containers/{name}/attach`.

use crate::{
    call::{Answer, Call},
    streams::{self, DetachKeys, Output},
};
use vw_controller::command::ContainerAttach;

/// Answers it.
///
/// # Errors
/// The refusal to send.
pub(super) async fn answer(call: Call, container: String) -> Answer {
    let query = &call.query;
    let keys = DetachKeys::parse(query.get("detachKeys"))?;
    let stdin = query.truth("stdin") && call.upgrade.is_some();
    let (stdout, stderr) = (query.truth("stdout"), query.truth("stderr"));
    let (logs, stream) = (query.truth("logs"), query.truth("stream"));
    let attached = call
        .submit(ContainerAttach {
            container,
            stdin,
            logs,
            stream,
        })
        .await?;
    let wanted = Output {
        stdout,
        stderr,
        tty: attached.tty,
    };
    let keys = Some(keys).filter(|_| attached.tty);
    Ok(streams::take_over(
        call.upgrade,
        attached,
        wanted,
        keys,
        call.version,
    ))
}
