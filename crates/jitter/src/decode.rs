/// What a speaker needs of a decoder: 48 kHz, with the state of one stream, in one channel until [`Decode::reset`] says otherwise.
///
/// Two channels are interleaved. A packet of one channel is then heard in both, and of two where there is one, their mean.
pub trait Decode {
    /// Decodes one packet into `out`, which is as long as the packet says it is, and tells the samples of each channel.
    ///
    /// # Errors
    /// [`Undecodable`] if the decoder refuses the packet; the frame is then concealed.
    fn decode(&mut self, opus: &[u8], out: &mut [f32]) -> Result<usize, Undecodable>;

    /// Decodes what `next`, the packet after a lost one, carries of the lost one (LBRR), as long as `out`.
    ///
    /// # Errors
    /// [`Undecodable`] if it carries nothing; the frame is then concealed.
    fn decode_fec(&mut self, next: &[u8], out: &mut [f32]) -> Result<usize, Undecodable>;

    /// How many samples before the packet `later` that tells of (DRED).
    fn deep_reach(&mut self, later: &[u8]) -> usize;

    /// Fills `out`, a multiple of 2.5 ms and at most 10 ms long, with the sound that began `before` samples before the
    /// packet `later`, from what that tells of it.
    ///
    /// # Errors
    /// [`Undecodable`] if it tells nothing of that time; the frame is then concealed.
    fn decode_deep(&mut self, later: &[u8], before: usize, out: &mut [f32]) -> Result<usize, Undecodable>;

    /// Makes up sound in place of a lost frame; `out` is a multiple of 2.5 ms long, at most 10 ms.
    fn conceal(&mut self, out: &mut [f32]);

    /// Forgets all that was decoded: another stream begins, which is to be heard in so many channels, 1 or 2.
    fn reset(&mut self, channels: usize);
}

/// A decoder refused a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the packet does not decode")]
pub struct Undecodable;
