//! One stage of the processing, switched on and off without a click.

use crate::{BLOCK, Block};

/// A stage that has just been switched on hears this many blocks before it is heard: its filters fill.
const WARM_UP: u8 = 3;

/// What changes a block in place.
pub(crate) trait Treat {
    /// Changes one block; its output may lag behind its input.
    fn treat(&mut self, block: &mut Block);
}

/// A stage that may be there.
#[derive(Debug)]
pub(crate) struct Stage<T> {
    inner: Option<T>,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Is fed, but not heard yet, for so many blocks more.
    Warming(u8),
    Heard,
    /// Is heard for one more block, less and less.
    Leaving,
}

impl<T: Treat> Stage<T> {
    /// Without the stage.
    pub(crate) fn off() -> Self {
        Self { inner: None, state: State::Heard }
    }

    /// Whether it is wanted.
    pub(crate) fn is_on(&self) -> bool {
        self.inner.is_some() && self.state != State::Leaving
    }

    /// Whether there is nothing of it left.
    pub(crate) fn is_gone(&self) -> bool {
        self.inner.is_none()
    }

    /// Wants it, made by `make` if it is not there; or not any more.
    pub(crate) fn switch(&mut self, on: bool, make: impl FnOnce() -> T) {
        match (on, self.inner.is_some()) {
            (true, true) if self.state == State::Leaving => self.state = State::Heard,
            (true, false) => (self.inner, self.state) = (Some(make()), State::Warming(WARM_UP)),
            (false, true) if matches!(self.state, State::Warming(_)) => self.inner = None,
            (false, true) => self.state = State::Leaving,
            _ => {}
        }
    }

    /// What is in it.
    pub(crate) fn inner(&mut self) -> Option<&mut T> {
        self.inner.as_mut()
    }

    /// Passes a block through it. A stage that makes no sound of it is made anew, and the block stays as it was.
    pub(crate) fn treat(&mut self, block: &mut Block, make: impl FnOnce() -> T) {
        let Some(inner) = &mut self.inner else { return };
        let mut wet = *block;
        inner.treat(&mut wet);
        if !wet.iter().sum::<f32>().is_finite() {
            (*inner, self.state) = (make(), State::Warming(WARM_UP));
            return;
        }
        match self.state {
            State::Heard => *block = wet,
            State::Warming(0) => {
                blend(block, &wet);
                self.state = State::Heard;
            }
            State::Warming(blocks) => self.state = State::Warming(blocks - 1),
            State::Leaving => {
                let dry = *block;
                *block = wet;
                blend(block, &dry);
                self.inner = None;
            }
        }
    }
}

/// Goes over from what is in `block` to `next`.
fn blend(block: &mut Block, next: &Block) {
    for (n, (sample, next)) in block.iter_mut().zip(next).enumerate() {
        *sample += (next - *sample) * (n as f32 / BLOCK as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes everything this loud.
    struct Constant(f32);

    impl Treat for Constant {
        fn treat(&mut self, block: &mut Block) {
            block.fill(self.0);
        }
    }

    /// The first and last sample of so many blocks of ones.
    fn pass(stage: &mut Stage<Constant>, blocks: usize) -> Vec<(f32, f32)> {
        let one = |_| {
            let mut block = [1.0; BLOCK];
            stage.treat(&mut block, || Constant(0.5));
            (block[0], block[BLOCK - 1])
        };
        (0..blocks).map(one).collect()
    }

    #[test]
    fn it_is_heard_once_it_is_warm_and_then_comes_and_goes_by_degrees() {
        let mut stage = Stage::off();
        stage.switch(true, || Constant(0.0));
        assert_eq!(pass(&mut stage, 3), [(1.0, 1.0); 3]);
        let [(first, last), then] = pass(&mut stage, 2)[..] else { panic!("two blocks") };
        assert!(first == 1.0 && last < 0.01 && then == (0.0, 0.0), "{first} {last} {then:?}");

        stage.switch(false, || Constant(0.0));
        assert!(!stage.is_on());
        let [(first, last), then] = pass(&mut stage, 2)[..] else { panic!("two blocks") };
        assert!(first == 0.0 && last > 0.99 && then == (1.0, 1.0), "{first} {last} {then:?}");
    }

    #[test]
    fn one_that_makes_no_sound_of_it_is_replaced_and_nothing_of_it_is_heard() {
        let mut stage = Stage::off();
        stage.switch(true, || Constant(f32::NAN));
        assert_eq!(pass(&mut stage, 4), [(1.0, 1.0); 4]);
        assert_eq!(pass(&mut stage, 2)[1], (0.5, 0.5));
    }
}
