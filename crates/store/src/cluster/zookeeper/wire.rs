//! ZooKeeper's operations and their results, by `zookeeper.jute` and `ZooDefs.OpCode`.
//!
//! Owns their form on the wire. It sends nothing.

use super::{
    super::ClusterError,
    jute::{Reader, Writer},
    protocol,
};

/// Codes of operations.
pub(super) const PING: i32 = 11;
pub(super) const MULTI: i32 = 14;
pub(super) const MULTI_READ: i32 = 22;
pub(super) const AUTH: i32 = 100;
pub(super) const CLOSE: i32 = -11;

const CREATE: i32 = 1;
const DELETE: i32 = 2;
const EXISTS: i32 = 3;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const GET_CHILDREN: i32 = 8;
const SYNC: i32 = 9;
const CHECK: i32 = 13;
const CREATE_CONTAINER: i32 = 19;
const ADD_WATCH: i32 = 106;
const ERROR: i32 = -1;

/// Codes of errors (`KeeperException.Code`).
pub(super) const NO_NODE: i32 = -101;
pub(super) const NO_AUTH: i32 = -102;
pub(super) const BAD_VERSION: i32 = -103;
pub(super) const NODE_EXISTS: i32 = -110;
pub(super) const SESSION_EXPIRED: i32 = -112;
pub(super) const AUTH_FAILED: i32 = -115;

/// Any version will do.
pub(super) const ANY: i32 = -1;

/// How long a node lives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Life {
    /// Until it is deleted.
    Persistent,
    /// As long as its session.
    Ephemeral,
    /// Until some time after its last child is gone.
    Container,
}

/// Who may use a node that is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Access {
    Anyone,
    /// Those who show what its maker showed.
    Maker,
}

/// One operation.
#[derive(Debug, Clone)]
pub(super) enum Op<'a> {
    Create(String, &'a [u8], Life, Access),
    Delete(String, i32),
    Exists(String),
    GetData(String),
    SetData(String, &'a [u8], i32),
    GetChildren(String),
    Sync(String),
    Check(String, i32),
    /// Tells of this node and all below it, until the session ends.
    Watch(String),
}

/// What one operation gave.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    Done,
    Stat(Stat),
    Data(Vec<u8>, Stat),
    Children(Vec<String>),
    Failed(i32),
}

/// What is known of a node besides its data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stat {
    /// The transaction that made it: never the same for two nodes of one name.
    pub(super) made: i64,
    /// Counts its changes from 0.
    pub(super) version: i32,
    /// Counts the makings and deletions of its children.
    pub(super) children: i32,
    /// The session that it goes with; 0 for none.
    pub(super) owner: i64,
}

impl Op<'_> {
    pub(super) fn code(&self) -> i32 {
        match self {
            Self::Create(_, _, Life::Container, _) => CREATE_CONTAINER,
            Self::Create(..) => CREATE,
            Self::Delete(..) => DELETE,
            Self::Exists(_) => EXISTS,
            Self::GetData(_) => GET_DATA,
            Self::SetData(..) => SET_DATA,
            Self::GetChildren(_) => GET_CHILDREN,
            Self::Sync(_) => SYNC,
            Self::Check(..) => CHECK,
            Self::Watch(_) => ADD_WATCH,
        }
    }

    pub(super) fn write(&self, out: &mut Writer) {
        match self {
            Self::Create(path, data, life, access) => {
                out.bytes(path).bytes(data);
                let (scheme, id) = match access {
                    Access::Anyone => ("world", "anyone"),
                    Access::Maker => ("auth", ""),
                };
                // One entry, which gives all five permissions.
                out.int(1).int(31).bytes(scheme).bytes(id);
                out.int(match life {
                    Life::Persistent => 0,
                    Life::Ephemeral => 1,
                    Life::Container => 4,
                });
            }
            Self::Delete(path, version) | Self::Check(path, version) => {
                out.bytes(path).int(*version);
            }
            Self::Exists(path) | Self::GetData(path) | Self::GetChildren(path) => {
                out.bytes(path).bool(false);
            }
            Self::SetData(path, data, version) => {
                out.bytes(path).bytes(data).int(*version);
            }
            Self::Sync(path) => {
                out.bytes(path);
            }
            // 1: persistent and recursive.
            Self::Watch(path) => {
                out.bytes(path).int(1);
            }
        }
    }

    /// The result of this operation when it was asked alone and went well.
    pub(super) fn read(&self, input: &mut Reader<'_>) -> Result<Reply, ClusterError> {
        result(self.code(), input)
    }
}

fn result(code: i32, input: &mut Reader<'_>) -> Result<Reply, ClusterError> {
    Ok(match code {
        EXISTS | SET_DATA => Reply::Stat(stat(input)?),
        GET_DATA => {
            let data = input.bytes()?.to_vec();
            Reply::Data(data, stat(input)?)
        }
        GET_CHILDREN => {
            let count = input.int()?;
            let names = (0..count).map(|_| input.text());
            Reply::Children(names.collect::<Result<_, _>>()?)
        }
        CREATE | SYNC => {
            input.text()?;
            Reply::Done
        }
        CREATE_CONTAINER => {
            input.text()?;
            stat(input)?;
            Reply::Done
        }
        ERROR => match input.int()? {
            0 => Reply::Done,
            code => Reply::Failed(code),
        },
        DELETE | CHECK => Reply::Done,
        ADD_WATCH => {
            input.int()?;
            Reply::Done
        }
        code => return Err(protocol(format!("a result of the unknown kind {code}"))),
    })
}

fn stat(input: &mut Reader<'_>) -> Result<Stat, ClusterError> {
    let made = input.long()?;
    // When it was changed last: transaction, and the times of both.
    for _ in 0..3 {
        input.long()?;
    }
    let version = input.int()?;
    let children = input.int()?;
    // The version of its access list.
    input.int()?;
    let owner = input.long()?;
    // Its length, its number of children, and when those changed last.
    input.int()?;
    input.int()?;
    input.long()?;
    Ok(Stat {
        made,
        version,
        children,
        owner,
    })
}

/// Several operations as one.
pub(super) fn write_multi(operations: &[Op<'_>], out: &mut Writer) {
    for operation in operations {
        out.int(operation.code()).bool(false).int(-1);
        operation.write(out);
    }
    out.int(-1).bool(true).int(-1);
}

/// The results of several operations.
pub(super) fn read_multi(input: &mut Reader<'_>) -> Result<Vec<Reply>, ClusterError> {
    let mut replies = Vec::new();
    loop {
        let code = input.int()?;
        let last = input.bool()?;
        input.int()?;
        if last {
            return Ok(replies);
        }
        replies.push(result(code, input)?);
    }
}
