//! A host to test on: in memory, or a namespace of this thread's own.

use rustix::{
    fs::CWD,
    mount::{MountPropagationFlags, UnmountFlags},
    thread::UnshareFlags,
};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};
use vw_hoststate::{Key, Netns, Object, Objects, Plan, Step, diff};
use vw_kernel::{Config, Failure, Kernel, LinuxKernel, fake::FakeKernel};

static LABS: AtomicU32 = AtomicU32::new(0);

pub(crate) enum Lab {
    Fake(FakeKernel),
    Real {
        kernel: Box<LinuxKernel>,
        root: PathBuf,
    },
}

impl Lab {
    pub(crate) fn fake() -> Self {
        Self::Fake(FakeKernel::new())
    }

    /// Takes the calling thread into namespaces of its own.
    pub(crate) fn real() -> Self {
        // SAFETY: this thread alone leaves its namespaces, and nothing else runs on it.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }
            .expect("namespaces of our own");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).expect("mounts of our own");
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let name = format!("vwt-kernel-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let exec_root = root.clone();
        let kernel = Box::new(LinuxKernel::open(&Config { exec_root }).expect("an executor"));
        Self::Real { kernel, root }
    }

    pub(crate) fn kernel(&self) -> &dyn Kernel {
        match self {
            Self::Fake(fake) => fake,
            Self::Real { kernel, .. } => kernel.as_ref(),
        }
    }

    pub(crate) fn apply(&self, steps: impl IntoIterator<Item = Step>) -> Result<(), Failure> {
        self.kernel().apply(&Plan::ordered(steps))
    }

    pub(crate) fn create(&self, objects: &[Object]) {
        let steps = objects.iter().cloned().map(Step::Create);
        self.apply(steps).expect("objects can be created");
    }

    pub(crate) fn delete(&self, objects: &[Object]) {
        let steps = objects.iter().cloned().map(Step::Delete);
        self.apply(steps).expect("objects can be deleted");
    }

    /// The steps from what stands to these objects.
    pub(crate) fn missing(&self, objects: &[Object]) -> Vec<Step> {
        let expected = keyed(objects);
        let observed = self.kernel().observe(&expected).expect("it can be read");
        diff(&observed.objects, &expected).steps
    }

    /// What stands of ours, without anything expected.
    pub(crate) fn standing(&self) -> Vec<Object> {
        let observed = self.kernel().observe(&Objects::default());
        let objects = observed.expect("it can be read").objects;
        objects.into_values().collect()
    }

    /// Takes a namespace away behind the executor's back.
    pub(crate) fn lose_namespace(&self, netns: Netns) {
        match (self, netns) {
            (Self::Fake(_), Netns::Host) => {}
            (Self::Fake(fake), Netns::Sandbox(sandbox)) => fake.vanish(sandbox),
            (Self::Fake(fake), Netns::Network(network)) => fake.vanish_network(network),
            (Self::Fake(fake), Netns::Tunnel) => fake.lose(|key| *key == Key::Namespace(netns)),
            (Self::Real { kernel, root }, _) => {
                let path = match netns {
                    Netns::Network(network) => root.join(format!("netns/net-{network}")),
                    Netns::Sandbox(sandbox) => kernel.netns_path(sandbox),
                    Netns::Tunnel => root.join("netns/tunnel"),
                    Netns::Host => return,
                };
                rustix::mount::unmount(&path, UnmountFlags::DETACH).expect("it is mounted");
                rustix::fs::unlinkat(CWD, &path, rustix::fs::AtFlags::empty())
                    .expect("it is a file");
            }
        }
    }

    /// Waits until everything that was taken out of service is deleted.
    pub(crate) fn settle(&self) {
        if let Self::Real { kernel, .. } = self {
            kernel.flush_reaper().expect("links can be deleted");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Self::Real { root, .. } = self {
            // A failed test may have left mounts; they end with this thread's namespace.
            let netns = root.join("netns");
            let _ = rustix::mount::unmount(&netns, UnmountFlags::DETACH);
            let _ = std::fs::remove_dir_all(root);
        }
    }
}

pub(crate) fn keyed(objects: &[Object]) -> Objects {
    objects
        .iter()
        .map(|object| (object.key(), object.clone()))
        .collect()
}
