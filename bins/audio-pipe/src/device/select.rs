//! Which device a name means.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{ErrorKind, HostId, SampleFormat, StreamConfig};
use edge::{Exit, WithExit};

use super::Direction;
use super::config::configure;
#[cfg(target_os = "linux")]
use super::pulse;

/// A device and how to run it.
pub(super) struct Chosen {
    pub(super) name: Name,
    pub(super) system: System,
    /// How much sound at a time.
    pub(super) period: Duration,
    /// What a stream will bring or take.
    pub(super) rate: u32,
    pub(super) channels: u16,
    pub(super) way: Way,
}

/// How a device is reached.
pub(super) enum Way {
    Cpal {
        device: Box<cpal::Device>,
        config: StreamConfig,
        format: SampleFormat,
    },
    #[cfg(target_os = "linux")]
    Pulse,
}

/// What a device is called: by the system, and by people.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Name {
    pub(crate) id: String,
    pub(crate) title: String,
}

/// What a system tells of a device.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Facts {
    /// Samples per second, and channels, as the device has them by nature.
    pub(crate) rate: u32,
    pub(crate) channels: u16,
    /// How far away it is, if the system knows before it is used.
    pub(crate) latency_us: Option<u64>,
    /// Muted in the system's mixer, as far as that is known.
    pub(crate) is_muted: bool,
    pub(crate) is_bluetooth: bool,
    /// It hears what a loudspeaker plays, and no microphone.
    pub(crate) is_monitor: bool,
}

/// A sound system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum System {
    #[cfg(target_os = "linux")]
    Pulse,
    Cpal(HostId),
}

impl System {
    /// What is there, the best first: PipeWire before PulseAudio before anything else; ALSA only where there is no sound
    /// server.
    pub(super) fn all() -> Vec<Self> {
        let rank = |system: &Self| match system.name() {
            "PipeWire" => 0,
            "PulseAudio" => 1,
            "JACK" => 3,
            _ => 2,
        };
        let mut all: Vec<Self> = cpal::available_hosts().into_iter().map(Self::Cpal).collect();
        #[cfg(target_os = "linux")]
        all.extend(pulse::is_there().then_some(Self::Pulse));
        all.sort_by_key(rank);
        if all.iter().any(|system| rank(system) < 2) {
            // A server holds the hardware.
            all.retain(|system| system.name() != "ALSA");
        }
        all
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            #[cfg(target_os = "linux")]
            Self::Pulse => "PulseAudio",
            Self::Cpal(id) => id.name(),
        }
    }
}

/// A connection to a sound system.
pub(super) enum Host {
    #[cfg(target_os = "linux")]
    Pulse(pulse::Connection),
    Cpal(cpal::Host),
}

/// One of its devices.
pub(super) enum Device {
    #[cfg(target_os = "linux")]
    Pulse(pulse::Device),
    Cpal(Box<cpal::Device>),
}

impl Host {
    /// Connects to the best system there is. Who has used one before goes on with it: while a sound server is away,
    /// nobody may take the hardware that it needs when it is back.
    pub(super) fn open(before: Option<System>) -> Result<Self> {
        let mut reason = anyhow!("there is no sound system");
        for system in before.map_or_else(System::all, |system| vec![system]) {
            let opened = match system {
                #[cfg(target_os = "linux")]
                System::Pulse => pulse::Connection::open().map(Self::Pulse),
                System::Cpal(id) => cpal::host_from_id(id).map(Self::Cpal).map_err(Into::into),
            };
            match opened {
                Ok(host) => return Ok(host),
                Err(error) => reason = error,
            }
        }
        Err(reason)
    }

    pub(super) fn system(&self) -> System {
        match self {
            #[cfg(target_os = "linux")]
            Self::Pulse(_) => System::Pulse,
            Self::Cpal(host) => System::Cpal(host.id()),
        }
    }

    /// Lets the system tell of changes, if it can.
    pub(super) fn subscribe(&mut self) -> Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Pulse(connection) => connection.subscribe(),
            Self::Cpal(_) => Ok(()),
        }
    }

    /// Waits until devices may have changed, for so long at most; whether it is time to look.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<bool> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Pulse(connection) => connection.wait_for_news(patience),
            Self::Cpal(_) => {
                std::thread::park_timeout(patience);
                Ok(true)
            }
        }
    }

    /// All devices of one direction that are of use.
    pub(super) fn devices(&mut self, direction: Direction) -> Result<Vec<Device>> {
        Ok(match self {
            #[cfg(target_os = "linux")]
            Self::Pulse(connection) => {
                let devices = connection.devices()?.into_iter();
                devices.filter(|device| device.is(direction)).map(Device::Pulse).collect()
            }
            Self::Cpal(host) => {
                // ALSA's plugins promise a timing that they do not keep, so there only real hardware counts.
                let is_alsa = host.id().name() == "ALSA";
                let is_hardware = |device: &cpal::Device| device.id().is_ok_and(|id| id.id().contains("hw:"));
                let fits = |device: &cpal::Device| match direction {
                    Direction::Input => device.supports_input(),
                    Direction::Output => device.supports_output(),
                };
                let usable = host.devices()?.filter(|device| (!is_alsa || is_hardware(device)) && fits(device));
                usable.map(|device| Device::Cpal(Box::new(device))).collect()
            }
        })
    }

    /// The device that the system uses if none is named. What hears a loudspeaker is no microphone unless somebody names it: the
    /// others would hear themselves.
    pub(super) fn default_device(&mut self, direction: Direction) -> Option<Device> {
        let host = match self {
            #[cfg(target_os = "linux")]
            Self::Pulse(connection) => {
                let device = connection.default_device(direction).ok()??;
                return (!device.facts.is_monitor).then_some(Device::Pulse(device));
            }
            Self::Cpal(host) => host,
        };
        if host.id().name() == "ALSA" {
            return self.devices(direction).ok()?.into_iter().next();
        }
        let device = match direction {
            Direction::Input => host.default_input_device(),
            Direction::Output => host.default_output_device(),
        };
        device.map(|device| Device::Cpal(Box::new(device)))
    }

    /// The device that a name or a pattern means, or the default one.
    pub(super) fn find(&mut self, direction: Direction, wanted: Option<&str>) -> Result<Option<Device>> {
        let Some(wanted) = wanted else { return Ok(self.default_device(direction)) };
        let mut best: Option<(Likeness, Device)> = None;
        for device in self.devices(direction)? {
            let Some(likeness) = device.name().and_then(|name| likeness(&name, wanted)) else { continue };
            if best.as_ref().is_none_or(|(other, _)| likeness < *other) {
                best = Some((likeness, device));
            }
        }
        Ok(best.map(|(_, device)| device))
    }
}

impl Device {
    pub(super) fn name(&self) -> Option<Name> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Pulse(device) => Some(device.name.clone()),
            Self::Cpal(device) => {
                let (id, description) = (device.id().ok()?, device.description().ok()?);
                Some(Name { id: id.id().to_owned(), title: description.name().to_owned() })
            }
        }
    }

    pub(super) fn facts(&self, direction: Direction) -> Facts {
        let mut facts = match self {
            #[cfg(target_os = "linux")]
            Self::Pulse(device) => device.facts.clone(),
            Self::Cpal(device) => {
                let default = match direction {
                    Direction::Input => device.default_input_config(),
                    Direction::Output => device.default_output_config(),
                };
                let shape = default.map(|config| (config.sample_rate(), config.channels())).unwrap_or_default();
                Facts { rate: shape.0, channels: shape.1, ..Facts::default() }
            }
        };
        facts.is_bluetooth |= self.name().is_some_and(|name| name.sounds_like_radio());
        facts
    }
}

/// The device of that name, or the default one, and how to run it so that there are `useful` channels, if it has them.
pub(super) fn choose(
    direction: Direction,
    wanted: Option<&str>,
    period: Duration,
    useful: u16,
    before: Option<System>,
) -> Result<Chosen> {
    let mut host = Host::open(before)?;
    let device = host.find(direction, wanted)?.with_context(|| match wanted {
        None => "the system has none".to_owned(),
        Some(wanted) => format!("none is called {wanted} (`audio-pipe devices` lists them)"),
    })?;
    let (name, system) = (device.name().unwrap_or_default(), host.system());
    let (rate, channels, way) = match device {
        // The server converts what it brings or takes.
        #[cfg(target_os = "linux")]
        Device::Pulse(device) => (codec::RATE, device.facts.channels.clamp(1, useful), Way::Pulse),
        Device::Cpal(device) => {
            let (config, format) = configure(&device, direction, period, useful)?;
            (config.sample_rate, config.channels, Way::Cpal { device, config, format })
        }
    };
    Ok(Chosen { name, system, period, rate, channels, way })
}

impl Name {
    /// Whether it is what headsets are called that are reached by radio.
    fn sounds_like_radio(&self) -> bool {
        let text = format!("{} {}", self.id, self.title).to_lowercase();
        ["bluez", "bluetooth", "airpods", "hands-free", "handsfree", "headset_head_unit", "a2dp"]
            .iter()
            .any(|word| text.contains(word))
    }
}

/// How well a name fits what was typed, the best first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Likeness {
    Exact,
    Pattern,
    Part,
}

fn likeness(name: &Name, wanted: &str) -> Option<Likeness> {
    if name.id == wanted || name.title == wanted {
        return Some(Likeness::Exact);
    }
    let wanted = wanted.to_lowercase();
    let [id, title] = [&name.id, &name.title].map(|text| text.to_lowercase());
    if wanted.contains('*') {
        return (matches(&wanted, &id) || matches(&wanted, &title)).then_some(Likeness::Pattern);
    }
    title.contains(&wanted).then_some(Likeness::Part)
}

/// Whether a pattern, in which `*` stands for anything, fits the whole text.
fn matches(pattern: &str, text: &str) -> bool {
    let (Some((first, rest)), Some((_, last))) = (pattern.split_once('*'), pattern.rsplit_once('*')) else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first).and_then(|text| text.strip_suffix(last)) else { return false };
    let middle = &rest[..rest.len() - last.len()];
    middle.split('*').all(|part| {
        let found = text.find(part);
        text = found.map_or(text, |at| &text[at + part.len()..]);
        found.is_some()
    })
}

/// What a device that can't be opened ends the program with, and what to do about it.
pub(super) fn explained<T>(result: Result<T>, what: &str, instead: &str) -> Result<T> {
    result.or_else(|error| {
        if is_forbidden(&error) {
            let hint = "allow it in the system's privacy settings, or join the group that may use sound (audio)";
            return Err(anyhow!("no {what}: {error:#}; {hint}")).exit(Exit::NoPermission);
        }
        Err(anyhow!("no {what}: {error:#}; {instead}")).exit(Exit::Unavailable)
    })
}

fn is_forbidden(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let by_cpal = cause.downcast_ref::<cpal::Error>().is_some_and(|e| e.kind() == ErrorKind::PermissionDenied);
        let by_system = cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
        by_cpal || by_system
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: &str, title: &str) -> Name {
        Name { id: id.to_owned(), title: title.to_owned() }
    }

    #[test]
    fn a_device_is_meant_by_its_id_its_name_a_pattern_or_a_part() {
        let usb = name("alsa_input.usb-Blue_Yeti-00", "Yeti Stereo Microphone");
        let fits = |wanted| likeness(&usb, wanted);
        assert_eq!(fits("alsa_input.usb-Blue_Yeti-00"), Some(Likeness::Exact));
        assert_eq!(fits("Yeti Stereo Microphone"), Some(Likeness::Exact));
        assert_eq!(fits("yeti"), Some(Likeness::Part));
        for pattern in ["*", "alsa*yeti*", "*usb*", "yeti*phone", "*micro*ph*e"] {
            assert_eq!(fits(pattern), Some(Likeness::Pattern), "{pattern}");
        }
        for other in ["blue", "usb", "*usb", "yeti*yeti", "*phone*micro*", "microphone*"] {
            assert_eq!(fits(other), None, "{other}");
        }
    }

    #[test]
    fn a_pattern_never_counts_a_letter_twice() {
        assert!(!matches("ab*ba", "aba"));
        assert!(matches("ab*ba", "abba"));
        assert!(matches("**", ""));
        assert!(!matches("*a*a*", "xax"));
    }

    #[test]
    fn a_headset_by_radio_is_known_by_its_name() {
        assert!(name("bluez_output.AA_BB.1", "WH-1000XM4").sounds_like_radio());
        assert!(name("x", "Somebody's AirPods").sounds_like_radio());
        assert!(!name("alsa_output.pci-0000_00_1f.3.analog-stereo", "Built-in Audio").sounds_like_radio());
    }

    #[test]
    fn who_may_not_use_a_device_is_told_so() {
        let forbidden = |error: anyhow::Error| {
            let error = explained::<()>(Err(error), "microphone", "use a file").expect_err("an error");
            (edge::code_of(&error), format!("{error:#}"))
        };
        let (code, text) = forbidden(anyhow!(cpal::Error::new(ErrorKind::PermissionDenied)).context("open it"));
        assert!(code == Exit::NoPermission && text.contains("privacy settings"), "{text}");
        let (code, _) = forbidden(anyhow!(std::io::Error::from(std::io::ErrorKind::PermissionDenied)));
        assert_eq!(code, Exit::NoPermission);
        let (code, text) = forbidden(anyhow!("it is away"));
        assert!(code == Exit::Unavailable && text.ends_with("use a file"), "{text}");
    }
}
