//! Where kept channels are kept.
//!
//! A [`Store`] is plain and blocking; [`Keeper`] runs it beside the UDP task, so that a slow disk delays nobody's call.

#[cfg(test)]
mod memory;
pub(crate) mod sqlite;

use std::sync::{Arc, Mutex, PoisonError};

use registry::{ChannelName, ChannelRecord};

/// Keeps channel records. What it has acknowledged is there after a crash, if it outlives the process at all.
pub(crate) trait Store: Send + 'static {
    /// Keeps a record; the name must be free.
    fn create(&mut self, record: &ChannelRecord) -> Result<(), StoreError>;
    /// Gives a record up, for who holds its capability's hash.
    fn delete(&mut self, name: &ChannelName, owner: &[u8; 32]) -> Result<(), StoreError>;
    /// All records.
    fn list(&mut self) -> Result<Vec<ChannelRecord>, StoreError>;
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("there is a channel of that name")]
    Exists,
    #[error("there is no such channel")]
    Unknown,
    #[error("the capability is not the channel's")]
    NotOwner,
    #[error("the disk is full")]
    DiskFull,
    #[error("the data was written by a later version (schema {0})")]
    Later(i64),
    #[error("a stored channel makes no sense: {0}")]
    Damaged(String),
    #[error(transparent)]
    Sqlite(rusqlite::Error),
    #[error("the store has ended")]
    Ended,
}

/// A store for async callers.
#[derive(Clone)]
pub(crate) struct Keeper(Arc<Mutex<dyn Store>>);

impl Keeper {
    pub(crate) fn new(store: impl Store) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    /// Runs `work` where it may block. It runs to its end even if nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(&self.0);
        let work = move || work(&mut *store.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Ended))
    }
}

#[cfg(test)]
mod contract {
    use wire::{IdentityKey, signal::ChannelKind};

    use super::{memory::MemoryStore, sqlite::SqliteStore, *};

    fn record(name: &str) -> ChannelRecord {
        ChannelRecord {
            name: ChannelName::parse(name).unwrap(),
            kind: ChannelKind::Open,
            description: "for «all»".into(),
            author: "o'alice; drop table".into(),
            join_key: None,
            owner: [7; 32],
            created_at: 1_700_000_000,
        }
    }

    fn names(store: &mut dyn Store) -> Vec<String> {
        let mut names: Vec<_> = store.list().unwrap().into_iter().map(|record| record.name.to_string()).collect();
        names.sort();
        names
    }

    /// What every store does.
    fn holds(store: &mut dyn Store) {
        assert!(names(store).is_empty());

        let den = ChannelRecord { kind: ChannelKind::Password, join_key: Some(IdentityKey([9; 32])), ..record("den") };
        store.create(&den).unwrap();
        store.create(&record("日本 👩\u{200d}👩")).unwrap();
        assert!(matches!(store.create(&record("den")), Err(StoreError::Exists)));
        assert_eq!(names(store), ["den", "日本 👩\u{200d}👩"]);
        assert!(store.list().unwrap().contains(&den), "what was kept is what comes back");

        assert!(matches!(store.delete(&den.name, &[8; 32]), Err(StoreError::NotOwner)));
        store.delete(&den.name, &den.owner).unwrap();
        assert!(matches!(store.delete(&den.name, &den.owner), Err(StoreError::Unknown)));
        assert_eq!(names(store), ["日本 👩\u{200d}👩"]);
        store.create(&record("den")).unwrap();
    }

    #[test]
    fn the_memory_store_keeps_the_contract() {
        holds(&mut MemoryStore::default());
    }

    #[test]
    fn the_sqlite_store_keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        holds(&mut SqliteStore::open(dir.path()).unwrap());
    }
}
