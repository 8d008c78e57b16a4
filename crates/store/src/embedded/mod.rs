//! The store of the data directory: a redb file, flushed at every commit.
//!
//! redb keeps a tree of checksummed pages and rolls back to the last whole commit. What it does
//! not do is done here: it writes to a file before it has found out that it is damaged, it may
//! panic on damaged pages, and after one failed write it refuses everything until it is opened
//! again.

use crate::{Batch, Change, Error, Schema, Store, Table, lock::FileLock};
use redb::{
    Database, ReadableDatabase, StorageBackend, TableDefinition, TableError,
    backends::InMemoryBackend,
};
use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    panic,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

const SCHEMA: TableDefinition<'_, &str, u32> = TableDefinition::new("schema");
const VERSION: &str = "version";
/// Pages kept in memory. All that is read at length is read once, at the start.
const CACHE: usize = 1 << 20;

/// A store that survives loss of power.
///
/// A commit costs one flush of the disk, and reading waits for one that is under way. The file is opened by one process at a time.
#[derive(Debug)]
pub struct Embedded {
    path: PathBuf,
    /// Nothing after a failed write, until the next call opens it again.
    database: Mutex<Option<Database>>,
    _lock: FileLock,
}

impl Embedded {
    /// Opens the file, or makes it, and brings it to the schema's version.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Corrupt`], [`Error::NewerSchema`], [`Error::NoMigration`],
    /// [`Error::Io`] and [`Error::Engine`]; the file is then as it was.
    pub fn open(path: &Path, schema: Schema) -> Result<Self, Error> {
        let lock = FileLock::acquire(path)?;
        match fs::read(path) {
            Ok(bytes) => {
                let found = probe(bytes).map_err(|detail| Error::Corrupt {
                    path: path.to_owned(),
                    detail,
                })?;
                schema.path_from(found, path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, schema.version)?,
            Err(source) => return Err(io_error(path, "read", source)),
        }
        let store = Self {
            path: path.to_owned(),
            database: Mutex::new(Some(open_database(path)?)),
            _lock: lock,
        };
        store.migrate(schema)?;
        Ok(store)
    }

    fn migrate(&self, schema: Schema) -> Result<(), Error> {
        let found = self.run("read", version)?;
        for step in schema.path_from(found, &self.path)? {
            let batch = (step.changes)(self)?;
            self.run("migrate", |database| {
                write(database, batch.changes(), Some(step.from + 1))
            })?;
        }
        Ok(())
    }

    /// Runs `body` on the database. After a failure it is given up and the next call opens it
    /// again, as redb answers nothing more once a write failed.
    fn run<T>(
        &self,
        action: &'static str,
        body: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, Error> {
        // A panic below leaves nothing here, which the next call mends as it does a failure.
        let mut held = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match held.take() {
            Some(database) => database,
            None => open_database(&self.path)?,
        };
        let value = body(&database).map_err(|source| engine_error(&self.path, action, source))?;
        *held = Some(database);
        Ok(value)
    }
}

impl Store for Embedded {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        self.run("write", |database| write(database, batch.changes(), None))
    }

    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.run("read", |database| {
            match database.begin_read()?.open_table(definition(table)) {
                Ok(records) => Ok(records.get(key)?.map(|value| value.value().to_vec())),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn scan_prefix(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.run("read", |database| {
            let records = match database.begin_read()?.open_table(definition(table)) {
                Ok(records) => records,
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut found = Vec::new();
            for record in records.range(prefix..)? {
                let (key, value) = record?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_owned(), value.value().to_vec()));
            }
            Ok(found)
        })
    }
}

const fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table.name())
}

fn write(database: &Database, changes: &[Change], version: Option<u32>) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for change in changes {
        match change {
            Change::Put { table, key, value } => {
                let mut records = transaction.open_table(definition(*table))?;
                records.insert(key.as_str(), value.as_slice())?;
            }
            Change::Delete { table, key } => {
                let mut records = transaction.open_table(definition(*table))?;
                records.remove(key.as_str())?;
            }
        }
    }
    if let Some(version) = version {
        transaction.open_table(SCHEMA)?.insert(VERSION, version)?;
    }
    transaction.commit()?;
    Ok(())
}

fn version(database: &Database) -> Result<u32, redb::Error> {
    let records = database.begin_read()?.open_table(SCHEMA)?;
    let version = records.get(VERSION)?.map(|version| version.value());
    version.ok_or_else(|| redb::Error::Corrupted("it holds no schema version".to_owned()))
}

/// Opens a copy in memory, checks every page of it and tells its schema version, so that the
/// file itself is touched only when it is known to be good. A millisecond a megabyte.
fn probe(bytes: Vec<u8>) -> Result<u32, String> {
    let check = move || -> Result<u32, redb::Error> {
        let backend = InMemoryBackend::new();
        backend.set_len(bytes.len() as u64)?;
        backend.write(0, &bytes)?;
        drop(bytes);
        let mut database = Database::builder()
            .set_cache_size(CACHE)
            .create_with_backend(backend)?;
        if !database.check_integrity()? {
            return Err(redb::Error::Corrupted(
                "its pages do not fit together".to_owned(),
            ));
        }
        version(&database)
    };
    match panic::catch_unwind(check) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("its pages are damaged".to_owned()),
    }
}

/// Makes a database beside the path and renames it there, so that the path never holds half of
/// one.
fn create(path: &Path, version: u32) -> Result<(), Error> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let made = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(beside)
        .map_err(|source| io_error(path, "make", source))
        .and_then(|file| {
            Database::builder()
                .create_file(file)
                .map_err(redb::Error::from)
                .and_then(|database| write(&database, &[], Some(version)))
                .map_err(|source| engine_error(path, "make", source))
        })
        .and_then(|()| {
            fs::rename(beside, path)
                .and_then(|()| sync_directory(path))
                .map_err(|source| io_error(path, "make", source))
        });
    if made.is_err() {
        // Best effort: the next attempt truncates what is left of it.
        drop(fs::remove_file(beside));
    }
    made
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn open_database(path: &Path) -> Result<Database, Error> {
    Database::builder()
        .set_cache_size(CACHE)
        .open(path)
        .map_err(|source| engine_error(path, "open", source.into()))
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

fn engine_error(path: &Path, action: &'static str, source: redb::Error) -> Error {
    let path = path.to_owned();
    match source {
        redb::Error::Io(source) => Error::Io {
            path,
            action,
            source,
        },
        redb::Error::Corrupted(detail) => Error::Corrupt { path, detail },
        source => Error::Engine {
            path,
            action,
            source: Box::new(source),
        },
    }
}
