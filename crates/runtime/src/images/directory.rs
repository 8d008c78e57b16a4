//! A directory of the host as a tar stream, to be imported.
//!
//! Owns what a directory holds that a tar can: files, directories, links (hard ones too),
//! device nodes, FIFOs, owners, modes, times, file capabilities. Sockets are left out, and
//! other mounted file systems below it are not entered.

use rustix::io::Errno;
use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};

const CAPABILITY: &str = "security.capability";

/// Writes the whole directory.
pub(crate) fn write(directory: &Path, output: impl Write) -> io::Result<()> {
    let meta = fs::symlink_metadata(directory)?;
    let mut writer = Writer {
        builder: Builder::new(output),
        device: meta.dev(),
        links: HashMap::new(),
    };
    writer.below(directory, Path::new("."), &meta)?;
    writer.builder.finish()
}

struct Writer<W: Write> {
    builder: Builder<W>,
    device: u64,
    /// The first name of each file that has several.
    links: HashMap<u64, PathBuf>,
}

impl<W: Write> Writer<W> {
    fn below(&mut self, from: &Path, name: &Path, meta: &Metadata) -> io::Result<()> {
        self.entry(from, name, meta)?;
        if meta.dev() != self.device {
            return Ok(());
        }
        let mut entries: Vec<_> = fs::read_dir(from)?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = name.join(entry.file_name());
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                self.below(&path, &name, &meta)?;
            } else {
                self.entry(&path, &name, &meta)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, from: &Path, name: &Path, meta: &Metadata) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_metadata(meta);
        header.set_size(0);
        let kind = meta.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        if !kind.is_dir() && meta.nlink() > 1 {
            if let Some(first) = self.links.get(&meta.ino()) {
                header.set_entry_type(EntryType::Link);
                let first = first.clone();
                return self.builder.append_link(&mut header, name, &first);
            }
            self.links.insert(meta.ino(), name.to_owned());
        }
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = fs::read_link(from)?;
            return self.builder.append_link(&mut header, name, &target);
        }
        if kind.is_file() {
            self.capability(from)?;
            let file = File::open(from)?;
            header.set_entry_type(EntryType::Regular);
            header.set_size(meta.len());
            // A file that grows or shrinks meanwhile must not shift what follows.
            let mut padded = io::Read::take(io::Read::chain(file, io::repeat(0)), meta.len());
            return self.builder.append_data(&mut header, name, &mut padded);
        }
        if kind.is_char_device() || kind.is_block_device() {
            let block = kind.is_block_device();
            header.set_entry_type(if block {
                EntryType::Block
            } else {
                EntryType::Char
            });
            header.set_device_major(rustix::fs::major(meta.rdev()))?;
            header.set_device_minor(rustix::fs::minor(meta.rdev()))?;
        } else if kind.is_fifo() {
            header.set_entry_type(EntryType::Fifo);
        } else {
            header.set_entry_type(EntryType::Directory);
        }
        self.builder.append_data(&mut header, name, io::empty())
    }

    fn capability(&mut self, from: &Path) -> io::Result<()> {
        let mut value = [0; 64];
        match rustix::fs::lgetxattr(from, CAPABILITY, &mut value[..]) {
            Ok(length) => {
                let key = format!("SCHILY.xattr.{CAPABILITY}");
                let extension = (key.as_str(), &value[..length]);
                self.builder.append_pax_extensions([extension])
            }
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
