/// Numbers this far below the highest one are refused unseen.
const SIZE: u64 = 2048;
const WORDS: usize = (SIZE / 64) as usize;

/// Which packet numbers of a peer have come: each is accepted once (RFC 4303, section 3.4.3).
#[derive(Clone, Debug)]
pub struct Window {
    /// One more than the highest number accepted.
    next: u64,
    seen: [u64; WORDS],
}

impl Default for Window {
    /// A window in which nothing has come.
    fn default() -> Self {
        Self { next: 0, seen: [0; WORDS] }
    }
}

impl Window {
    /// Accepts a number of an authentic packet, or refuses it as a repetition or as too old to tell.
    pub fn accept(&mut self, number: u64) -> bool {
        if number == u64::MAX {
            return false;
        }
        if number >= self.next {
            self.advance(number);
        } else if self.next - number > SIZE || self.has(number) {
            return false;
        }
        self.seen[word(number)] |= bit(number);
        true
    }

    fn advance(&mut self, number: u64) {
        if number - self.next >= SIZE {
            self.seen = [0; WORDS];
        } else {
            for skipped in self.next..=number {
                self.seen[word(skipped)] &= !bit(skipped);
            }
        }
        self.next = number + 1;
    }

    fn has(&self, number: u64) -> bool {
        self.seen[word(number)] & bit(number) != 0
    }
}

fn word(number: u64) -> usize {
    (number % SIZE / 64) as usize
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_accepted_once_in_any_order() {
        let mut window = Window::default();
        for number in [5, 3, 4, 0, 2000, 1] {
            assert!(window.accept(number), "{number} for the first time");
        }
        for number in [5, 3, 4, 0, 2000, 1] {
            assert!(!window.accept(number), "{number} again");
        }
    }

    #[test]
    fn what_is_below_the_window_is_refused() {
        let mut window = Window::default();
        assert!(window.accept(10_000));
        assert!(!window.accept(10_000 - SIZE));
        assert!(window.accept(10_001 - SIZE));
        assert!(!window.accept(10_001 - SIZE));
    }

    #[test]
    fn old_bits_do_not_shadow_numbers_a_window_later() {
        let mut window = Window::default();
        assert!(window.accept(7));
        assert!(window.accept(7 + SIZE - 1));
        assert!(window.accept(7 + SIZE));
        assert!(window.accept(7 + 5 * SIZE));
        assert!(window.accept(6 + 5 * SIZE));
    }

    #[test]
    fn the_last_number_of_all_is_refused_because_nothing_comes_after_it() {
        let mut window = Window::default();
        assert!(!window.accept(u64::MAX));
        assert!(window.accept(u64::MAX - 1));
        assert!(!window.accept(u64::MAX - 1));
        assert!(!window.accept(0));
    }

    #[test]
    fn it_agrees_with_a_set() {
        let mut state = 1u64;
        let (mut window, mut seen, mut highest) = (Window::default(), std::collections::BTreeSet::new(), 0);
        for round in 0..20_000u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = round + (state >> 33) % 3000;
            let expected = highest <= number + SIZE && !seen.contains(&number);
            assert_eq!(window.accept(number), expected, "number {number} in round {round}");
            if expected {
                seen.insert(number);
                highest = highest.max(number + 1);
            }
        }
    }
}
