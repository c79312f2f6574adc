//! The file: what is taken for ours, and how it is written.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::Table;
use super::committer::Group;

const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
const FORMAT: (&str, &str) = ("format", "ephemint 1");
/// The first bytes of every file of redb.
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];
/// Everything is in the callers' memory as well, so little is cached.
const CACHE: usize = 2 << 20;

/// Why the file is not opened. It is left as it was found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unopened {
    #[error("{} is not a file of ephemint; name another path, or move the file away to begin anew", .0.display())]
    Foreign(PathBuf),
    #[error("{} is empty; restore a backup, or remove it to begin anew", .0.display())]
    Empty(PathBuf),
    #[error("{} is damaged ({why}); restore a backup, or move the file away to begin anew without what it counted", .0.display(), why = .1)]
    Damaged(PathBuf, String),
    #[error("{} has the format \"{found}\", and this version reads \"{format}\"; run the version that wrote it, or move the file away to begin anew", .0.display(), found = .1, format = FORMAT.1)]
    Version(PathBuf, String),
    #[error("{} is in use by another process; stop that process, or give each its own path", .0.display())]
    InUse(PathBuf),
    #[error("{} is not a regular file; name a file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} cannot be opened ({why}); its folder must exist, and the file and the folder must be writable for this user", .0.display(), why = .1)]
    Io(PathBuf, io::Error),
    #[error("the thread that writes cannot be started")]
    Thread(#[source] io::Error),
}

/// Why a group is not on disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritten {
    #[error("{0}")]
    Store(#[from] redb::Error),
    #[error("{0}")]
    Reopen(#[from] Unopened),
    #[error("the store panicked")]
    Panicked,
}

pub(super) struct File {
    path: PathBuf,
    /// `None` after a failed commit, until it is opened anew, and at the end.
    database: Mutex<Option<Database>>,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, Unopened> {
        let database = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            Err(error) => return Err(Unopened::Io(path.into(), error)),
            Ok(_there) => existing(path)?,
        };
        Ok(Self { path: path.into(), database: Mutex::new(Some(database)) })
    }

    pub(super) fn read(&self, table: Table, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), Unopened> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else { return Err(Unopened::InUse(self.path.clone())) };
        guarded(|| {
            let table = match database.begin_read()?.open_table(definition(table)) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(()),
                table => table?,
            };
            for entry in table.iter()? {
                let (key, value) = entry?;
                each(key.value(), value.value());
            }
            Ok(())
        })
        .map_err(|error| Unopened::Damaged(self.path.clone(), error.to_string()))
    }

    /// Writes `group` in one transaction. After a failure the next call opens the file anew.
    pub(super) fn commit(&self, group: &Group) -> Result<(), Unwritten> {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match database.take() {
            Some(open) => open,
            None => existing(&self.path)?,
        };
        guarded(|| write(&open, group))?;
        *database = Some(open);
        Ok(())
    }

    pub(super) fn close(&self) {
        drop(self.database.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// The store panics on some kinds of damage.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Unwritten> {
    Ok(catch_unwind(AssertUnwindSafe(work)).map_err(|_panic| Unwritten::Panicked)??)
}

fn write(database: &Database, group: &Group) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    let mut entries = group.iter().peekable();
    while let Some(&((table, _), _)) = entries.peek() {
        let mut open = transaction.open_table(definition(*table))?;
        while let Some(((_, key), value)) = entries.next_if(|((next, _), _)| next == table) {
            match value {
                Some(value) => drop(open.insert(&**key, &**value)?),
                None => drop(open.remove(&**key)?),
            }
        }
    }
    Ok(transaction.commit()?)
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(match table {
        Table::Counts => "counts",
        Table::Keys => "keys",
        Table::Sessions => "sessions",
        Table::Blocks => "blocks",
        Table::HangUps => "hang-ups",
        Table::Webhooks => "webhooks",
    })
}

/// Makes the file, readable by its owner alone. A crash in between leaves an empty or unmarked file, which the next start refuses.
fn create(path: &Path) -> Result<Database, Unopened> {
    let failed = |error: redb::Error| Unopened::Io(path.into(), io::Error::other(error));
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Unopened::Io(path.into(), error))?;
    let database = Database::builder().set_cache_size(CACHE).create(path).map_err(|error| failed(error.into()))?;
    let begin = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert(FORMAT.0, FORMAT.1)?;
        Ok(transaction.commit()?)
    };
    begin().map_err(failed)?;
    Ok(database)
}

fn existing(path: &Path) -> Result<Database, Unopened> {
    let unread = |error| Unopened::Io(path.into(), error);
    if !std::fs::metadata(path).map_err(unread)?.is_file() {
        return Err(Unopened::NotAFile(path.into()));
    }
    let mut start = Vec::new();
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(unread)?;
    file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(unread)?;
    if start.is_empty() {
        return Err(Unopened::Empty(path.into()));
    }
    if start != MAGIC {
        return Err(Unopened::Foreign(path.into()));
    }
    let open = || Database::builder().set_cache_size(CACHE).set_check_integrity_on_open(true).open(path);
    let database = match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => database,
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => return Err(Unopened::InUse(path.into())),
        Ok(Err(error)) => return Err(Unopened::Damaged(path.into(), error.to_string())),
        Err(_panic) => return Err(Unopened::Damaged(path.into(), "it contradicts itself".into())),
    };
    let format = guarded(|| {
        let meta = match database.begin_read()?.open_table(META) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            meta => meta?,
        };
        Ok(meta.get(FORMAT.0)?.map(|format| format.value().to_owned()))
    });
    match format {
        Ok(Some(format)) if format == FORMAT.1 => Ok(database),
        Ok(Some(format)) => Err(Unopened::Version(path.into(), format)),
        Ok(None) => Err(Unopened::Foreign(path.into())),
        Err(error) => Err(Unopened::Damaged(path.into(), error.to_string())),
    }
}
