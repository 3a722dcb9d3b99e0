//! The lowest value of the last two seconds.

use crate::SAMPLE_RATE;

const PARTS: usize = 8;
const PART: i64 = SAMPLE_RATE as i64 / 4;

/// A running minimum over a window of eight parts of 250 ms; a part lasts longer until it has enough values.
#[derive(Clone, Debug)]
pub(crate) struct Lowest {
    parts: [i64; PARTS],
    part: usize,
    began: i64,
    count: usize,
    enough: usize,
}

impl Lowest {
    pub(crate) fn new(enough: usize) -> Self {
        Self { parts: [i64::MAX; PARTS], part: 0, began: i64::MIN, count: 0, enough }
    }

    /// Adds a value seen at `now`, in samples.
    pub(crate) fn note(&mut self, value: i64, now: i64) {
        if now >= self.began.saturating_add(PART) && (self.count >= self.enough || self.began == i64::MIN) {
            self.part = (self.part + 1) % PARTS;
            self.parts[self.part] = i64::MAX;
            (self.began, self.count) = (now, 0);
        }
        self.count += 1;
        self.parts[self.part] = self.parts[self.part].min(value);
    }

    /// The lowest; `None` before the first value.
    pub(crate) fn value(&self) -> Option<i64> {
        self.parts.iter().copied().min().filter(|lowest| *lowest < i64::MAX)
    }

    /// Forgets every value.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.enough);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_value_is_forgotten_after_two_seconds() {
        let mut lowest = Lowest::new(1);
        assert_eq!(lowest.value(), None);
        for step in 0..300 {
            lowest.note(if step == 0 { 3 } else { 9 }, step * 480);
            assert_eq!(lowest.value(), Some(if step < 200 { 3 } else { 9 }), "after {step} steps");
        }
    }

    #[test]
    fn few_values_are_kept_longer() {
        let mut lowest = Lowest::new(5);
        for step in 0..40 {
            lowest.note(if step == 2 { 3 } else { 9 }, step * 480 * 40);
        }
        assert_eq!(lowest.value(), Some(3), "16 s, but only 40 values");
    }
}
