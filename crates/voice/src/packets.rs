//! From frames of sound to packets of the voice lane.

use std::collections::VecDeque;
use std::time::Duration;

use codec::{Encoder, Error};
use wire::voice::{Copy, Flags, Frame, MAX_PACKET, MediaTime, Voice};

use crate::Encoding;

/// Samples of one unit of [`MediaTime`].
const UNIT: u64 = 120;
/// How many frames back a copy may be.
const KEPT: usize = 8;
/// While muted, or behind a closed gate, one packet goes out per so many samples: it says that somebody is still there.
const SILENT_GAP: u64 = 400 * 48;

/// What is in a packet beside the sound of its frame, at most, without copies: `wire::voice` tells what.
const HEAD: usize = 12;

/// Blocks of this length can go alone or two together: 10 ms.
const SHORT: usize = 480;

/// Encodes block after block of one stream.
#[derive(Debug)]
pub struct Packetizer {
    encoder: Encoder,
    /// What the encoder was told.
    encoding: Option<Encoding>,
    /// Samples of a block, and the channels that it has.
    block: usize,
    channels: usize,
    /// What was heard and not encoded yet: nothing, or the first block of a long frame.
    waiting: Vec<f32>,
    stream: u8,
    seq: u16,
    /// Whether the next packet begins a talkspurt.
    starts: bool,
    muted: bool,
    closed: bool,
    silent: bool,
    /// What every packet tells besides, and what the last one told.
    marks: Flags,
    told: Flags,
    /// Where the last packet of a silent time was.
    silent_at: u64,
    next: u64,
    level: u8,
    /// The packet of the last frame.
    opus: Vec<u8>,
    /// It and those before it, as copies.
    sent: VecDeque<Vec<u8>>,
    head: Option<Head>,
}

/// What goes before the sound of the frame at hand.
#[derive(Clone, Copy, Debug)]
struct Head {
    seq: u16,
    time: MediaTime,
    flags: Flags,
    level: u8,
}

impl Packetizer {
    /// A stream that begins with the next frame.
    pub fn new(mut encoder: Encoder, stream: u8) -> Self {
        encoder.limit(MAX_PACKET - HEAD);
        Self {
            block: encoder.frame(),
            channels: encoder.channels(),
            encoder,
            encoding: None,
            waiting: Vec::new(),
            stream,
            seq: 0,
            starts: true,
            muted: false,
            closed: false,
            silent: false,
            marks: Flags::default(),
            told: Flags::default(),
            silent_at: 0,
            next: 0,
            level: 127,
            opus: Vec::new(),
            sent: VecDeque::with_capacity(KEPT + 1),
            head: None,
        }
    }

    /// The samples of the blocks that are to be pushed, of each channel.
    pub fn block(&self) -> usize {
        self.block
    }

    /// How many channels they have: one, or two that are interleaved.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Encodes what comes next as a plan says. Only blocks of 10 ms can become longer frames.
    ///
    /// # Errors
    /// What the encoder says of it.
    pub fn follow(&mut self, encoding: &Encoding) -> Result<(), Error> {
        let before = self.encoding.replace(*encoding);
        if before.is_none_or(|before| before.bitrate != encoding.bitrate) {
            self.encoder.set_bitrate(encoding.bitrate)?;
        }
        if before.is_none_or(|before| before.complexity != encoding.complexity) {
            self.encoder.set_complexity(encoding.complexity)?;
        }
        if before.is_none_or(|before| before.expected_loss != encoding.expected_loss) {
            self.encoder.set_expected_loss(encoding.expected_loss)?;
        }
        if before.is_none_or(|before| before.deep != encoding.deep) {
            self.encoder.set_deep(encoding.deep)?;
        }
        Ok(())
    }

    /// How many samples what is decoded lags behind what was pushed.
    pub fn lookahead(&self) -> usize {
        self.encoder.lookahead()
    }

    /// The level of the last frame in -dBov.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Sets what every packet tells besides, such as [`Flags::DEAFENED`]; a change is told at once, also while muted.
    pub fn mark(&mut self, marks: Flags) {
        self.marks = marks;
    }

    /// From the next block on a gate is closed, or not: a closed one lets through no more than a muted microphone, but does
    /// not say that it is muted.
    pub fn close(&mut self, is_closed: bool) {
        self.closed = is_closed;
    }

    /// Whether a keep-alive would go with a silent block whose first sample is number `at`.
    pub fn is_keepalive_due(&self, at: u64) -> bool {
        self.silent && at >= self.silent_at + SILENT_GAP
    }

    /// The number of the first sample that was not sent yet.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes the block whose first sample is number `at`; whether there is something to send.
    ///
    /// # Errors
    /// What the encoder says of it.
    pub fn push(&mut self, frame: &mut [f32], at: u64, muted: bool, last: bool) -> Result<bool, Error> {
        let is_news = std::mem::replace(&mut self.muted, muted) != muted;
        let silent = muted || self.closed;
        let switched = std::mem::replace(&mut self.silent, silent) != silent;
        match (silent, switched) {
            (true, true) if self.head.is_some() => fade(frame, self.channels, |part| 1.0 - part),
            (true, _) => frame.fill(0.0),
            (false, true) => fade(frame, self.channels, |part| part),
            (false, false) => {}
        }
        let has_news = switched || is_news || self.marks != self.told;
        if silent && !has_news && !last && at < self.silent_at + SILENT_GAP {
            self.level = 127;
            return Ok(false);
        }
        let goes_on = at == self.next;
        if !goes_on && !self.waiting.is_empty() {
            // The block that waits for this one is a frame of its own, unless nothing may come after this one.
            if !silent && !last {
                self.encode(Flags::default())?;
                self.begin(frame, at);
                return Ok(true);
            }
            self.waiting.clear();
        }
        self.begin(frame, at);
        let is_whole = self.waiting.len() > self.block * self.channels || !self.is_long();
        if !is_whole && !silent && !last {
            return Ok(false);
        }
        let mut flags = Flags::default();
        if silent {
            flags = flags.with(Flags::TALKSPURT_END);
            self.silent_at = at;
        }
        if muted {
            flags = flags.with(Flags::MUTED);
        }
        if last {
            flags = flags.with(Flags::STREAM_END).with(Flags::TALKSPURT_END);
        }
        self.encode(flags)?;
        self.starts = silent;
        Ok(true)
    }

    fn is_long(&self) -> bool {
        self.block == SHORT && self.encoding.is_some_and(|encoding| encoding.is_long)
    }

    /// Puts a block to what waits.
    fn begin(&mut self, block: &[f32], at: u64) {
        if self.waiting.is_empty() {
            // After a gap, also one that was slept through, the receiver may set its delay anew.
            self.starts |= at != self.next;
        }
        self.waiting.extend_from_slice(block);
        self.next = at + (block.len() / self.channels) as u64;
    }

    /// Makes a frame of what waits.
    fn encode(&mut self, flags: Flags) -> Result<(), Error> {
        let mut flags = flags.with(self.marks);
        self.told = self.marks;
        if std::mem::take(&mut self.starts) {
            flags = flags.with(Flags::TALKSPURT_START);
            self.sent.clear(); // what was before the gap is not this many frames back in time
        }
        let len = self.waiting.len() / self.channels;
        self.level = if self.silent { 127 } else { codec::level(&self.waiting) };
        let time = MediaTime(((self.next - len as u64) / UNIT) as u32);
        self.head = Some(Head { seq: self.seq, time, flags, level: self.level });
        self.seq = self.seq.wrapping_add(1);
        self.encoder.set_frame(Duration::from_micros(len as u64 * 1_000_000 / u64::from(codec::RATE)))?;
        let opus = self.encoder.encode(&self.waiting)?;
        self.opus.clear();
        self.opus.extend_from_slice(opus);
        let mut copy = if self.sent.len() > KEPT { self.sent.pop_back() } else { None }.unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(opus);
        // What a packet tells of the time before it is told by the next ones as well.
        codec::strip(&mut copy)?;
        self.sent.push_front(copy);
        self.waiting.clear();
        Ok(())
    }

    /// The packet of the last frame, with copies of so many frames back as fit.
    pub fn packet(&self, backs: &[u8]) -> Option<Vec<u8>> {
        let Head { seq, time, flags, level } = self.head?;
        let opus = &self.opus;
        let copy = |back: &u8| self.sent.get(usize::from(*back)).map(|opus| Copy { back: *back, opus });
        let copies = backs.iter().filter_map(copy).collect();
        let bytes = Voice::Frame(Frame { stream: self.stream, seq, time, flags, level, opus, copies }).to_bytes();
        if bytes.len() > MAX_PACKET && !backs.is_empty() { self.packet(&[]) } else { Some(bytes) }
    }
}

/// Scales a frame by what `gain` says for the part of the first 5 ms that has passed.
fn fade(frame: &mut [f32], channels: usize, gain: impl Fn(f32) -> f32) {
    let len = (frame.len() / channels).min(240);
    for (n, sample) in frame.chunks_exact_mut(channels).enumerate() {
        let gain = gain((n as f32 / len as f32).min(1.0));
        sample.iter_mut().for_each(|value| *value *= gain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packetizer() -> Packetizer {
        Packetizer::new(Encoder::new(codec::Settings::default()).expect("an encoder"), 7)
    }

    /// Sends a loud frame and tells the flags and number of the packet that comes of it, if one does.
    fn push(packets: &mut Packetizer, n: u64, muted: bool, last: bool) -> Option<(u16, u32, Flags)> {
        let mut frame = [0.3; 480];
        if !packets.push(&mut frame, n * 480, muted, last).expect("a frame") {
            return None;
        }
        let bytes = packets.packet(&[]).expect("a packet");
        let Ok(Voice::Frame(frame)) = Voice::from_bytes(&bytes) else { panic!("not a frame") };
        assert_eq!(frame.stream, 7);
        Some((frame.seq, frame.time.0, frame.flags))
    }

    #[test]
    fn numbers_and_time_go_on_and_the_ends_are_marked() {
        let mut packets = packetizer();
        let end = Flags::STREAM_END.with(Flags::TALKSPURT_END);
        assert_eq!(push(&mut packets, 0, false, false), Some((0, 0, Flags::TALKSPURT_START)));
        assert_eq!(push(&mut packets, 1, false, false), Some((1, 4, Flags::default())));
        assert_eq!(push(&mut packets, 2, false, true), Some((2, 8, end)));
    }

    #[test]
    fn time_that_was_slept_through_begins_a_talkspurt() {
        let mut packets = packetizer();
        push(&mut packets, 0, false, false);
        assert_eq!(push(&mut packets, 100, false, false), Some((1, 400, Flags::TALKSPURT_START)));
    }

    #[test]
    fn mute_fades_out_then_says_so_now_and_then_and_unmute_begins_a_talkspurt() {
        let mut packets = packetizer();
        let muted = Flags::MUTED.with(Flags::TALKSPURT_END);
        push(&mut packets, 0, false, false);
        assert_eq!(push(&mut packets, 1, true, false), Some((1, 4, muted)));
        assert!((2..41).all(|n| push(&mut packets, n, true, false).is_none()));
        assert_eq!(push(&mut packets, 41, true, false), Some((2, 164, muted.with(Flags::TALKSPURT_START))));
        assert_eq!(push(&mut packets, 42, false, false), Some((3, 168, Flags::TALKSPURT_START)));
        push(&mut packets, 43, false, false);
        assert_eq!(packets.level(), 10);
    }

    #[test]
    fn marks_are_on_every_packet_and_their_change_is_told_at_once() {
        let mut packets = packetizer();
        let muted = Flags::MUTED.with(Flags::TALKSPURT_END);
        packets.mark(Flags::RECORDING);
        assert_eq!(
            push(&mut packets, 0, false, false).map(|sent| sent.2),
            Some(Flags::RECORDING.with(Flags::TALKSPURT_START))
        );
        push(&mut packets, 1, true, false);
        assert_eq!(push(&mut packets, 2, true, false), None);
        packets.mark(Flags::DEAFENED);
        assert_eq!(push(&mut packets, 3, true, false).map(|sent| sent.2.has(muted.with(Flags::DEAFENED))), Some(true));
        assert_eq!(push(&mut packets, 4, true, false), None);
    }

    #[test]
    fn a_muted_microphone_lets_nothing_through() {
        let mut packets = packetizer();
        let mut frame = [0.5; 480];
        packets.push(&mut frame, 0, false, false).expect("a frame");
        packets.push(&mut frame, 480, true, false).expect("a frame");
        assert_eq!((frame[0], frame[240..].iter().sum::<f32>()), (0.5, 0.0));
        let mut frame = [0.5; 480];
        packets.push(&mut frame, 960, true, false).expect("a frame");
        assert_eq!(frame, [0.0; 480]);
    }

    fn music(frame: Duration, bitrate: u32) -> Packetizer {
        let settings = codec::Settings {
            mode: codec::Mode::Music,
            channels: 2,
            bitrate,
            frame,
            expected_loss: None,
            ..codec::Settings::default()
        };
        Packetizer::new(Encoder::new(settings).expect("an encoder"), 7)
    }

    #[test]
    fn two_channels_take_the_time_of_one_and_fade_together() {
        let mut packets = music(Duration::from_millis(10), 128_000);
        assert_eq!((packets.block(), packets.channels()), (480, 2));
        let mut push = |n: u64, muted| {
            let mut frame = [0.4, -0.2].repeat(480);
            let is_sent = packets.push(&mut frame, n * 480, muted, false).expect("a frame");
            let bytes = packets.packet(&[]).filter(|_| is_sent);
            let read = |bytes: &Vec<u8>| {
                let Ok(Voice::Frame(frame)) = Voice::from_bytes(bytes) else { panic!("not a frame") };
                (frame.seq, frame.time.0, frame.opus[0] & 4, codec::packet_samples(frame.opus))
            };
            (bytes.as_ref().map(read), frame)
        };
        assert_eq!(push(0, false).0, Some((0, 0, 4, Some(480))));
        let (sent, faded) = push(1, true);
        assert_eq!(sent, Some((1, 4, 4, Some(480))));
        assert!(faded.chunks_exact(2).all(|sample| sample[0] == -2.0 * sample[1]), "both by one gain");
        assert_eq!((faded[0], faded[2 * 120], faded[2 * 240]), (0.4, 0.2, 0.0));
        assert_eq!(push(2, true).0, None);
    }

    #[test]
    fn blocks_of_two_channels_go_two_together_as_well() {
        let mut packets = music(Duration::from_millis(10), 128_000);
        packets.follow(&long(true)).expect("settings");
        let mut frame = [0.1; 960];
        assert!(!packets.push(&mut frame, 0, false, false).expect("a frame"));
        assert!(packets.push(&mut frame, 480, false, false).expect("a frame"));
        assert_eq!((codec::packet_samples(&packets.opus), packets.next()), (Some(960), 960));
    }

    #[test]
    fn whatever_the_bitrate_a_packet_fits_a_datagram() {
        for (millis, bits) in [(10, 510_000), (20, 510_000), (60, 256_000)] {
            let mut packets = music(Duration::from_millis(millis), bits);
            let mut random = 1_u64;
            for n in 0..20 {
                let mut frame: Vec<f32> = (0..2 * packets.block())
                    .map(|_| {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        (random >> 40) as f32 / 16_777_216.0 - 0.5
                    })
                    .collect();
                packets.push(&mut frame, n * packets.block() as u64, false, false).expect("a frame");
                let bytes = packets.packet(&[2, 4]).expect("a packet");
                assert!(bytes.len() <= MAX_PACKET, "{} bytes of {millis} ms at {bits} b/s", bytes.len());
            }
        }
    }

    fn long(is_long: bool) -> Encoding {
        Encoding { bitrate: 34_000, is_long, complexity: 9, expected_loss: 10, deep: Duration::ZERO }
    }

    #[test]
    fn two_blocks_go_together_as_long_as_the_plan_says_so_and_the_switch_is_live() {
        let mut packets = packetizer();
        let mut seen = Vec::new();
        for n in 0..8 {
            packets.follow(&long((1..6).contains(&n))).expect("settings");
            if let Some((seq, time, _)) = push(&mut packets, n, false, false) {
                let samples = codec::packet_samples(&packets.opus).expect("a packet");
                seen.push((seq, time, samples));
            }
        }
        assert_eq!(seen, [(0, 0, 480), (1, 4, 960), (2, 12, 960), (3, 20, 960), (4, 28, 480)]);
    }

    #[test]
    fn a_block_that_waits_is_sent_alone_when_the_next_one_is_somewhere_else_or_muted_or_the_last() {
        let mut packets = packetizer();
        packets.follow(&long(true)).expect("settings");
        assert_eq!(push(&mut packets, 0, false, false), None);
        assert_eq!(push(&mut packets, 100, false, false), Some((0, 0, Flags::TALKSPURT_START)));
        let muted = Flags::MUTED.with(Flags::TALKSPURT_END);
        assert_eq!(push(&mut packets, 101, true, false), Some((1, 400, muted.with(Flags::TALKSPURT_START))));
        assert_eq!(push(&mut packets, 102, false, false), None);
        let end = Flags::STREAM_END.with(Flags::TALKSPURT_END).with(Flags::TALKSPURT_START);
        assert_eq!(push(&mut packets, 103, false, true), Some((2, 408, end)));
        assert_eq!(codec::packet_samples(&packets.opus), Some(960));
    }

    #[test]
    fn a_copy_has_no_deep_redundancy_for_the_packets_have_it() {
        let mut packets = packetizer();
        let deep = Encoding {
            bitrate: 48_000,
            is_long: true,
            complexity: 9,
            expected_loss: 25,
            deep: Duration::from_millis(500),
        };
        packets.follow(&deep).expect("settings");
        for n in 0..200 {
            let mut frame: Vec<f32> = (0..480).map(|i| ((n * 480 + i) as f32 / 40.0).sin() * 0.3).collect();
            packets.push(&mut frame, n * 480, false, false).expect("a frame");
        }
        assert!(packets.sent[0].len() + 20 < packets.opus.len(), "{} {}", packets.sent[0].len(), packets.opus.len());
    }

    #[test]
    fn a_closed_gate_is_silent_without_being_muted_and_mute_is_told_behind_it() {
        let mut packets = packetizer();
        let (end, both) = (Flags::TALKSPURT_END, Flags::TALKSPURT_START.with(Flags::TALKSPURT_END));
        packets.close(true);
        let mut frame = [0.5; 480];
        assert!(packets.push(&mut frame, 0, false, false).expect("a frame"));
        assert_eq!((frame, packets.level()), ([0.0; 480], 127), "nothing of what was heard before the gate opened");
        assert_eq!(push(&mut packets, 1, false, false), None);
        assert_eq!(push(&mut packets, 2, true, false), Some((1, 8, both.with(Flags::MUTED))));
        assert_eq!(push(&mut packets, 3, true, false), None);
        assert_eq!(push(&mut packets, 4, false, false), Some((2, 16, both)));
        packets.close(false);
        assert_eq!(push(&mut packets, 5, false, false), Some((3, 20, Flags::TALKSPURT_START)));
        packets.close(true);
        assert_eq!(push(&mut packets, 6, false, false), Some((4, 24, end)));
        assert!((7..46).all(|n| push(&mut packets, n, false, false).is_none()));
        assert!(packets.is_keepalive_due(46 * 480) && packets.next() == 7 * 480);
        assert_eq!(push(&mut packets, 46, false, false), Some((5, 184, both)));
    }

    #[test]
    fn copies_are_the_packets_that_were_sent() {
        let mut packets = packetizer();
        let mut plain = Vec::new();
        for n in 0..6 {
            push(&mut packets, n, false, false);
            plain.push(packets.sent[0].clone());
        }
        let bytes = packets.packet(&[2, 4]).expect("a packet");
        let Ok(Voice::Frame(frame)) = Voice::from_bytes(&bytes) else { panic!("not a frame") };
        let copies: Vec<_> = frame.copies.iter().map(|copy| (copy.back, copy.opus.to_vec())).collect();
        assert_eq!(copies, [(2, plain[3].clone()), (4, plain[1].clone())]);
    }
}
