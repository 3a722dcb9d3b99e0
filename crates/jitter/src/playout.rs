//! Which sound comes next: a frame, its copy, what the packet after it or a later one says of it, made-up sound, or silence.

mod gaps;

use crate::{
    Decode,
    moment::Moment,
    pcm::{FADE, Pcm},
    resample::LOOK_AHEAD,
    store::{CAPACITY, Head, Store},
    stretch::{self, Stretched, Urgency},
};

/// Sound is decoded in such pieces where it is not a frame: 10 ms.
const PIECE: usize = 480;
/// Sound older than this is not played when a long outage ends: 400 ms.
const CATCH_UP: i64 = 19_200;
/// Nothing is stretched for this long after a talkspurt began: 30 ms.
const ONSET: i64 = 1440;
/// Nothing is shortened for this long after sound was missing: 300 ms.
const CALM: i64 = 14_400;
/// A smaller surplus waits for silence until it has cost this much, in samples of delay times samples of time, before
/// voice is shortened: 10 ms for 3/4 s.
const PATIENCE: i64 = 480 * 36_000;
/// Resampling begins when the delay is this close to what it needs: 1 ms.
const TOLERANCE: i64 = 48;
/// A surplus of this much is taken from less suitable sound as well: 40 ms.
const URGENT: i64 = 1920;

/// What happened to frames; only grows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) late: u64,
    pub(crate) undecodable: u64,
    pub(crate) from_copy: u64,
    pub(crate) from_next: u64,
    pub(crate) deep: u64,
    pub(crate) concealed: u64,
    pub(crate) played: u64,
    pub(crate) shortened: u64,
    pub(crate) stretched: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing to play, or not yet.
    Silent,
    Playing,
}

#[derive(Debug)]
pub(crate) struct Playout<D> {
    decoder: D,
    store: Store,
    pcm: Pcm,
    state: State,
    /// The frame that comes next; `None` before the first.
    next: Option<i64>,
    has_played: bool,
    /// Media time at the end of `pcm`.
    end: i64,
    /// How much sound at the end of `pcm` is made up.
    missed: usize,
    /// The last frame was the last before silence.
    is_ended: bool,
    /// Samples in the last frame.
    frame: usize,
    late_run: u32,
    is_resampling: bool,
    /// Sound is late by an outage, and played faster until it is not.
    is_catching_up: bool,
    /// Samples that were made up, and not taken back before they were heard.
    made_up: u64,
    /// Samples to play before sound is stretched again; before it is shortened again.
    rest: i64,
    calm: i64,
    /// What the delay has cost since it is too long: samples of it times samples of time.
    wasted: i64,
    pub(crate) counts: Counts,
}

impl<D: Decode> Playout<D> {
    pub(crate) fn new(decoder: D) -> Self {
        Self {
            decoder,
            store: Store::new(),
            pcm: Pcm::new(),
            state: State::Silent,
            next: None,
            has_played: false,
            end: 0,
            missed: 0,
            is_ended: true,
            frame: PIECE,
            late_run: 0,
            is_resampling: false,
            is_catching_up: false,
            made_up: 0,
            rest: 0,
            calm: 0,
            wasted: 0,
            counts: Counts::default(),
        }
    }

    /// Another stream begins.
    pub(crate) fn restart(&mut self) {
        self.decoder.reset(self.pcm.channels());
        self.store.clear();
        self.pcm.fade_out();
        self.state = State::Silent;
        (self.next, self.has_played, self.is_ended, self.missed) = (None, false, true, 0);
    }

    /// How many channels the sound has.
    pub(crate) fn channels(&self) -> usize {
        self.pcm.channels()
    }

    /// What comes is decoded to so many channels. A decoder can't be turned from one to the other: what it remembers is
    /// forgotten, which is heard a little in the middle of a stream, and happens there at most once.
    pub(crate) fn reshape(&mut self, channels: usize) {
        if channels != self.pcm.channels() {
            self.decoder.reset(channels);
            self.pcm.reshape(channels);
        }
    }

    /// Takes a frame or a copy of one. False if it is of no use any more.
    pub(crate) fn put(&mut self, frame: Head, opus: &[u8]) -> bool {
        let next = *self.next.get_or_insert(frame.seq);
        if frame.seq < next {
            if self.has_played || frame.is_copy {
                self.counts.late += u64::from(!frame.is_copy);
                return false;
            }
            self.next = Some(frame.seq);
        }
        if frame.seq >= next + CAPACITY {
            self.next = Some(frame.seq);
        }
        if self.next != Some(next) {
            self.store.keep_from(frame.seq);
        }
        self.store.put(frame, opus)
    }

    /// Whether there is nothing to play and nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Silent && self.store.is_empty()
    }

    /// Bytes of memory that hold frames and sound.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.store.room() + self.pcm.room()
    }

    /// How long the sound read next waited, beyond the network at its fastest.
    pub(crate) fn delay(&self, moment: &Moment<'_>) -> Option<i64> {
        let is_known = self.state == State::Playing && self.missed == 0;
        is_known.then(|| moment.live - (self.end - self.pcm.ahead() as i64))
    }

    /// Fills `out`, interleaved; `ratio` is the number of our samples for one of it, `None` if exactly one. False if all is silence.
    pub(crate) fn pull(&mut self, out: &mut [f32], moment: &Moment<'_>, ratio: Option<f64>) -> bool {
        if self.state == State::Silent && !self.begin(moment) && self.pcm.ahead() == 0 {
            self.is_resampling = false;
            self.pcm.drop_phase();
            out.fill(0.0);
            return false;
        }
        let len = out.len() / self.pcm.channels();
        let need = len + if self.is_resampling { LOOK_AHEAD } else { 0 };
        self.fill(need, moment);
        self.adjust(need, moment);
        self.fill(need, moment);
        // Once there is sound to spare it begins, and goes on until silence: to stop would be heard.
        self.is_resampling |= ratio.is_some()
            && self.pcm.ahead() >= len + LOOK_AHEAD
            && self.delay(moment).is_some_and(|delay| delay >= moment.goal() - TOLERANCE);
        let short = (len + if self.is_resampling { LOOK_AHEAD } else { 0 }).saturating_sub(self.pcm.ahead());
        self.pcm.append(short);
        if self.is_resampling {
            self.pcm.read_resampled(out, ratio.unwrap_or(1.0));
        } else {
            self.pcm.read(out);
        }
        self.rest -= len as i64;
        self.calm -= len as i64;
        self.counts.played += len as u64;
        let heard = self.made_up.saturating_sub(self.missed.min(self.pcm.ahead()) as u64);
        self.counts.concealed = heard.max(self.counts.concealed);
        if self.state == State::Silent && short > 0 {
            self.pcm.truncate(usize::MAX);
        }
        true
    }

    /// Starts to play if the first frame that waits has waited long enough.
    fn begin(&mut self, moment: &Moment<'_>) -> bool {
        let Some(next) = self.next else { return false };
        let Some(newest) = self.store.newest_time() else { return false };
        let mut first = self.store.first_from(next);
        while let Some(frame) = first.filter(|frame| newest - frame.time > CATCH_UP) {
            self.store.drop_one(frame.seq);
            first = self.store.first_from(next);
        }
        let Some(frame) = first else { return false };
        let (seq, start) = self.onset(&frame, next);
        if !moment.is_due(start, frame.shape.samples as i64) {
            return false;
        }
        self.pcm.truncate(usize::MAX);
        self.pcm.drop_phase();
        (self.next, self.end) = (Some(seq), start);
        (self.state, self.has_played, self.is_ended) = (State::Playing, true, false);
        (self.late_run, self.rest) = (0, ONSET);
        true
    }

    fn fill(&mut self, need: usize, moment: &Moment<'_>) {
        while self.state == State::Playing && self.pcm.ahead() < need {
            self.step(moment);
        }
    }

    fn step(&mut self, moment: &Moment<'_>) {
        let next = self.next.expect("what plays has a next frame");
        match self.store.first_from(next) {
            Some(frame) if self.rewind(&frame) => {}
            Some(frame) if frame.seq == next => self.play(frame, moment),
            Some(frame) => self.bridge(frame),
            None if self.is_ended => self.fall_silent(),
            None => self.conceal(PIECE),
        }
    }

    /// Plays the frame that is next, late or not.
    fn play(&mut self, frame: Head, moment: &Moment<'_>) {
        let is_estimate = frame.is_copy && self.missed == 0 && !self.is_ended;
        let gap = if is_estimate { 0 } else { frame.time - self.end };
        if gap > 0 {
            return self.fall_silent(); // the sender was silent, and begins again when it is time
        }
        let len = frame.shape.samples;
        let is_late = gap < 0 && self.missed > 0;
        let skip = if is_late { self.late(-gap, moment).min(len) } else { 0 };
        let before = (is_late || self.missed > gaps::HOLD).then(|| self.continuation());
        self.decode(frame.seq, len);
        self.pcm.cut(len, skip);
        if let Some(before) = before {
            self.pcm.blend(&before[..FADE * self.pcm.channels()], len - skip);
        }
        self.late_run = if is_late { self.late_run } else { 0 };
        self.counts.from_copy += u64::from(frame.is_copy);
        let start = if is_estimate || skip > 0 { self.end - skip as i64 } else { frame.time };
        self.end = start + len as i64;
        (self.missed, self.is_ended, self.frame) = (0, frame.ends(), len);
        self.store.drop_one(frame.seq);
        self.next = Some(frame.seq + 1);
    }

    fn fall_silent(&mut self) {
        self.pcm.fade_out();
        self.state = State::Silent;
    }

    fn decode(&mut self, seq: i64, len: usize) {
        let channels = self.pcm.channels();
        let out = self.pcm.append(len);
        if self.decoder.decode(self.store.opus(seq), out).is_err() {
            gaps::conceal_all(&mut self.decoder, out, channels);
            self.counts.undecodable += 1;
            self.made_up += len as u64;
        }
    }

    /// Moves the delay towards the target by stretching what is about to be read.
    fn adjust(&mut self, need: usize, moment: &Moment<'_>) {
        if self.state != State::Playing {
            return;
        }
        let ahead = self.pcm.ahead() as i64;
        let wish = moment.wish(self.end - ahead, ahead, self.frame as i64).min(CATCH_UP);
        let is_long = wish >= stretch::SHORTEST as i64;
        self.wasted = if is_long { self.wasted + wish * need as i64 } else { 0 };
        self.is_catching_up &= wish > URGENT;
        if self.rest > 0 {
            return;
        }
        if wish < 0 {
            self.stretch(wish, Urgency::Anywhere);
        } else if is_long && (self.calm <= 0 || self.is_catching_up) && self.missed == 0 {
            self.read_ahead(need.max(stretch::MARGIN) + wish as usize);
            let spare = self.pcm.ahead().saturating_sub(need) as i64;
            let urgency = match () {
                () if wish > URGENT => Urgency::Anywhere,
                () if self.wasted > PATIENCE => Urgency::InVoice,
                () => Urgency::InSilence,
            };
            self.stretch(wish.min(spare), urgency);
        }
    }

    fn stretch(&mut self, wish: i64, urgency: Urgency) {
        let Stretched { by, in_silence } = stretch::stretch(&mut self.pcm, wish as isize, urgency);
        let by = by as i64;
        if by != 0 && !in_silence {
            // At most 12 % faster, 25 % to catch up, or 6 % slower.
            let percent = if self.is_catching_up { 25 } else { 12 };
            self.rest = if by > 0 { by * 100 / percent } else { -by * 100 / 6 };
        }
        self.counts.shortened += u64::from(by > 0);
        self.counts.stretched += u64::from(by < 0);
    }

    /// Decodes frames that follow without a gap, until `len` samples are ahead.
    fn read_ahead(&mut self, len: usize) {
        while self.pcm.ahead() < len && !self.is_ended {
            let next = self.next.expect("what plays has a next frame");
            let Some(frame) = self.store.head(next) else {
                // After an outage, what is caught up with is what a later packet tells.
                let is_deep = self.store.first_from(next).is_some_and(|frame| self.play_deep(&frame));
                if is_deep { continue } else { return }
            };
            if frame.time != self.end {
                return;
            }
            self.decode(next, frame.shape.samples);
            self.end += frame.shape.samples as i64;
            (self.is_ended, self.frame) = (frame.ends(), frame.shape.samples);
            self.counts.from_copy += u64::from(frame.is_copy);
            self.store.drop_one(next);
            self.next = Some(next + 1);
        }
    }
}
