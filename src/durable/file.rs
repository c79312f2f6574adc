//! The file: what is taken for ours, and how it is written.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::Table;
use super::committer::Group;
use super::held::Held;

const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
const FORMAT: (&str, &str) = ("format", "ephemint 1");
/// The first bytes of every file of redb.
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];
/// Bytes. Everything is in the callers' memory as well, so little is cached: what a busy service changes over and over.
const CACHE: usize = 16 << 20;

/// A file that is longer than this, in bytes, and in use for less than a quarter, is made shorter at the start.
const LONG: u64 = 16 << 20;

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

impl Unwritten {
    /// The file at `path` is not opened because of this.
    fn of(self, path: &Path) -> Unopened {
        match self {
            Self::Reopen(unopened) => unopened,
            Self::Store(redb::Error::DatabaseAlreadyOpen) => Unopened::InUse(path.into()),
            Self::Store(redb::Error::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                Unopened::Io(path.into(), error)
            }
            Self::Store(error) => Unopened::Damaged(path.into(), error.to_string()),
            Self::Panicked => Unopened::Damaged(path.into(), "it contradicts itself".into()),
        }
    }
}

type Entries = ReadOnlyTable<&'static [u8], &'static [u8]>;

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
            Ok(_there) => shortened(path, existing(path)?)?,
        };
        Ok(Self { path: path.into(), database: Mutex::new(Some(database)) })
    }

    pub(super) fn read(&self, table: Table, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), Unopened> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else {
            return Err(Unopened::Io(self.path.clone(), io::Error::other("it is being opened anew, or closed")));
        };
        guarded(|| {
            let Some(table) = opened(&database.begin_read()?, table)? else { return Ok(()) };
            for entry in table.iter()? {
                let (key, value) = entry?;
                each(key.value(), value.value());
            }
            Ok(())
        })
        .map_err(|error| error.of(&self.path))
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
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _crash_safe = guarded(|| {
            drop(database);
            Ok(())
        });
    }
}

/// Whether the file at `path` can be opened, or made where there is none. Leaves no file that was not there.
pub(crate) fn try_open(path: &Path) -> Result<(), Unopened> {
    let is_new = matches!(std::fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound);
    if !is_new {
        return File::open(path).map(|file| file.close());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".check-{:016x}", fastrand::u64(..)));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
    made.and_then(|_| std::fs::remove_file(&beside)).map_err(|error| Unopened::Io(path.into(), error))
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
        Table::Leases => "leases",
        Table::Keys => "keys",
        Table::Sessions => "sessions",
        Table::Blocks => "blocks",
        Table::Webhooks => "webhooks",
    })
}

/// Makes the file, readable by its owner alone: beside its place, and there only once it is whole. A crash may leave one named
/// `*.new-*`, which nothing reads.
fn create(path: &Path) -> Result<Database, Unopened> {
    let failed = |error| Unopened::Io(path.into(), error);
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{:016x}", fastrand::u64(..)));
    let made = begun(Path::new(&beside)).and_then(|database| {
        // Unlike a rename, a link never replaces what another process put there meanwhile.
        std::fs::hard_link(&beside, path)?;
        Ok(database)
    });
    let removed = std::fs::remove_file(&beside);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => existing(path),
        Err(error) => Err(failed(error)),
        Ok(database) => {
            removed.and_then(|()| sync_folder(path)).map_err(failed)?;
            Ok(database)
        }
    }
}

fn begun(path: &Path) -> io::Result<Database> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let begin = || -> Result<Database, redb::Error> {
        let database = builder().create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert(FORMAT.0, FORMAT.1)?;
        transaction.commit()?;
        Ok(database)
    };
    begin().map_err(|error| match error {
        redb::Error::Io(error) => error,
        error => io::Error::other(error),
    })
}

/// Without it, a crash of the machine could forget the file's name.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

/// Opens and repairs the file; it is written only once it is known to be ours and whole.
fn existing(path: &Path) -> Result<Database, Unopened> {
    let unread = |error| Unopened::Io(path.into(), error);
    if !std::fs::metadata(path).map_err(unread)?.is_file() {
        return Err(Unopened::NotAFile(path.into()));
    }
    let mut start = Vec::new();
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(unread)?;
    (&file).take(MAGIC.len() as u64).read_to_end(&mut start).map_err(unread)?;
    if start.is_empty() {
        return Err(Unopened::Empty(path.into()));
    }
    if start != MAGIC {
        return Err(Unopened::Foreign(path.into()));
    }
    let open = || -> Result<_, redb::Error> {
        let held = Held::new(file)?;
        let database = builder().set_check_integrity_on_open(true).create_with_backend(held.clone())?;
        let format = format(&database)?;
        Ok((held, database, format))
    };
    match guarded(open).map_err(|error| error.of(path))? {
        (held, database, Some(format)) if format == FORMAT.1 => {
            held.release().map_err(unread)?;
            Ok(database)
        }
        (_, _, Some(format)) => Err(Unopened::Version(path.into(), format)),
        (_, _, None) => Err(Unopened::Foreign(path.into())),
    }
}

/// Gives back what a larger past left unused. A file that cannot be made shorter, on a full disk for example, is good as it is.
fn shortened(path: &Path, mut database: Database) -> Result<Database, Unopened> {
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length <= LONG {
        return Ok(database);
    }
    let shorten = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        let stats = transaction.stats()?;
        transaction.abort()?;
        if stats.allocated_pages().saturating_mul(stats.page_size() as u64) < length / 4 {
            database.compact()?;
        }
        Ok(())
    };
    match guarded(shorten) {
        Ok(()) => Ok(database),
        Err(error) => {
            tracing::warn!(%error, "the file of the durable store stays longer than it need be");
            drop(database);
            existing(path)
        }
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

/// The format that the file names, nothing for one of another program. Fails also where a table of ours has other types.
fn format(database: &Database) -> Result<Option<String>, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(META) {
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. } | TableError::TableIsMultimap(_)) => {
            return Ok(None);
        }
        meta => meta?,
    };
    let format = meta.get(FORMAT.0)?.map(|format| format.value().to_owned());
    if format.as_deref() == Some(FORMAT.1) {
        for table in Table::ALL {
            opened(&transaction, table)?;
        }
    }
    Ok(format)
}

/// Nothing for a table that was never written.
fn opened(transaction: &ReadTransaction, table: Table) -> Result<Option<Entries>, redb::Error> {
    match transaction.open_table(definition(table)) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some(table?)),
    }
}
