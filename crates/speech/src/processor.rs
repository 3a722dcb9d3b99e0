use std::time::Duration;

use crate::activity::Activity;
use crate::apm::{Apm, BOTH_DELAY, ECHO_DELAY, NOISE_DELAY};
use crate::gain::Gain;
use crate::rnn::Rnn;
use crate::settings::{Gate, Noise, Settings};
use crate::stage::Stage;
use crate::tail::Tail;
use crate::talkspurt::Talkspurt;
use crate::{BLOCK, Block, RATE, power};

/// By how much the network's output lags behind its input, in samples.
const RNN_DELAY: usize = BLOCK;
/// Below this power the loudspeaker is silent: -60 dBFS.
const SILENCE: f32 = 1e-6;
/// For so many blocks after the loudspeaker fell silent the microphone may hear its echo: 300 ms.
const ECHO_TAIL: u32 = 30;

/// What was found in some sound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verdict {
    /// How sure it is that somebody speaks, from 0 to 1; 0 if nothing depends on it, so that nobody listens.
    pub score: f32,
    /// Whether somebody speaks, or has just spoken.
    pub is_voice: bool,
    /// Whether the gate lets it through.
    pub is_open: bool,
}

/// All that is done to one voice.
#[derive(Debug)]
pub struct Processor {
    settings: Settings,
    is_key_down: bool,
    echo: Stage<Apm>,
    /// The canceller takes noise away as well.
    has_noise: bool,
    tail: Tail,
    apm: Stage<Apm>,
    rnn: Stage<Rnn>,
    gain: Stage<Gain>,
    activity: Option<Activity>,
    talkspurt: Talkspurt,
    /// Blocks for which the loudspeaker may still be heard.
    far: u32,
}

impl Processor {
    /// One that has heard nothing yet.
    pub fn new(settings: Settings) -> Self {
        let mut processor = Self {
            settings,
            is_key_down: false,
            echo: Stage::off(),
            has_noise: false,
            tail: Tail::new(),
            apm: Stage::off(),
            rnn: Stage::off(),
            gain: Stage::off(),
            activity: None,
            talkspurt: Talkspurt::default(),
            far: 0,
        };
        processor.set(settings);
        processor
    }

    /// Goes over to other settings, within the next blocks and without a click.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
        self.switch_stages();
        let listens = settings.gain || settings.gate == Gate::Voice;
        if listens != self.activity.is_some() {
            self.activity = listens.then(Activity::new);
            self.talkspurt = Talkspurt::default();
        }
    }

    /// The key of [`Gate::PushToTalk`] goes down or up.
    pub fn press(&mut self, is_down: bool) {
        self.is_key_down = is_down;
    }

    /// By how much what comes out lags behind what goes in.
    pub fn delay(&self) -> Duration {
        let stages = [
            (self.echo.is_on(), if self.has_noise { BOTH_DELAY } else { ECHO_DELAY }),
            (self.apm.is_on(), NOISE_DELAY),
            (self.rnn.is_on(), RNN_DELAY),
        ];
        let samples: usize = stages.iter().filter(|(is_on, _)| *is_on).map(|(_, delay)| delay).sum();
        Duration::from_micros(samples as u64 * 1_000_000 / u64::from(RATE))
    }

    /// Whether it wants to know what the loudspeaker plays.
    pub fn wants_render(&self) -> bool {
        self.echo.is_on()
    }

    /// Takes exactly what the loudspeaker is given, block by block, each before the microphone can hear it; `ahead` is how
    /// long it is from here to the loudspeaker and back from the microphone.
    pub fn render(&mut self, block: &[f32; BLOCK], ahead: Duration) {
        let Some(canceller) = self.echo.inner() else { return };
        let mut clean = *block;
        sanitize(&mut clean);
        clean.iter_mut().for_each(|sample| *sample = sample.clamp(-1.0, 1.0));
        if power(&clean) > SILENCE {
            self.far = ECHO_TAIL;
            self.tail.play();
        }
        canceller.render(&clean, ahead);
    }

    /// Learns the echo anew: what is played and what is heard do not belong together any more as they did. That takes a second;
    /// to find out by itself takes ten.
    pub fn forget_echo(&mut self) {
        let has_noise = self.has_noise;
        if let Some(canceller) = self.echo.inner() {
            *canceller = Apm::canceller(has_noise);
        }
    }

    /// Changes one block in place. While nothing is on, it stays as it is, but for samples that are no numbers: those are
    /// silence.
    pub fn process(&mut self, block: &mut [f32; BLOCK]) -> Verdict {
        self.treat(block);
        let mut verdict = self.listen(block);
        let is_far = self.far > 0;
        self.far = self.far.saturating_sub(1);
        if let Some(gain) = self.gain.inner() {
            // What is left of an echo is no voice to be made louder.
            gain.learn(verdict.score >= 0.5 && !is_far);
        }
        self.gain.treat(block, Gain::new);
        verdict.is_open = self.is_open(verdict.is_voice);
        verdict
    }

    /// Looks at any number of samples and leaves them as they are: for frames shorter than a block.
    pub fn listen(&mut self, samples: &[f32]) -> Verdict {
        let Some(activity) = &mut self.activity else {
            return Verdict { score: 0.0, is_voice: false, is_open: self.is_open(false) };
        };
        let score = activity.hear(samples);
        let is_voice = self.talkspurt.follow(score, samples.len(), self.settings.hangover);
        Verdict { score, is_voice, is_open: self.is_open(is_voice) }
    }

    fn treat(&mut self, block: &mut Block) {
        sanitize(block);
        if self.settings.needs_blocks() {
            // Louder sound than any device gives is none.
            block.iter_mut().for_each(|sample| *sample = sample.clamp(-1.0, 1.0));
        }
        let heard = power(block);
        let has_noise = self.has_noise;
        self.echo.treat(block, || Apm::canceller(has_noise));
        if self.echo.is_on() {
            self.tail.treat(heard, block);
        }
        self.apm.treat(block, Apm::suppressor);
        self.rnn.treat(block, Rnn::new);
        if self.echo.is_gone() && self.settings.echo {
            self.switch_stages();
        }
    }

    fn switch_stages(&mut self) {
        let Settings { echo, noise, gain, .. } = self.settings;
        if self.echo.is_gone() {
            self.has_noise = noise == Noise::Apm;
        }
        // One that takes noise away can't leave that, so it gives way to another one, which learns the echo anew.
        let fits = noise == Noise::Apm || !self.has_noise;
        let has_noise = self.has_noise;
        self.echo.switch(echo && fits, || Apm::canceller(has_noise));
        let is_left = noise == Noise::Apm && !(self.echo.is_on() && has_noise);
        self.apm.switch(is_left, Apm::suppressor);
        self.rnn.switch(noise == Noise::Rnn, Rnn::new);
        self.gain.switch(gain, Gain::new);
    }

    fn is_open(&self, is_voice: bool) -> bool {
        match self.settings.gate {
            Gate::Open => true,
            Gate::Voice => is_voice,
            Gate::PushToTalk => self.is_key_down,
        }
    }
}

fn sanitize(block: &mut Block) {
    block.iter_mut().filter(|sample| !sample.is_finite()).for_each(|sample| *sample = 0.0);
}
