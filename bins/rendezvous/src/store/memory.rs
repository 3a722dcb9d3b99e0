//! Channels that nobody needs after the end: for tests, and for the contract.

use std::collections::{BTreeMap, btree_map::Entry};

use registry::{ChannelName, ChannelRecord};

use super::{Store, StoreError};

/// Records in memory.
#[derive(Default)]
pub(crate) struct MemoryStore(BTreeMap<ChannelName, ChannelRecord>);

impl Store for MemoryStore {
    fn create(&mut self, record: &ChannelRecord) -> Result<(), StoreError> {
        match self.0.entry(record.name.clone()) {
            Entry::Occupied(_) => Err(StoreError::Exists),
            Entry::Vacant(free) => {
                free.insert(record.clone());
                Ok(())
            }
        }
    }

    fn delete(&mut self, name: &ChannelName, owner: &[u8; 32]) -> Result<(), StoreError> {
        match self.0.get(name) {
            None => Err(StoreError::Unknown),
            Some(record) if record.owner != *owner => Err(StoreError::NotOwner),
            Some(_) => {
                self.0.remove(name);
                Ok(())
            }
        }
    }

    fn list(&mut self) -> Result<Vec<ChannelRecord>, StoreError> {
        Ok(self.0.values().cloned().collect())
    }
}
