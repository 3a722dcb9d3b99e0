//! Channels in one SQLite file that the owner can back up and look into with `sqlite3`.

use std::{path::Path, time::Duration};

use registry::{ChannelName, ChannelRecord};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use wire::{IdentityKey, signal::ChannelKind};

use super::{Store, StoreError};

/// Each entry takes the schema one version further; released ones are never edited.
const MIGRATIONS: [&str; 1] = ["CREATE TABLE channel (
        name TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        description TEXT NOT NULL,
        author TEXT NOT NULL,
        join_key BLOB,
        owner BLOB NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT"];

/// Records in `channels.db`.
pub(crate) struct SqliteStore(Connection);

impl SqliteStore {
    /// Opens or makes the file in `dir`. FULL makes every commit wait for the disk: an acknowledged record is there
    /// after a power cut.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(dir.join("channels.db"))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        let mut store = Self(connection);
        store.migrate()?;
        Ok(store)
    }

    fn migrate(&mut self) -> Result<(), StoreError> {
        let change = self.0.transaction()?;
        let version: i64 = change.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let done = usize::try_from(version).ok().filter(|done| *done <= MIGRATIONS.len());
        for step in &MIGRATIONS[done.ok_or(StoreError::Later(version))?..] {
            change.execute_batch(step)?;
        }
        change.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
        Ok(change.commit()?)
    }
}

impl Store for SqliteStore {
    fn create(&mut self, record: &ChannelRecord) -> Result<(), StoreError> {
        let join_key = record.join_key.map(|key| key.0.to_vec());
        let created_at = i64::try_from(record.created_at).unwrap_or(i64::MAX);
        let mut insert = self.0.prepare_cached("INSERT INTO channel VALUES (?, ?, ?, ?, ?, ?, ?)")?;
        insert.execute(params![
            record.name.as_str(),
            record.kind.to_string(),
            record.description,
            record.author,
            join_key,
            record.owner,
            created_at
        ])?;
        Ok(())
    }

    fn delete(&mut self, name: &ChannelName, owner: &[u8; 32]) -> Result<(), StoreError> {
        let change = self.0.transaction()?;
        let owned: Option<bool> = change
            .query_row("SELECT owner = ? FROM channel WHERE name = ?", params![owner, name.as_str()], |row| row.get(0))
            .optional()?;
        match owned {
            None => Err(StoreError::Unknown),
            Some(false) => Err(StoreError::NotOwner),
            Some(true) => {
                change.execute("DELETE FROM channel WHERE name = ?", params![name.as_str()])?;
                Ok(change.commit()?)
            }
        }
    }

    fn list(&mut self) -> Result<Vec<ChannelRecord>, StoreError> {
        let mut select = self.0.prepare("SELECT * FROM channel")?;
        let mut rows = select.query([])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            records.push(read(row)?);
        }
        Ok(records)
    }
}

fn read(row: &Row<'_>) -> Result<ChannelRecord, StoreError> {
    let name: String = row.get("name")?;
    let kind: String = row.get("kind")?;
    let damaged = || StoreError::Damaged(name.clone());
    let kinds = [ChannelKind::Open, ChannelKind::Password, ChannelKind::Invite];
    Ok(ChannelRecord {
        name: ChannelName::parse(&name).map_err(|_| damaged())?,
        kind: kinds.into_iter().find(|known| known.to_string() == kind).ok_or_else(damaged)?,
        description: row.get("description")?,
        author: row.get("author")?,
        join_key: row.get::<_, Option<[u8; 32]>>("join_key")?.map(IdentityKey),
        owner: row.get("owner")?,
        created_at: u64::try_from(row.get::<_, i64>("created_at")?).unwrap_or(0),
    })
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Self::Exists,
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            _ => Self::Sqlite(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u32) -> ChannelRecord {
        ChannelRecord {
            name: ChannelName::parse(&format!("channel {number}")).unwrap(),
            kind: ChannelKind::Invite,
            description: "x".repeat(512),
            author: String::new(),
            join_key: Some(IdentityKey([1; 32])),
            owner: [2; 32],
            created_at: 3,
        }
    }

    #[test]
    fn what_was_acknowledged_is_there_when_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(dir.path()).unwrap();
        store.create(&record(1)).unwrap();
        std::mem::forget(store); // no orderly end

        assert_eq!(SqliteStore::open(dir.path()).unwrap().list().unwrap(), [record(1)]);
    }

    #[test]
    fn a_full_disk_is_told_and_does_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(dir.path()).unwrap();
        store.0.pragma_update(None, "max_page_count", 20).unwrap();
        let mut kept = 0;
        let error = loop {
            match store.create(&record(kept)) {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::DiskFull), "{error:?}");
        assert_eq!(store.list().unwrap().len(), kept as usize);

        store.0.pragma_update(None, "max_page_count", 2000).unwrap();
        store.create(&record(kept)).unwrap();
    }

    #[test]
    fn data_of_a_later_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path()).unwrap();
        store.0.pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        assert!(matches!(SqliteStore::open(dir.path()), Err(StoreError::Later(99))));
    }

    #[test]
    fn a_file_that_is_no_database_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("channels.db"),
            "not a database, but long enough to be taken for one".repeat(99),
        )
        .unwrap();
        assert!(matches!(SqliteStore::open(dir.path()), Err(StoreError::Sqlite(_))));
    }
}
