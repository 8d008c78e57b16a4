//! Mounts that one test sees, and what it starts.

use crate::Host;
use rustix::{
    mount::{MountPropagationFlags, mount_change},
    thread::UnshareFlags,
};

/// Gives the calling thread, and what it starts from now on, a view of mounts of its own: nothing
/// that is mounted or unmounted in it is seen elsewhere. To be called before anything is made.
#[track_caller]
pub fn own_mounts() {
    let flags = UnshareFlags::NEWNS | UnshareFlags::FS;
    // SAFETY: no descriptor table is unshared, which alone other code of this process could notice.
    unsafe { rustix::thread::unshare_unsafe(flags) }.expect("root has mounts of its own");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).expect("the root is a mount");
}

impl Host {
    /// Hides a folder of `/proc/sys/net` from what looks at it inside, as on a kernel without it;
    /// for a thread with [`own_mounts`].
    #[track_caller]
    pub fn hide_parameters(&self, folder: &str) {
        self.sh(&format!("mount -t tmpfs none /proc/sys/net/{folder}"))
            .must();
    }

    /// Shows again what [`Host::hide_parameters`] hid.
    #[track_caller]
    pub fn show_parameters(&self, folder: &str) {
        self.sh(&format!("umount /proc/sys/net/{folder}")).must();
    }
}
