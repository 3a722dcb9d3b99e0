//! How loud everybody is wanted, by name: who leaves and comes back is as loud as before.

use std::collections::BTreeMap;

use wire::local::Volume;

/// So many names have a volume of their own, at most.
const MOST: usize = 1024;

/// How loud one is wanted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) db: i8,
    pub(crate) is_off: bool,
}

impl Wanted {
    /// The factor of that.
    pub(crate) fn gain(self) -> f32 {
        if self.is_off { 0.0 } else { 10_f32.powf(f32::from(self.db) / 20.0) }
    }
}

/// All that are wanted louder or softer than they are.
#[derive(Debug, Default)]
pub(crate) struct Volumes(BTreeMap<String, Wanted>);

impl Volumes {
    /// Changes one; gives what is wanted then.
    pub(crate) fn set(&mut self, name: &str, volume: Volume) -> Result<Wanted, String> {
        let was = self.of(name);
        let wanted = match volume {
            Volume::Off => Wanted { is_off: true, ..was },
            Volume::On => Wanted { is_off: false, ..was },
            Volume::Db(db) if (Volume::LEAST_DB..=Volume::MOST_DB).contains(&db) => Wanted { db, is_off: false },
            Volume::Db(db) => {
                let (least, most) = (Volume::LEAST_DB, Volume::MOST_DB);
                return Err(format!("a volume is from {least} to {most} dB, not {db}"));
            }
        };
        if wanted == Wanted::default() {
            self.0.remove(name);
        } else if self.0.len() < MOST || self.0.contains_key(name) {
            self.0.insert(name.to_owned(), wanted);
        } else {
            return Err(format!("{MOST} names have a volume of their own already; set others back to 0 first"));
        }
        Ok(wanted)
    }

    /// How loud a name is wanted.
    pub(crate) fn of(&self, name: &str) -> Wanted {
        self.0.get(name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_on_again_is_as_loud_as_before() {
        let mut volumes = Volumes::default();
        assert_eq!(volumes.set("bob", Volume::Db(-6)).map(|wanted| wanted.gain()), Ok(10_f32.powf(-0.3)));
        assert_eq!(volumes.set("bob", Volume::Off).map(Wanted::gain), Ok(0.0));
        assert_eq!(volumes.set("bob", Volume::On), Ok(Wanted { db: -6, is_off: false }));
        assert_eq!((volumes.of("bob").db, volumes.of("ann")), (-6, Wanted::default()));
        volumes.set("bob", Volume::Off).expect("a volume");
        assert_eq!(volumes.set("bob", Volume::Db(0)).map(Wanted::gain), Ok(1.0));
        assert!(volumes.0.is_empty());
    }

    #[test]
    fn volumes_have_bounds_and_so_has_their_number() {
        let mut volumes = Volumes::default();
        assert!(volumes.set("bob", Volume::Db(13)).is_err() && volumes.set("bob", Volume::Db(-61)).is_err());
        for n in 0..MOST {
            volumes.set(&n.to_string(), Volume::Off).expect("room");
        }
        assert!(volumes.set("bob", Volume::Off).is_err());
        assert!(volumes.set("7", Volume::Db(3)).is_ok());
    }
}
