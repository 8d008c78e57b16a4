//! `POST /containers/{name}/attach`.

use crate::{
    call::{Answer, Call},
    streams::{self, Channel, DetachKeys, Output},
};
use hyper::body::Body as _;
use vw_controller::command::ContainerAttach;

/// Answers it.
///
/// # Errors
/// The refusal to send.
pub(super) async fn answer(call: Call, container: String) -> Answer {
    let query = &call.query;
    let keys = DetachKeys::parse(query.get("detachKeys"))?;
    // Without the connection, input can only come as the request's body.
    let can_send = call.upgrade.is_some() || !call.body.is_end_stream();
    let stdin = query.truth("stdin") && can_send;
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
    let channel = Channel::of(call.upgrade, Some(call.body));
    Ok(streams::take_over(
        channel,
        attached,
        wanted,
        keys,
        call.version,
    ))
}
