//! eBPF maps and programs: made, and found again by their numbers.
//!
//! Owns the system call (`linux/bpf.h`). It must not know what a program does, nor where it is
//! attached.

mod assembler;

pub(crate) use assembler::{Assembler, Is, Label, Register, Size};
use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    sync::atomic::AtomicU64,
};

const MAP_CREATE: libc::c_int = 0;
const PROG_LOAD: libc::c_int = 5;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const MAP_GET_FD_BY_ID: libc::c_int = 14;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;

const MAP_TYPE_ARRAY: u32 = 2;
/// Processes can have its memory as their own.
const F_MMAPABLE: u32 = 1 << 10;
const PROG_TYPE_SCHED_CLS: u32 = 3;
/// What a program or a map is called at most, with a final zero.
const NAME: usize = 16;

/// An instruction.
pub(crate) type Word = [u8; 8];

/// An array of one value, of which programs know the address: they look nothing up.
#[derive(Debug)]
pub(crate) struct Map(OwnedFd);

/// A map's value, as words that change while one looks.
#[derive(Debug)]
pub(crate) struct Memory {
    start: NonNull<AtomicU64>,
    words: usize,
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; NAME],
}

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME],
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Question {
    fd: u32,
    len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
}

impl Map {
    /// Makes one of so many words, all zero.
    pub(crate) fn create(name: &str, words: usize) -> io::Result<Self> {
        let mut attributes = MapCreate {
            map_type: MAP_TYPE_ARRAY,
            key_size: size_of::<u32>() as u32,
            value_size: (words * size_of::<u64>()) as u32,
            max_entries: 1,
            map_flags: F_MMAPABLE,
            map_name: named(name),
            ..MapCreate::default()
        };
        descriptor(MAP_CREATE, &mut attributes).map(Self)
    }

    /// The map that a program uses, which has one.
    ///
    /// # Errors
    /// `NotFound` when the program is gone, or uses none.
    pub(crate) fn of_program(id: u32) -> io::Result<Self> {
        let by_id = |id| ById {
            id,
            ..ById::default()
        };
        let program = descriptor(PROG_GET_FD_BY_ID, &mut by_id(id))?;
        let mut map = 0_u32;
        let mut info = ProgramInfo {
            nr_map_ids: 1,
            map_ids: address(&raw mut map),
            ..ProgramInfo::default()
        };
        let mut question = Question {
            fd: number(program.as_raw_fd()),
            len: size_of::<ProgramInfo>() as u32,
            info: address(&raw mut info),
        };
        call(OBJ_GET_INFO_BY_FD, &mut question)?;
        descriptor(MAP_GET_FD_BY_ID, &mut by_id(map)).map(Self)
    }

    /// The value of one that has so many words: whole pages.
    pub(crate) fn memory(&self, words: usize) -> io::Result<Memory> {
        let how = libc::PROT_READ | libc::PROT_WRITE;
        let (length, fd) = (words * size_of::<u64>(), self.fd());
        // SAFETY: the kernel chooses where, and what is there already stays.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, how, libc::MAP_SHARED, fd, 0) };
        match NonNull::new(start.cast::<AtomicU64>()) {
            Some(at) if start != libc::MAP_FAILED => Ok(Memory { start: at, words }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// What a program names it by.
    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Memory {
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many lie there as long as this does, and are changed by atomic stores alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

// SAFETY: the mapping is the process's, and its words are atomic.
unsafe impl Send for Memory {}
// SAFETY: see above.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was mapped with that length, and nothing refers to it any more. That it fails
        // cannot be.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * size_of::<u64>()) };
    }
}

/// Has the kernel take a program for frames.
///
/// # Errors
/// `InvalidInput` where the kernel knows no function or field of that kind, or lets it not be used.
pub(crate) fn load(name: &str, code: &[Word]) -> io::Result<OwnedFd> {
    let mut attributes = Load {
        prog_type: PROG_TYPE_SCHED_CLS,
        insn_cnt: code.len() as u32,
        insns: address(code.as_ptr()),
        license: address(c"Apache-2.0".as_ptr()),
        prog_name: named(name),
        ..Load::default()
    };
    descriptor(PROG_LOAD, &mut attributes)
}

fn named(name: &str) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(NAME - 1)) {
        *to = from;
    }
    bytes
}

/// An address as the call takes it.
fn address<T>(of: *const T) -> u64 {
    of.expose_provenance() as u64
}

/// A descriptor as the call takes it.
const fn number(fd: RawFd) -> u32 {
    fd.cast_unsigned()
}

/// A call that answers with a descriptor.
fn descriptor<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: the kernel has just made it, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks the kernel; `attributes` is one of the forms of `union bpf_attr` above.
fn call<T>(command: libc::c_int, attributes: &mut T) -> io::Result<RawFd> {
    let (at, size) = (std::ptr::from_mut(attributes), size_of::<T>());
    // SAFETY: the attributes are plain data of that size, and the addresses in them are those of
    // buffers of the callers, who hold them until this returns.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, at, size) };
    match RawFd::try_from(answer) {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}
