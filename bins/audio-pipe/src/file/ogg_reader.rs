//! Ogg Opus that is read page by page, also where some of it is missing or damaged.

use std::io::{self, Read};

use anyhow::{Context, Result, bail};
use codec::{Decoder, MAX_FRAME, RATE};
use edge::{Exit, WithExit};
use ogg::Packet;
use ogg::reading::{BasePacketReader, OggReadError, PageParser};

/// Of what is missing, so much is concealed, in samples; behind it there is silence.
const MOST_CONCEALED: u64 = 9600;
/// More than this is not made up in a file, in samples: ten minutes.
const MOST_MISSING: u64 = RATE as u64 * 600;

/// Decodes an Ogg Opus file page by page: only the page tells where its sound begins and ends.
pub(crate) struct OpusReader {
    input: Box<dyn Read + Send>,
    pages: BasePacketReader,
    page: Vec<Packet>,
    link: Option<Link>,
    channels: u8,
    ended: bool,
    /// The number of the last page of each stream at hand.
    last_page: Option<(u32, u32)>,
    /// Pages are missing before the one at hand.
    is_torn: bool,
    damage: Damage,
}

/// What was not there or not sound in a file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Damage {
    /// Places where something is wrong.
    pub(crate) places: u64,
    /// Samples that were made up there.
    pub(crate) samples: u64,
    /// It ended without a page that says so: there may have been more.
    pub(crate) is_cut: bool,
}

/// One stream of a file; files may be put behind each other.
struct Link {
    serial: u32,
    decoder: Decoder,
    gain: f32,
    has_tags: bool,
    has_end: bool,
    /// Samples still to be dropped at the start.
    skip: u64,
    /// Granule position at which the decoded sound begins, known after the first page.
    origin: Option<u64>,
    decoded: u64,
    /// Where the last page ended.
    granule: Option<u64>,
}

impl OpusReader {
    /// Reads up to the first sound.
    pub(crate) fn new(input: Box<dyn Read + Send>) -> Result<Self> {
        let pages = BasePacketReader::new();
        let mut reader = Self {
            input,
            pages,
            page: Vec::new(),
            link: None,
            channels: 0,
            ended: false,
            last_page: None,
            is_torn: false,
            damage: Damage::default(),
        };
        while reader.link.is_none() && reader.next_page()? {
            reader.start_link().exit(Exit::Data)?;
        }
        if reader.link.is_none() {
            return Err(anyhow::anyhow!("no sound is in it that is Ogg Opus")).exit(Exit::Data);
        }
        Ok(reader)
    }

    /// How many channels the sound has: one or two.
    pub(crate) fn channels(&self) -> u8 {
        self.channels
    }

    /// What was wrong so far.
    pub(crate) fn damage(&self) -> Damage {
        self.damage
    }

    /// Appends the sound of the next page, interleaved; `false` at the end.
    pub(crate) fn read(&mut self, out: &mut Vec<f32>) -> Result<bool> {
        if !self.next_page()? {
            return Ok(false);
        }
        self.start_link().exit(Exit::Data)?;
        self.decode_page(out).exit(Exit::Data)?;
        Ok(true)
    }

    fn start_link(&mut self) -> Result<()> {
        let Some(packet) = self.page.first().filter(|packet| packet.first_in_stream()) else {
            return if self.link.is_none() { bail!("not an Ogg Opus file: it has no header") } else { Ok(()) };
        };
        let &[
            b'O',
            b'p',
            b'u',
            b's',
            b'H',
            b'e',
            b'a',
            b'd',
            version,
            channels,
            s0,
            s1,
            _,
            _,
            _,
            _,
            g0,
            g1,
            family,
            ..,
        ] = packet.data.as_slice()
        else {
            bail!("an Ogg file without Opus in it");
        };
        if version >= 16 || family != 0 || !(1..=2).contains(&channels) {
            bail!("an Ogg Opus file of a kind that is not read here: version {version}, {channels} channels");
        }
        if self.channels == 0 {
            self.channels = channels;
        }
        self.link = Some(Link {
            serial: packet.stream_serial(),
            decoder: Decoder::with_channels(self.channels)?,
            gain: 10_f32.powf(f32::from(i16::from_le_bytes([g0, g1])) / (20.0 * 256.0)),
            has_tags: false,
            has_end: false,
            skip: u16::from_le_bytes([s0, s1]).into(),
            origin: None,
            decoded: 0,
            granule: None,
        });
        self.page.remove(0);
        Ok(())
    }

    fn decode_page(&mut self, out: &mut Vec<f32>) -> Result<()> {
        let channels = usize::from(self.channels);
        let Some(link) = &mut self.link else { return Ok(()) };
        self.page.retain(|packet| packet.stream_serial() == link.serial);
        if !link.has_tags && !self.page.is_empty() {
            self.page.remove(0);
            link.has_tags = true;
        }
        let Some(last) = self.page.last() else { return Ok(()) };
        let (granule, is_end) = (last.absgp_page(), last.last_in_stream());
        let samples: u64 = self.page.iter().filter_map(|p| codec::packet_samples(&p.data)).map(|n| n as u64).sum();
        link.has_end |= is_end;
        let origin = *link.origin.get_or_insert(if is_end { 0 } else { granule.saturating_sub(samples) });
        // Only the last page may end before its packets do (RFC 7845, section 4.5).
        let end = if is_end { granule.saturating_sub(origin) } else { u64::MAX };
        let mut block = vec![0.0; MAX_FRAME * channels];
        let before = link.granule.replace(granule).filter(|_| std::mem::take(&mut self.is_torn));
        let missing = before.map_or(0, |before| granule.saturating_sub(before).saturating_sub(samples));
        let missing = missing.min(MOST_MISSING.saturating_sub(self.damage.samples));
        link.make_up(missing, &mut block, (channels, end), out);
        self.damage.samples += missing;
        for packet in self.page.drain(..) {
            match link.decoder.decode(&packet.data, &mut block) {
                Ok(samples) => link.take(&block, samples as u64, (channels, end), out),
                Err(_) => {
                    let samples = codec::packet_samples(&packet.data).unwrap_or(0) as u64;
                    link.make_up(samples, &mut block, (channels, end), out);
                    self.damage.places += 1;
                    self.damage.samples += samples;
                }
            }
        }
        Ok(())
    }

    /// Collects the packets that end on the next page which ends any.
    fn next_page(&mut self) -> Result<bool> {
        self.page.clear();
        while self.page.is_empty() && !self.ended {
            let page = match read_page(&mut self.input, self.last_page.is_some())? {
                Next::Page(page, number) => {
                    self.note_number(number);
                    page
                }
                Next::Damaged => {
                    // What was in it is missing before the next one.
                    self.damage.places += 1;
                    continue;
                }
                Next::End => {
                    self.ended = true;
                    self.damage.is_cut = self.link.as_ref().is_some_and(|link| !link.has_end);
                    break;
                }
            };
            if let Err(error) = self.pages.push_page(page) {
                if self.link.is_none() {
                    return Err(broken(error)).exit(Exit::Data);
                }
                self.damage.places += 1;
                self.tear();
            }
            while let Some(packet) = self.pages.read_packet() {
                self.page.push(packet);
            }
        }
        Ok(!self.page.is_empty())
    }
}

impl OpusReader {
    /// Sees whether a page is missing before this one of a stream.
    fn note_number(&mut self, (serial, number): (u32, u32)) {
        let before = self.last_page.replace((serial, number)).filter(|before| before.0 == serial);
        if before.is_some_and(|before| before.1.wrapping_add(1) != number) {
            self.damage.places += 1;
            self.tear();
        }
    }

    fn tear(&mut self) {
        self.is_torn = true;
        self.pages.update_after_seek();
    }
}

impl Link {
    /// Appends what is heard of a block: not what is before the start, nor behind the end.
    fn take(&mut self, block: &[f32], samples: u64, (channels, end): (usize, u64), out: &mut Vec<f32>) {
        let kept = samples.min(end.saturating_sub(self.decoded));
        self.decoded += samples;
        let skipped = self.skip.min(kept);
        self.skip -= skipped;
        let kept = &block[skipped as usize * channels..kept as usize * channels];
        out.extend(kept.iter().map(|sample| sample * self.gain));
    }

    /// Appends what may have been there, for a moment, and silence behind that.
    fn make_up(&mut self, samples: u64, block: &mut [f32], bounds: (usize, u64), out: &mut Vec<f32>) {
        let mut done = 0;
        while done < samples {
            let some = (samples - done).min(960);
            let part = &mut block[..some as usize * bounds.0];
            if done >= MOST_CONCEALED || self.decoder.conceal(part).is_err() {
                part.fill(0.0);
            }
            self.take(part, some, bounds, out);
            done += some;
        }
    }
}

/// What comes next of a file.
enum Next {
    /// A page, the number of its stream and its own.
    Page(ogg::reading::OggPage, (u32, u32)),
    /// Something that is no sound page.
    Damaged,
    End,
}

/// Reads a page; once there was one, also behind what is none.
fn read_page(input: &mut impl Read, has_begun: bool) -> Result<Next> {
    let mut header = [0; 27];
    let Some(()) = read_whole(input, &mut header)? else { return Ok(Next::End) };
    if &header[..4] != b"OggS" {
        if !has_begun {
            return Err(anyhow::anyhow!("not an Ogg file")).exit(Exit::Data);
        }
        return Ok(if find_page(input, &mut header)? { read_rest(input, header)? } else { Next::End });
    }
    match read_rest(input, header)? {
        Next::Damaged if !has_begun => {
            Err(anyhow::anyhow!("not a sound Ogg file: its first page is damaged")).exit(Exit::Data)
        }
        read => Ok(read),
    }
}

/// Goes on to where a page begins, if there is one.
fn find_page(input: &mut impl Read, header: &mut [u8; 27]) -> Result<bool> {
    while &header[..4] != b"OggS" {
        let at = header[1..].iter().position(|byte| *byte == b'O').map_or(header.len(), |at| at + 1);
        header.copy_within(at.., 0);
        if read_whole(input, &mut header[27 - at..])?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_rest(input: &mut impl Read, header: [u8; 27]) -> Result<Next> {
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let number = (word(14), word(18));
    let Ok((mut parser, segments)) = PageParser::new(header) else { return Ok(Next::Damaged) };
    let mut table = vec![0; segments];
    let Some(()) = read_whole(input, &mut table)? else { return Ok(Next::End) };
    let mut body = vec![0; parser.parse_segments(table)];
    let Some(()) = read_whole(input, &mut body)? else { return Ok(Next::End) };
    Ok(parser.parse_packet_data(body).map_or(Next::Damaged, |page| Next::Page(page, number)))
}

/// A file that is cut short ends with its last whole page.
fn read_whole(input: &mut impl Read, bytes: &mut [u8]) -> Result<Option<()>> {
    match input.read_exact(bytes) {
        Ok(()) => Ok(Some(())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error).context("read the Ogg stream"),
    }
}

fn broken(error: OggReadError) -> anyhow::Error {
    anyhow::anyhow!("not a sound Ogg file: {error}")
}
